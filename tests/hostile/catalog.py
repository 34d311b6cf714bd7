"""All probes."""

from __future__ import annotations

from collections.abc import Iterator

from hostile import bundles, commands, files, models
from hostile.probe import Probe

__all__ = ["all_probes", "sample"]

_OF_EACH = 24


def all_probes() -> Iterator[Probe]:
    """Yield the probes of every surface but ``serve``."""
    yield from bundles.probes()
    yield from files.probes()
    yield from models.probes()
    yield from commands.probes()


def sample() -> list[Probe]:
    """Return at most 24 probes of each kind and surface, the same ones each time, spread over its inputs."""
    groups: dict[tuple[str, str], list[Probe]] = {}
    for probe in all_probes():
        groups.setdefault((probe.kind, probe.surface), []).append(probe)
    return [probe for group in groups.values() for probe in group[:: -(-len(group) // _OF_EACH)]]
