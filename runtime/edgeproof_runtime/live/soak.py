"""Record the stability of a long run: memory, threads, descriptors, temperature, frame age and drops."""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.live.outcomes import Counts
from edgeproof_runtime.measure import Interval
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.host_load import LoadSampler

__all__ = ["SERIES", "Soak", "slope"]

SERIES = {
    "memory_mb": "MB",
    "threads": "",
    "descriptors": "",
    "temperature_c": "°C",
    "frame_age_ms": "ms",
    "frame_age_max_ms": "ms",
    "decided_fps": "1/s",
    "dropped_fps": "1/s",
    "failed_fps": "1/s",
}
"""Recorded series and their units. Frame ages are median and maximum between two samples."""

_LOOKS = 600
_SHORTEST_S, _LONGEST_S = 0.5, 60.0
_WARM_UP_SHARE, _WARM_UP_MOST_S = 1 / 3, 300.0
_FEWEST_FOR_SLOPE = 20
_CONFIDENCE = 0.95
_AGES_KEPT = 10_000


def slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> Interval | None:
    """Estimate the slope of ``y`` over ``x``: median of the slopes of all pairs of points, with its interval.

    Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the American
    Statistical Association 63 (1968). Robust against single outliers, such as one large image. The interval assumes
    independent samples and is too narrow for correlated ones.

    Args:
        x: strictly ascending values.
        y: values, as many as in ``x``.

    Returns:
        None for fewer than 20 points.
    """
    n = len(x)
    if n < _FEWEST_FOR_SLOPE:
        return None
    left, right = np.triu_indices(n, 1)
    slopes = np.sort((y[right] - y[left]) / (x[right] - x[left]))
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    margin = z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18) / 2
    middle = len(slopes) / 2
    low, high = max(0, math.floor(middle - margin)), min(len(slopes) - 1, math.ceil(middle + margin))
    return Interval(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))


@dataclass(frozen=True, slots=True)
class SoakRecord:
    """Record of a `Soak`.

    Attributes:
        time_s: time of each sample, seconds since the start.
        series: values at each sample by name of `SERIES`; NaN if missing.
        warm_up_s: end of the warm-up, which the slopes exclude, seconds.
        unavailable: reason for a missing series, by name.
    """

    time_s: NDArray[np.float64]
    series: dict[str, NDArray[np.float64]]
    warm_up_s: float
    unavailable: dict[str, str]

    def per_hour(self, name: str) -> Interval | None:
        """Return a series' slope after the warm-up, in its unit per hour; None with too few samples."""
        values = self.series[name]
        kept = (self.time_s >= self.warm_up_s) & np.isfinite(values)
        return slope(self.time_s[kept] / 3600, values[kept])

    def to_json(self) -> dict[str, Any]:
        """Return ``time_s``, ``warm_up_s``, ``unavailable``, and ``series``.

        Each series has ``unit``, ``values`` (null if missing) and ``per_hour`` (``estimate``, ``low``, ``high``; null
        with too few samples).
        """
        series = {}
        for name, values in self.series.items():
            if name in self.unavailable:
                continue
            per_hour = self.per_hour(name)
            series[name] = {
                "unit": SERIES[name],
                "values": [float(v) if math.isfinite(v) else None for v in values],
                "per_hour": per_hour.to_json() if per_hour is not None else None,
            }
        return {
            "time_s": self.time_s.tolist(),
            "warm_up_s": self.warm_up_s,
            "series": series,
            "unavailable": dict(self.unavailable),
        }


class Soak:
    """Sample this process and a run periodically in a thread, in constant memory. A context manager.

    Takes 600 samples over the run, at least one per minute. The first third, at most five minutes, is warm-up.

    Args:
        counts: returns the frames by outcome so far.
        duration_s: expected duration of the run, seconds.
    """

    def __init__(self, counts: Callable[[], Counts], duration_s: float) -> None:
        self.interval_s: float = min(_LONGEST_S, max(_SHORTEST_S, duration_s / _LOOKS))
        self._warm_up_s = min(_WARM_UP_MOST_S, _WARM_UP_SHARE * duration_s)
        self._counts = counts
        self._load = LoadSampler(0.0)
        self._unavailable: dict[str, str] = {}
        looks = int(duration_s / self.interval_s) + 2
        # Allocate and touch all memory now: a growing record would measure itself.
        self._values = np.full((looks, 1 + len(SERIES)), np.nan)
        self._looks = 0
        self._ages = array("d", bytes(8 * _AGES_KEPT))
        self._aged = 0
        self._oldest_ms = 0.0
        self._lock = threading.Lock()  # guards them against the sampling thread
        self._before = Counts()
        self._before_s = self._begin_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="edgeproof-soak", daemon=True)

    def decided(self, frame_age_ms: float) -> None:
        """Record a decided frame."""
        with self._lock:
            self._ages[self._aged % _AGES_KEPT] = frame_age_ms
            self._aged += 1
            self._oldest_ms = max(self._oldest_ms, frame_age_ms)

    def __enter__(self) -> Self:
        self._begin_s = self._before_s = time.monotonic()
        self._before = self._counts()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(self.interval_s) and self._looks < len(self._values):
            self._look()

    def _look(self) -> None:
        now_s, load, counts = time.monotonic(), self._load.sample(), self._counts()
        with self._lock:
            ages = np.array(self._ages[: min(self._aged, _AGES_KEPT)])
            oldest_ms, self._oldest_ms, self._aged = self._oldest_ms, 0.0, 0
        self._unavailable.update({k: v for k, v in load.unavailable.items() if k in SERIES})
        took_s = now_s - self._before_s
        self._values[self._looks] = (
            now_s - self._begin_s,
            load.process_rss_bytes / 1e6,
            load.process_threads,
            load.process_descriptors,
            math.nan if load.temperature_c is None else load.temperature_c,
            float(np.median(ages)) if ages.size else math.nan,
            oldest_ms if ages.size else math.nan,
            (counts.decided - self._before.decided) / took_s,
            (counts.dropped - self._before.dropped) / took_s,
            (counts.failed - self._before.failed) / took_s,
        )
        self._before, self._before_s = counts, now_s
        self._looks += 1

    def record(self) -> SoakRecord:
        """Return the samples so far."""
        seen = self._values[: self._looks].copy()
        series = {name: seen[:, 1 + i] for i, name in enumerate(SERIES)}
        return SoakRecord(seen[:, 0], series, self._warm_up_s, dict(self._unavailable))
