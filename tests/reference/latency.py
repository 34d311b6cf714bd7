"""Percentiles and distributions in NumPy: the oracle of ``latency.cpp``."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from edgeproof_runtime.metrics.latency import PERCENTILES


def samples_needed(quantile: float) -> int:
    """Smallest n with ``1 - quantile**n >= 0.95``."""
    return math.ceil(math.log(1 - 0.95) / math.log(quantile))


def percentiles(values: ArrayLike) -> tuple[list[float | None], dict[str, str]]:
    """Value or None for each of `PERCENTILES`, and why a value is missing."""
    sample = np.asarray(values, np.float64)
    if not sample.size:
        return [None] * len(PERCENTILES), dict.fromkeys(PERCENTILES, "nothing was measured")
    unsupported = {
        name: f"{sample.size} frame{'s' if sample.size > 1 else ''} measured, {name} needs {samples_needed(p)}"
        for name, p in PERCENTILES.items()
        if sample.size < samples_needed(p)
    }
    found = [None if name in unsupported else float(np.percentile(sample, 100 * p)) for name, p in PERCENTILES.items()]
    return found, unsupported


def distribution(values_ms: ArrayLike, points: int) -> tuple[list[float], list[float]]:
    """About ``points`` values, ascending, the slowest one by one; and which share of all values is at most that."""
    values = np.sort(np.asarray(values_ms, np.float64))
    if values.size <= points:
        kept = np.arange(values.size)
    else:
        tail = points // 4
        body = np.linspace(0, values.size - tail - 1, points - tail).round().astype(np.intp)
        kept = np.concatenate([body, np.arange(values.size - tail, values.size)])
    return values[kept].tolist(), ((kept + 1) / max(1, values.size)).tolist()
