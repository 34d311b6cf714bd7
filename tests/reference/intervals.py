"""Intervals and areas in NumPy and plain Python: the oracle of ``intervals.cpp``."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

Z95 = 1.959963984540054  # `NormalDist().inv_cdf(0.975)` is off by its last bit


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion."""
    share = successes / n
    denominator = 1 + Z95 * Z95 / n
    centre = (share + Z95 * Z95 / (2 * n)) / denominator
    half = Z95 * math.sqrt(share * (1 - share) / n + Z95 * Z95 / (4 * n * n)) / denominator
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def auroc(good: ArrayLike, defect: ArrayLike) -> float:
    """Area under the ROC curve, ties counting half."""
    below, above = np.asarray(good, np.float64), np.asarray(defect, np.float64)
    ordered = np.sort(below)
    wins = np.searchsorted(ordered, above, "left") + np.searchsorted(ordered, above, "right")
    return float(wins.sum()) / (2 * len(below) * len(above))


def auroc_ci95(good: ArrayLike, defect: ArrayLike) -> tuple[float, float]:
    """95 % interval of the area: Newcombe 2006, method 5."""
    area, n_good, n_defect = auroc(good, defect), np.size(good), np.size(defect)
    return _lowest_area(area, n_good, n_defect), 1.0 - _lowest_area(1.0 - area, n_good, n_defect)


def _lowest_area(area: float, n_good: int, n_defect: int) -> float:
    mean_n = (n_good + n_defect) / 2 - 1

    def too_low(other: float) -> bool:
        spread = 1 + mean_n * ((1 - other) / (2 - other) + other / (1 + other))
        return (area - other) * (area - other) > Z95 * Z95 * other * (1 - other) * spread / (n_good * n_defect)

    outside, inside = 0.0, area
    for _ in range(50):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if too_low(middle) else (outside, middle)
    return inside
