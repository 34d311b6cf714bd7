"""The order in which unmeasured candidates of `auto` are tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.selection.worth import has_instructions

__all__ = ["Candidate", "by_probability"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine, a precision and a number of CPU threads; None leaves the threads to the engine."""

    engine: str
    precision: str
    threads: int | None


def by_probability(found: Iterable[Candidate], winners: Sequence[str], features: Sequence[str]) -> list[Candidate]:
    """Sort candidates, the one that is most probably the fastest first.

    GPUs come before CPUs; there the lowest precision comes first, on a CPU only if it has instructions for it. Then
    come the engines that won for other models on this machine, then the order of the catalogue.

    Args:
        found: in the order of the catalogue.
        winners: engines that were the fastest for other models here, the latest first.
        features: from `host.cpu_features`.
    """

    def key(candidate: Candidate) -> tuple[bool, int, int]:
        cpu = catalog.find(candidate.engine).device != "gpu"
        gains = not cpu or has_instructions(candidate.precision, features)
        width = ("int8", "fp16", "fp32").index(candidate.precision) if gains else 3
        won = winners.index(candidate.engine) if candidate.engine in winners else len(winners)
        return (cpu, width, won)

    return sorted(found, key=key)
