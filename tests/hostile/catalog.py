"""All probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from hostile import bundles, commands, containers, files, media, models, surroundings
from hostile.probe import Probe

__all__ = ["all_probes", "sample"]

_OF_EACH = 5
_COLD = 20


def all_probes() -> Iterator[Probe]:
    """Yield the probes of every surface but ``serve``.

    Commands are forked from a process that has imported everything. Of each kind the first and every 20th after it is
    started as a person starts it, and stands in the column ``process``.
    """
    seen = Counter[str]()
    for probe in _of_all():
        if probe.surface == "command":
            seen[probe.kind] += 1
            if seen[probe.kind] % _COLD == 1:
                yield replace(probe, surface="process")
                continue
        yield probe


def _of_all() -> Iterator[Probe]:
    yield from bundles.probes()
    yield from files.probes()
    yield from media.probes()
    yield from models.probes()
    yield from containers.probes()
    yield from commands.probes()
    yield from surroundings.probes()


def sample() -> list[Probe]:
    """Return at most five probes of each kind and surface, the same ones each time, spread over its inputs.

    Of those that start as processes these are every second one of the surroundings, and of every sixth other kind one.
    """
    groups: dict[tuple[str, str], list[Probe]] = {}
    cold = list[Probe]()
    for probe in all_probes():
        if probe.surface == "process":
            cold.append(probe)
        else:
            groups.setdefault((probe.kind, probe.surface), []).append(probe)
    surroundings = [probe for probe in cold if probe.kind == "surroundings"]
    others = [next(of) for _, of in groupby((p for p in cold if p.kind != "surroundings"), key=attrgetter("kind"))]
    some = [probe for group in groups.values() for probe in group[:: 2 * -(-len(group) // (2 * _OF_EACH - 1))]]
    return [*some, *surroundings[::2], *others[::6]]
