"""Whether an engine's Python package is installed, and its version, without importing it."""

from __future__ import annotations

from importlib import metadata, util

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.base import Unavailable

__all__ = ["missing_module", "version_of"]


def missing_module(module: str, engine: str) -> Unavailable | None:
    """Why the engine's ``module`` is not available, with the catalogue's command; None if it is installed."""
    if util.find_spec(module) is not None:
        return None
    return Unavailable(f"{module} is not installed", catalog.find(engine).install)


def version_of(engine: str) -> str:
    """Version of the first of an engine's distributions that is installed."""
    for name in catalog.find(engine).distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
