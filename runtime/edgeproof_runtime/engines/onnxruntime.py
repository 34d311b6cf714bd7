"""ONNX Runtime on the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.engines._modules import missing_module, version_of
from edgeproof_runtime.engines.base import WARM_UP_RUNS, Engine, EngineInfo, LayerTime, Unavailable
from edgeproof_runtime.errors import InputError

__all__ = ["OnnxRuntimeEngine", "session_options"]

_KERNEL = "_kernel_time"
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


def session_options(threads: int | None, *, int8_kernels: bool = True, as_stated: bool = False) -> Any:
    """Return ``onnxruntime.SessionOptions``; for the arguments see `OnnxRuntimeEngine`."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    if as_stated:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if not int8_kernels:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # fatal: errors are raised
    return options


class OnnxRuntimeEngine(Engine):
    """Run an ONNX file in one ONNX Runtime session with the CPU execution provider."""

    name = "onnxruntime"

    def __init__(
        self,
        artifact: ModelArtifact,
        *,
        threads: int | None = None,
        int8_kernels: bool = True,
        as_stated: bool = False,
        profile: Path | None = None,
    ) -> None:
        """Load the artifact.

        Args:
            artifact: ONNX file to load.
            threads: CPU threads; None for ONNX Runtime's default.
            int8_kernels: False computes Q/DQ pairs in float32 as the graph states, instead of fusing them into int8
                kernels, whose sums can saturate on CPUs without VNNI. Other graph optimisation is not affected.
            as_stated: compute every node of the graph as it stands, without optimisation.
            profile: folder for ONNX Runtime's profile of every run; None writes none.

        Raises:
            UnavailableError: ONNX Runtime is not installed.
            InputError: ONNX Runtime cannot load this model.
        """
        super().__init__(artifact, threads=threads)
        import onnxruntime as ort

        options = session_options(threads, int8_kernels=int8_kernels, as_stated=as_stated)
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile / "profile")
        with artifact.onnx() as model:
            try:
                self._session: Any = ort.InferenceSession(model.path, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # ONNX Runtime raises a class of its own for each status code
                reason = str(error).replace(model.path, str(artifact.path))
                raise InputError(f"onnxruntime: cannot load {artifact.path}", got=reason) from error
        self._output_names = [spec.name for spec in artifact.outputs]

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        return missing_module("onnxruntime", cls.name)

    def describe(self) -> EngineInfo:
        return EngineInfo(self.name, version_of(self.name), "CPU", self.artifact.precision, self.threads)

    @classmethod
    def layer_times(
        cls, artifact: ModelArtifact, batch: Tensor, *, runs: int, threads: int | None = None
    ) -> list[LayerTime]:
        with (
            TemporaryDirectory(prefix="edgeproof-") as folder,
            cls(artifact, threads=threads, profile=Path(folder)) as engine,
        ):
            for _ in range(WARM_UP_RUNS + runs):
                engine.run(batch)
            events = json.loads(Path(engine._session.end_profiling()).read_bytes())
        times_us: dict[tuple[str, str], list[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
                key = (event["name"].removesuffix(_KERNEL), event["args"]["op_name"])
                times_us.setdefault(key, []).append(event["dur"])
        return [
            LayerTime(name, kind, median(found[-runs:]) / 1e3, (name.removesuffix("_nchwc"),))
            for (name, kind), found in times_us.items()
        ]

    def output_types(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return dtype and shape of each output as ONNX Runtime infers them; -1 for a dimension it does not know."""
        found = {}
        for output in self._session.get_outputs():
            dtype = _DTYPES.get(output.type, output.type)
            found[output.name] = (dtype, tuple(n if isinstance(n, int) else -1 for n in output.shape or ()))
        return found

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        run = self._session.run
        try:
            return tuple(run(self._output_names, {self.artifact.input.name: batch}))
        except Exception as error:  # as above
            raise InputError(f"onnxruntime: cannot run {self.artifact.path}", got=error) from error

    def close(self) -> None:
        self._session = None
