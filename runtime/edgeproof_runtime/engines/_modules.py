"""Whether an engine's Python package is here, without importing it."""

from __future__ import annotations

from importlib import metadata, util

__all__ = ["missing_module", "version_of"]


def missing_module(module: str, *, extra: str) -> str | None:
    """Why ``module`` cannot be used, with the command that mends it; None if it is installed."""
    if util.find_spec(module) is not None:
        return None
    return f'{module} is not installed: pip install "edgeproof[{extra}]"'


def version_of(*distributions: str) -> str:
    """Version of the first of these distributions that is installed."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
