"""OpenCV's DNN module: an engine without further dependencies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.data.images import quiet_opencv
from edgeproof_runtime.engines.base import WARM_UP_RUNS, Engine, EngineInfo, LayerTime, Unavailable
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.opencv import INSTALL, cv2, opencv_fault

__all__ = ["OpenCvEngine"]

# Fuses Mul(HardSigmoid(Conv(x)), y) to a HardSwish for every y (measured with 5.0.0).
_FUSES_GATES = "5.0."


class OpenCvEngine(Engine):
    """`cv2.dnn` on the CPU.

    OpenCV has one thread count per process: each run restores this engine's if it was changed, and `close` restores
    the earlier one.
    """

    name = "opencv"

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None) -> None:
        super().__init__(artifact, threads=threads)
        self._before = cv2.getNumThreads()
        if threads is not None:
            cv2.setNumThreads(threads)
        self._threads = cv2.getNumThreads()
        try:
            with quiet_opencv():
                self._net: Any = self._read(artifact)
                self._output_names = [spec.name for spec in artifact.outputs]
                # Only a forward pass shows whether every operator is supported.
                self._forward(np.zeros((1, *artifact.input.shape), np.dtype(artifact.input.dtype)))
        except cv2.error as error:
            cv2.setNumThreads(self._before)
            raise InputError(f"opencv: cannot load {artifact.path}", got=error.err or error) from error
        except InputError:
            cv2.setNumThreads(self._before)
            raise

    @staticmethod
    def _read(artifact: ModelArtifact) -> Any:
        with artifact.onnx() as model:
            if cv2.__version__.startswith(_FUSES_GATES) and model.content.find(b"HardSigmoid") >= 0:
                raise InputError(
                    f"opencv {cv2.__version__}: wrong outputs where a HardSigmoid gates another value",
                    got=f"a HardSigmoid in {artifact.path}, as in MobileNetV3's squeeze-and-excitation",
                    fix="use onnxruntime or openvino",
                )
            return cv2.dnn.readNetFromONNX(model.path)

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        fault = opencv_fault()
        if fault is not None:
            return Unavailable(f"{fault.what}: {fault.got}", fault.fix)
        if hasattr(cv2, "dnn"):
            return None
        return Unavailable(f"OpenCV {cv2.__version__} was built without its DNN module", INSTALL)

    def describe(self) -> EngineInfo:
        return EngineInfo(self.name, cv2.__version__, "CPU", self.artifact.precision, self._threads)

    @classmethod
    def layer_times(
        cls, artifact: ModelArtifact, batch: Tensor, *, runs: int, threads: int | None = None
    ) -> list[LayerTime]:
        ticks: list[NDArray[np.float64]] = []
        with cls(artifact, threads=threads) as engine:
            net = engine._net
            if hasattr(net, "setProfilingMode"):  # OpenCV 5
                net.setProfilingMode(cv2.dnn.DNN_PROFILE_DETAILED)
            for number in range(WARM_UP_RUNS + runs):
                engine.run(batch)
                if number >= WARM_UP_RUNS:
                    ticks.append(np.array(net.getPerfProfile()[1], np.float64).ravel())
            names = net.getLayerNames()
            if any(len(found) != len(names) for found in ticks):
                raise UnavailableError(
                    f"opencv {cv2.__version__}: its times do not fit its layers", got=len(ticks[0]), expected=len(names)
                )
            kinds = [net.getLayer(name).type for name in names]
        times_ms = np.median(np.stack(ticks), axis=0) * (1e3 / cv2.getTickFrequency())
        return [
            LayerTime(name, kind, float(ms), (name,))
            for name, kind, ms in zip(names, kinds, times_ms, strict=True)
            if ms > 0
        ]

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        if cv2.getNumThreads() != self._threads:
            cv2.setNumThreads(self._threads)
        try:
            return self._forward(batch)
        except cv2.error as error:
            raise InputError(f"opencv: cannot run {self.artifact.path}", got=error.err or error) from error

    def _forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        self._net.setInput(batch, self.artifact.input.name)
        # The net owns its output memory and will write to it again.
        outputs = [np.array(output) for output in self._net.forward(self._output_names)]
        shapes = [(len(batch), *spec.shape) for spec in self.artifact.outputs]
        # OpenCV drops dimensions of 1; `run` rejects any other difference.
        return tuple(o.reshape(s) if o.size == math.prod(s) else o for o, s in zip(outputs, shapes, strict=True))

    def close(self) -> None:
        if self._net is not None:
            cv2.setNumThreads(self._before)
        self._net = None
