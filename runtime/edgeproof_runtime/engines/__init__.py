"""Engines: a table of names, loaded only when asked for."""

from __future__ import annotations

from importlib import import_module

from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.engines.base import Engine, EngineInfo
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = [
    "ENGINES",
    "Engine",
    "EngineInfo",
    "ModelArtifact",
    "TensorSpec",
    "available",
    "engine_class",
    "load",
    "require",
]

ENGINES: dict[str, str] = {
    "onnxruntime": "edgeproof_runtime.engines.onnxruntime:OnnxRuntimeEngine",
    "openvino": "edgeproof_runtime.engines.openvino:OpenVinoEngine",
    "opencv": "edgeproof_runtime.engines.opencv:OpenCvEngine",
    "tensorrt": "edgeproof_runtime.engines.tensorrt:TensorRtEngine",
    "tensorrt-rtx": "edgeproof_runtime.engines.tensorrt:TensorRtRtxEngine",
    "onnxruntime:cuda": "edgeproof_runtime.engines.onnxruntime_gpu:OrtCudaEngine",
    "onnxruntime:tensorrt": "edgeproof_runtime.engines.onnxruntime_gpu:OrtTensorRtEngine",
    "onnxruntime:tensorrt-rtx": "edgeproof_runtime.engines.onnxruntime_gpu:OrtTensorRtRtxEngine",
    "null": "edgeproof_runtime.engines.null:NullEngine",
}


def engine_class(name: str) -> type[Engine]:
    """The class behind an engine's name.

    Raises:
        InputError: no engine has this name.
    """
    if name not in ENGINES:
        raise InputError("unknown engine", got=name, expected=", ".join(ENGINES))
    module, _, attribute = ENGINES[name].partition(":")
    found = getattr(import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, Engine)):
        raise TypeError(f"{ENGINES[name]} is not an Engine")
    return found


def available(precision: str = "fp32") -> list[str]:
    """Names of the engines that run models of this precision on this machine, without ``null``."""
    classes = {name: engine_class(name) for name in ENGINES if name != "null"}
    return [n for n, cls in classes.items() if cls.unavailable_reason() is None and cls.supports(precision)]


def require(name: str, precision: str) -> type[Engine]:
    """The class behind an engine's name, if it runs models of this precision on this machine.

    Raises:
        InputError: no engine has this name, or it runs no such models anywhere.
        UnavailableError: the engine is not installed, or has no device here.
    """
    cls = engine_class(name)
    if not cls.supports(precision):
        raise InputError(f"engine {name} does not run {precision} models", fix="choose another engine or precision")
    reason = cls.unavailable_reason()
    if reason is not None:
        raise UnavailableError(f"engine {name} cannot run on this machine", got=reason)
    return cls


def load(name: str, artifact: ModelArtifact, *, threads: int | None = None) -> Engine:
    """Load an artifact on the engine of this name.

    Raises:
        InputError: no engine has this name, it does not run this precision, or the model does not load on it.
        UnavailableError: the engine is not installed, or has no device here.
    """
    return require(name, artifact.precision)(artifact, threads=threads)
