"""All probes."""

from __future__ import annotations

from collections.abc import Iterator

from hostile import bundles, commands, files, models
from hostile.probe import Probe

__all__ = ["all_probes"]


def all_probes() -> Iterator[Probe]:
    """Yield the probes of every surface but ``serve``."""
    yield from bundles.probes()
    yield from files.probes()
    yield from models.probes()
    yield from commands.probes()
