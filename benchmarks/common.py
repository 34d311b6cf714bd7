"""Timing of contenders side by side: warmed up, interleaved in random order; medians, percentiles and ratios."""

from __future__ import annotations

import gc
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.host import host_facts, host_warnings
from edgeproof_runtime.latency import LatencySummary, summarize

__all__ = ["DATA", "DEMO", "Timing", "print_table", "race", "write_report"]

DEMO = Path("edgeproof-demo/efficientnet-lite0.edge")  # from `make demo`
DATA = Path(os.environ.get("EDGEPROOF_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender's calls, in milliseconds, in the order of the rounds."""

    name: str
    values_ms: NDArray[np.float64]

    @property
    def summary(self) -> LatencySummary:
        """Mean and percentiles, as everywhere in the project."""
        return summarize(self.values_ms)

    def ratio_to(self, other: Timing) -> float:
        """Median over the rounds of other / self: how many times faster this one is in the same moment."""
        return float(np.median(other.values_ms / self.values_ms))


def race(contenders: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int = 3) -> dict[str, Timing]:
    """Call every contender once a round, in random order, so that all meet the same clocks and the same neighbours.

    Args:
        contenders: name -> what to time.
        rounds: timed calls of each.
        warmup: calls of each before the first timed one.
    """
    for call in contenders.values():
        for _ in range(warmup):
            call()
    values: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    shuffle = random.Random(0).shuffle
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                call = contenders[name]
                start = time.perf_counter_ns()
                call()
                values[name].append((time.perf_counter_ns() - start) / 1e6)
    finally:
        gc.enable()
    return {name: Timing(name, np.asarray(taken)) for name, taken in values.items()}


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A plain table: the first column to the left, numbers to the right."""
    cells = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        print("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]))


def write_report(
    path: Path | None, question: str, settings: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
) -> None:
    """Say what the figures were taken on, and keep both as JSON where a path is given."""
    host = host_facts()
    for warning in host_warnings(host):
        print(f"note: {warning}")
    if path is not None:
        report = {"question": question, "host": host, "settings": dict(settings), "results": list(results)}
        path.write_text(json.dumps(report, indent=2) + "\n")
