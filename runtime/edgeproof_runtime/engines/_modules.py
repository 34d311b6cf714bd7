"""Presence and version of an engine's Python package, without importing it."""

from __future__ import annotations

from importlib import util

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.base import Unavailable
from edgeproof_runtime.system.host import installed

__all__ = ["missing_module", "version_of"]


def missing_module(module: str, engine: str) -> Unavailable | None:
    """Return why the engine's ``module`` is not available, and the command that installs it; None if installed."""
    if util.find_spec(module) is not None:
        return None
    return Unavailable(f"{module} is not installed", catalog.find(engine).install)


def version_of(engine: str) -> str:
    """Return the version of an engine's first installed distribution."""
    return next(iter(installed(catalog.find(engine).distributions).values()), "unknown")
