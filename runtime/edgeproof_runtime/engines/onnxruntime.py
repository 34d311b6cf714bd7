"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.engines._modules import missing_module, version_of
from edgeproof_runtime.engines.base import Engine, EngineInfo, Unavailable
from edgeproof_runtime.errors import InputError

__all__ = ["OnnxRuntimeEngine", "session_options"]


def session_options(threads: int | None, *, int8_kernels: bool) -> Any:
    """Return ``onnxruntime.SessionOptions``; for the arguments see `OnnxRuntimeEngine`."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    if not int8_kernels:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 4  # fatal: errors are raised
    return options


class OnnxRuntimeEngine(Engine):
    """Run an ONNX file in one ONNX Runtime session with the CPU execution provider."""

    name = "onnxruntime"

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None, int8_kernels: bool = True) -> None:
        """Load the artifact.

        Args:
            artifact: ONNX file to load.
            threads: CPU threads; None for ONNX Runtime's default.
            int8_kernels: False computes Q/DQ pairs in float32 as the graph states, instead of fusing them into int8
                kernels, whose sums can saturate on CPUs without VNNI. Other graph optimisation is not affected.

        Raises:
            UnavailableError: ONNX Runtime is not installed.
            InputError: ONNX Runtime cannot load this model.
        """
        super().__init__(artifact, threads=threads)
        import onnxruntime as ort

        options = session_options(threads, int8_kernels=int8_kernels)
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

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        run = self._session.run
        try:
            return tuple(run(self._output_names, {self.artifact.input.name: batch}))
        except Exception as error:  # as above
            raise InputError(f"onnxruntime: cannot run {self.artifact.path}", got=error) from error

    def close(self) -> None:
        self._session = None
