"""Engines, loaded by name from the catalogue and imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor, TensorSpec
from edgeproof_runtime.engines import catalog, trial
from edgeproof_runtime.engines.base import Engine, EngineInfo, LayerTime, Unavailable
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.bounds import require_parallel
from edgeproof_runtime.system.steps import step

__all__ = [
    "Engine",
    "EngineInfo",
    "LayerTime",
    "ModelArtifact",
    "TensorSpec",
    "Unavailable",
    "available",
    "engine_class",
    "layer_times",
    "load",
    "require",
    "try_out",
]


def engine_class(name: str) -> type[Engine]:
    """Import the class of an engine.

    Raises:
        InputError: the name is unknown.
    """
    return catalog.find(name).load_class()


def available(precision: str = "fp32") -> list[str]:
    """List the offered engines that run models of this precision on this machine."""
    return [
        entry.name
        for entry in catalog.offered()
        if precision in entry.precisions and entry.load_class().unavailable_reason() is None
    ]


def require(name: str, precision: str) -> type[Engine]:
    """Import the class of an engine that must run models of this precision on this machine.

    Raises:
        InputError: the name is unknown, or the engine does not support this precision.
        UnavailableError: the engine is not installed, or its device is missing.
    """
    entry = catalog.find(name)
    if precision not in entry.precisions:
        raise InputError(f"engine {name}: unsupported precision {precision}", fix="choose another engine or precision")
    cls = entry.load_class()
    reason = cls.unavailable_reason()
    if reason is not None:
        raise UnavailableError(f"engine {name}: not available on this machine", got=reason.what, fix=reason.fix)
    return cls


def load(name: str, artifact: ModelArtifact, *, threads: int | None = None) -> Engine:
    """Load an artifact on an engine, by name: the first time on this machine in a child process, then here.

    Raises:
        EngineFaultError: the engine crashes, hangs or exhausts the memory on this model.
        InputError: the name is unknown, the precision is not supported, the threads are out of range, or the model
            does not load on the engine.
        UnavailableError: the engine is not installed, or its device is missing.
    """
    require_parallel(threads, "threads")
    cls = require(name, artifact.precision)
    trial.require_harmless(catalog.find(name), artifact)
    with step(f"load {name}, {artifact.precision}"):
        return cls(artifact, threads=threads)


def layer_times(
    name: str, artifact: ModelArtifact, batch: Tensor, *, runs: int, threads: int | None = None
) -> list[LayerTime]:
    """Return the time of each layer of an engine; arguments as for `Engine.layer_times`.

    Raises:
        EngineFaultError, InputError, UnavailableError: as `load`; or the engine gives no times of layers.
    """
    require_parallel(threads, "threads")
    cls = require(name, artifact.precision)
    trial.require_harmless(catalog.find(name), artifact)
    return cls.layer_times(artifact, batch, runs=runs, threads=threads)


def try_out(names: Iterable[str], artifact: ModelArtifact) -> None:
    """Try an artifact on several engines, all in one child process: `load` then finds the outcomes.

    Engines that are not available here are left out.
    """
    able = [entry for entry in map(catalog.find, names) if artifact.precision in entry.precisions]
    trial.try_out([(e, artifact) for e in able if e.load_class().unavailable_reason() is None])
