"""OpenVINO on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeproof_runtime.engines._modules import missing_module, version_of
from edgeproof_runtime.engines.base import Engine, EngineInfo, ModelArtifact, Tensor
from edgeproof_runtime.errors import InputError

__all__ = ["OpenVinoEngine"]


class OpenVinoEngine(Engine):
    """One compiled OpenVINO model for the CPU plugin, tuned for latency.

    Precision lives in the graph: without the hint, CPUs with AMX would silently compute an fp32 model in bfloat16.
    """

    name = "openvino"
    takes_threads = True

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None) -> None:
        super().__init__(artifact, threads=threads)
        import openvino as ov

        properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        properties["INFERENCE_PRECISION_HINT"] = "f16" if artifact.precision == "fp16" else "f32"
        if threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
        try:
            core = ov.Core()
            model = core.read_model(str(artifact.path))
            if artifact.max_batch == 1:
                # A fixed shape lets the plugin plan its memory once.
                model.reshape({artifact.input.name: [1, *artifact.input.shape]})
            self._compiled: Any = core.compile_model(model, "CPU", properties)
            self._request: Any = self._compiled.create_infer_request()
            self._outputs = [self._compiled.output(spec.name) for spec in artifact.outputs]
        except RuntimeError as error:
            raise InputError(f"openvino cannot load {artifact.path}", got=_first_line(error)) from error
        self._tensor_type = ov.Tensor

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return missing_module("openvino", extra="openvino")

    @classmethod
    def supports(cls, precision: str) -> bool:
        return precision in ("fp32", "fp16", "int8")

    def describe(self) -> EngineInfo:
        threads = int(self._compiled.get_property("INFERENCE_NUM_THREADS"))
        return EngineInfo(self.name, version_of("openvino"), "CPU", self.artifact.precision, threads)

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        try:
            self._request.set_input_tensor(0, self._tensor_type(batch, shared_memory=True))
            self._request.infer()
        except RuntimeError as error:
            raise InputError(f"openvino cannot run {self.artifact.path}", got=_first_line(error)) from error
        # The request owns its output memory and will write to it again.
        return tuple(np.array(self._request.get_tensor(port).data) for port in self._outputs)

    def close(self) -> None:
        self._request = self._compiled = None


def _first_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
