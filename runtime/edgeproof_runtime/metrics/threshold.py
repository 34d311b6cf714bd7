"""The threshold of best F1 of one class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["DEFAULT_THRESHOLD", "best_f1_threshold"]

DEFAULT_THRESHOLD = 0.5
"""Of a class without positives, for which every F1 is 0."""


def best_f1_threshold(scores: ArrayLike, positives: ArrayLike) -> float:
    """Choose the threshold of best F1 of one class; an image has the class from the threshold upwards.

    Every distinct score is tried. Of equal F1 the highest score is taken, which gives the label to the fewest images.
    The threshold lies halfway between it and the next lower score (0 below the lowest), so that an engine's rounding
    moves no validation image across it.

    Args:
        scores: ``N`` probabilities, float32 as engines give them.
        positives: ``N`` truth values.

    Returns:
        0..1; `DEFAULT_THRESHOLD` without a positive.
    """
    values, positive = np.asarray(scores, np.float32).ravel(), np.asarray(positives, np.bool_).ravel()
    if not positive.any():
        return DEFAULT_THRESHOLD
    distinct, group = np.unique(values, return_inverse=True)
    candidates = distinct[::-1].astype(np.float64)
    true: NDArray[np.float64] = np.cumsum(np.bincount(group, positive, len(distinct))[::-1])
    taken: NDArray[np.int64] = np.cumsum(np.bincount(group, minlength=len(distinct))[::-1])
    best = int(np.argmax(2 * true / (true[-1] + taken)))  # the first of equals
    below = candidates[best + 1] if best + 1 < len(candidates) else 0.0
    return float((candidates[best] + below) / 2)
