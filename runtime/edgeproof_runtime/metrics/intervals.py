"""Statistics of repeated measurements: bootstrap intervals, and LoadGen's early-stopping estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Interval", "early_stopping_estimate", "early_stopping_needed", "median_interval", "ratio_interval"]

_RESAMPLES = 1000
_FEWEST_BLOCKS = 4  # fewer leave the bootstrap too little to draw from


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % confidence interval; ``low`` and ``high`` are None with too few blocks."""

    estimate: float
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, float | None]:
        """Return plain JSON values."""
        return {"estimate": self.estimate, "low": self.low, "high": self.high}


def median_interval(blocks: Sequence[NDArray[np.float64]], *, seed: int = 0) -> Interval:
    """Estimate the median over all values, with the percentile bootstrap's interval over whole blocks.

    Consecutive runs share disturbances, so whole blocks are drawn instead of single runs:
    Davison and Hinkley, "Bootstrap Methods and their Application" (1997), sections 2.4 and 3.8.

    Args:
        blocks: the values of each interleaved round, none of them empty.
        seed: seed of the resampling.
    """
    pooled = np.concatenate(blocks)
    estimate = float(np.median(pooled))
    if len(blocks) < _FEWEST_BLOCKS:
        return Interval(estimate, None, None)
    # A resample is the pooled values with integer weights, so one sort serves all resamples.
    order = np.argsort(pooled)
    owner = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])[order]
    values = pooled[order]
    rng = np.random.default_rng(seed)
    medians = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        drawn = np.bincount(rng.integers(0, len(blocks), len(blocks)), minlength=len(blocks))
        weights = np.cumsum(drawn[owner])
        medians[i] = values[np.searchsorted(weights, weights[-1] / 2)]
    low, high = np.percentile(medians, [2.5, 97.5])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def ratio_interval(new: ArrayLike, old: ArrayLike, *, paired: bool, seed: int = 0) -> Interval:
    """Estimate how many times as long ``new`` takes as ``old``: ratio of block medians, bootstrap interval.

    Args:
        new, old: one figure per block, all > 0.
        paired: block i of both was taken in the same round; the ratio is then taken round by round.
        seed: seed of the resampling.
    """
    above, below = np.asarray(new, np.float64), np.asarray(old, np.float64)
    rng = np.random.default_rng(seed)
    if paired:
        ratios = above / below
        estimate, drawn = float(np.median(ratios)), _resampled_medians(ratios, rng)
    else:
        estimate = float(np.median(above) / np.median(below))
        drawn = _resampled_medians(above, rng) / _resampled_medians(below, rng)
    if min(len(above), len(below)) < _FEWEST_BLOCKS:
        return Interval(estimate, None, None)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def _resampled_medians(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Compute medians of resamples that keep neighbours together: a disturbance lasts several rounds.

    Circular block bootstrap with blocks of about the cube root of the number of values: Politis and Romano (1992).
    """
    n = len(values)
    length = math.ceil(n ** (1 / 3))
    starts = rng.integers(0, n, (_RESAMPLES, math.ceil(n / length)))
    drawn = ((starts[:, :, None] + np.arange(length)) % n).reshape(_RESAMPLES, -1)[:, :n]
    medians: NDArray[np.float64] = np.median(values[drawn], axis=1)
    return medians


def early_stopping_estimate(values: ArrayLike, quantile: float, confidence: float = 0.99) -> float | None:
    """Compute MLPerf LoadGen's early-stopping estimate of a percentile, not below the true one with this confidence.

    It is the t-th largest value, with t as large as the sample permits: fewer than t + 1 of n values lie above the
    p-quantile with probability ``P(Binomial(n, 1 - p) <= t)``, which must stay below ``1 - confidence``.
    MLCommons, "MLPerf Inference Rules", appendix "Early stopping criterion".

    Args:
        values: one per query, in any order.
        quantile: p, 0 < p < 1.
        confidence: LoadGen's is 0.99.

    Returns:
        The estimate; None with fewer than `early_stopping_needed` values.
    """
    ordered = np.sort(np.asarray(values, np.float64).ravel())
    discarded = _discardable(len(ordered), quantile, confidence)
    return float(ordered[len(ordered) - discarded]) if discarded else None


def early_stopping_needed(quantile: float, confidence: float = 0.99) -> int:
    """Return the fewest values from which LoadGen estimates this percentile: p90 64, p99 662."""
    n = math.ceil(math.log(1 - confidence) / math.log(quantile))
    while not _discardable(n, quantile, confidence):
        n += 1
    return n


def _discardable(n: int, quantile: float, confidence: float) -> int:
    """Return the largest t with ``P(Binomial(n, 1 - quantile) <= t) < 1 - confidence``; 0 if not even t = 1."""
    odds = (1 - quantile) / quantile
    log_term = n * math.log(quantile)
    total = math.exp(log_term)
    t = 0
    while t < n:
        log_term += math.log(odds * (n - t) / (t + 1))
        total += math.exp(log_term)
        if total >= 1 - confidence:
            break
        t += 1
    return t
