"""Presence and version of an engine's Python package, without importing it."""

from __future__ import annotations

from importlib import metadata, util

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.base import Unavailable

__all__ = ["missing_module", "version_of"]


def missing_module(module: str, engine: str) -> Unavailable | None:
    """Return why the engine's ``module`` is not available, and the command that installs it; None if installed."""
    if util.find_spec(module) is not None:
        return None
    return Unavailable(f"{module} is not installed", catalog.find(engine).install)


def version_of(engine: str) -> str:
    """Return the version of an engine's first installed distribution."""
    for name in catalog.find(engine).distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
