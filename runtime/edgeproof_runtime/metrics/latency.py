"""Latency records in bounded memory, and percentiles only where the sample supports them."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeproof_runtime import _native
from edgeproof_runtime._native import samples_needed
from edgeproof_runtime.system.spec import SPEC

__all__ = [
    "PERCENTILES",
    "STAGES",
    "LatencyRecorder",
    "LatencySummary",
    "distribution",
    "samples_needed",
    "summarize",
]

STAGES: tuple[str, ...] = tuple(SPEC["enums"]["stage"])
"""Stages of a frame, in order; ``end_to_end`` and ``frame_age`` span the others."""

PERCENTILES: Mapping[str, float] = SPEC["percentiles"]

_CAPACITY = 1 << 17  # 1 MiB a stage; enough for an hour of 30 fps without thinning


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Latency of one stage, in milliseconds.

    Attributes:
        count: frames measured.
        mean_ms: mean; None if nothing was measured.
        p50_ms: median; None if in ``unsupported``.
        p90_ms: 90th percentile; None if in ``unsupported``.
        p99_ms: 99th percentile; None if in ``unsupported``.
        max_ms: maximum; None if nothing was measured.
        unsupported: name of a percentile -> why the sample does not support it.
        sampled: values that the percentiles are computed from; fewer than ``count`` once a recorder has thinned.
    """

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    unsupported: dict[str, str] = field(default_factory=dict)
    sampled: int = 0

    def __post_init__(self) -> None:
        if self.count < 0 or not 0 <= self.sampled <= self.count:
            raise ValueError(f"{self.sampled} sampled of {self.count} counted")
        for name in PERCENTILES:
            if (getattr(self, f"{name}_ms") is None) != (name in self.unsupported):
                raise ValueError(f"{name}: requires either a value or a reason")

    def to_json(self) -> dict[str, Any]:
        """Return the entry below a report's ``latency_ms.<stage>``, which carries the unit."""
        return {
            "count": self.count,
            "mean": self.mean_ms,
            "p50": self.p50_ms,
            "p90": self.p90_ms,
            "p99": self.p99_ms,
            "max": self.max_ms,
            "unsupported": dict(self.unsupported),
            "sampled": self.sampled,
        }


def summarize(values_ms: ArrayLike) -> LatencySummary:
    """Summarise one stage's latencies.

    Percentiles interpolate linearly between order statistics (NumPy's default, Hyndman and Fan's type
    7) and are None, with a reason, if the sample is smaller than `samples_needed`.

    Args:
        values_ms: any number of finite latencies >= 0, in milliseconds.

    Raises:
        ValueError: a value is negative or not finite.
    """
    values = np.ascontiguousarray(values_ms, np.float64).ravel()
    if not (np.isfinite(values).all() and (values >= 0).all()):
        raise ValueError("values_ms: negative or not finite")
    total = float(values.sum())
    peak = float(values.max()) if values.size else 0.0
    return _summary(values, values.size, total, peak)


def _summary(sample: NDArray[np.float64], count: int, total_ms: float, max_ms: float) -> LatencySummary:
    values, unsupported = _native.percentiles(sample)
    return LatencySummary(
        count=count,
        mean_ms=total_ms / count if count else None,
        **{f"{name}_ms": value for name, value in zip(PERCENTILES, values, strict=True)},
        max_ms=max_ms if count else None,
        unsupported=unsupported,
        sampled=sample.size,
    )


def distribution(values_ms: ArrayLike, points: int = 200) -> dict[str, list[float]]:
    """Thin the empirical distribution for plotting; the slowest values are all kept.

    Args:
        values_ms: latencies in milliseconds.
        points: about how many to keep.

    Returns:
        ``ms``, ascending, and ``share``, the share of all values that are at most that.
    """
    ms, share = _native.distribution(np.ascontiguousarray(values_ms, np.float64).ravel(), points)
    return {"ms": ms, "share": share}


class _Stage:
    """Exact count, sum and maximum; all values up to a capacity, then a uniform sample of them.

    The memory of all values is taken with the first: a record that grows would show as a leak.
    """

    __slots__ = ("capacity", "count", "max_ms", "random", "total_ms", "values")

    def __init__(self, capacity: int, seed: str) -> None:
        self.capacity = capacity
        self.count = 0
        self.total_ms = 0.0
        self.max_ms = 0.0
        self.values = array("d")
        self.random = random.Random(seed)

    def add(self, ms: float) -> None:
        if not self.count:
            self.values = array("d", bytes(self.values.itemsize * self.capacity))
        # Algorithm R (Vitter 1985) keeps every value with the same probability.
        slot = self.count if self.count < self.capacity else int(self.random.random() * (self.count + 1))
        if slot < self.capacity:
            self.values[slot] = ms
        self.count += 1
        self.total_ms += ms
        self.max_ms = max(self.max_ms, ms)

    def kept(self) -> array[float]:
        """Copy the values that are kept."""
        return self.values[: self.count]


class LatencyRecorder:
    """Latencies per stage, for runs of any length in bounded memory.

    One thread may write each stage while others read; a reader sees a state at most one value old.

    Args:
        capacity: values kept per stage. Beyond it count, mean and maximum stay exact, and percentiles
            are computed from a uniform random sample of this size.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: must be at least 1, got {capacity}")
        self._stages = {name: _Stage(capacity, name) for name in STAGES}

    def add(self, stage: str, ms: float) -> None:
        """Record one latency.

        Args:
            stage: one of `STAGES`.
            ms: milliseconds, finite and >= 0.

        Raises:
            ValueError: the stage is unknown, or the latency is negative or not finite (two clocks were mixed).
        """
        if not 0.0 <= ms < math.inf:
            raise ValueError(f"{stage}: {ms} ms is not a latency; were two clocks mixed?")
        try:
            self._stages[stage].add(ms)
        except KeyError:
            raise ValueError(f"unknown stage {stage!r}, expected one of {', '.join(STAGES)}") from None

    def extend(self, stage: str, values_ms: Iterable[float]) -> None:
        """Record several latencies of one stage."""
        for ms in values_ms:
            self.add(stage, ms)

    def count(self, stage: str) -> int:
        """Return the number of latencies recorded for a stage so far."""
        return self._stages[stage].count

    def values_ms(self, stage: str) -> NDArray[np.float64]:
        """Copy the values kept for a stage: float64, in no particular order once thinned."""
        return np.array(self._stages[stage].kept(), np.float64)

    def summary(self, stage: str) -> LatencySummary:
        """Summarise one stage."""
        kept = self._stages[stage]
        sample = self.values_ms(stage)
        return _summary(sample, max(kept.count, sample.size), kept.total_ms, kept.max_ms)

    def summaries(self) -> dict[str, LatencySummary]:
        """Summarise the measured stages, in the order of `STAGES`."""
        return {name: self.summary(name) for name in STAGES if self._stages[name].count}
