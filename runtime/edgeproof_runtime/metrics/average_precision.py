"""Average precision of one class's scores, its interval, and the threshold of best F1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["average_precision", "best_f1_threshold", "logit_interval", "mean_average_precision"]

_Z95 = 1.959963984540054
DEFAULT_THRESHOLD = 0.5  # of a class without positives, which no F1 can choose


@dataclass(frozen=True, slots=True)
class _Cuts:
    """The distinct scores of a class as thresholds, from the highest to the lowest.

    Attributes:
        scores: float64 ``G``, descending.
        true: positives that score at least this, ``G``.
        taken: images that score at least this, ``G``.
        group: place of each image's score among them, ``N``.
    """

    scores: NDArray[np.float64]
    true: NDArray[np.int64]
    taken: NDArray[np.int64]
    group: NDArray[np.int64]

    @classmethod
    def of(cls, scores: ArrayLike, positives: ArrayLike) -> _Cuts:
        values, positive = np.asarray(scores, np.float64).ravel(), np.asarray(positives, np.bool_).ravel()
        distinct, ascending = np.unique(values, return_inverse=True)
        group = (len(distinct) - 1 - ascending).astype(np.int64)
        return cls(
            scores=distinct[::-1],
            true=np.cumsum(np.bincount(group[positive], minlength=len(distinct))).astype(np.int64),
            taken=np.cumsum(np.bincount(group, minlength=len(distinct))).astype(np.int64),
            group=group,
        )

    @property
    def found(self) -> NDArray[np.int64]:
        """Positives with exactly this score, ``G``."""
        return np.diff(self.true, prepend=0)

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of positives among the images taken, ``G``."""
        return self.true / self.taken

    @property
    def average_precision(self) -> float:
        """See `average_precision`; needs a positive."""
        return float((self.found * self.precision).sum() / self.true[-1])

    def influence(self, positives: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Derivative of the average precision by the weight of each image, ``N``; they add up to 0."""
        found, precision = self.found, self.precision
        # An image changes the precision of every threshold at or below its own score.
        of_taken = np.cumsum((found / self.taken)[::-1])[::-1][self.group]
        of_precision = np.cumsum((found * precision / self.taken)[::-1])[::-1][self.group]
        own = precision[self.group] - self.average_precision + of_taken
        changes: NDArray[np.float64] = (np.where(positives, own, 0.0) - of_precision) / self.true[-1]
        return changes


def average_precision(scores: ArrayLike, positives: ArrayLike) -> float | None:
    """Compute the average precision of one class, as scikit-learn's ``average_precision_score`` defines it.

    ``sum((R_n - R_{n-1}) * P_n)`` over the distinct scores as thresholds, without interpolation; equal scores count
    together.

    Args:
        scores: ``N`` finite numbers, only their order matters.
        positives: ``N`` truth values.

    Returns:
        0..1; None without a positive.
    """
    cuts = _Cuts.of(scores, positives)
    return cuts.average_precision if cuts.true.size and cuts.true[-1] else None


def mean_average_precision(
    scores: NDArray[np.floating], targets: NDArray[np.bool_]
) -> tuple[float, NDArray[np.float64]] | None:
    """Compute the mean average precision (mAP) and what each image contributes to its error.

    Args:
        scores: ``N x C``, finite.
        targets: ``N x C``, whether the image shows the class.

    Returns:
        The mean over the classes with a positive, and its derivative by the weight of each image (``N``), of which the
        sum of squares is the infinitesimal jackknife's variance: B. Efron, "The Jackknife, the Bootstrap and Other
        Resampling Plans" (1982), chapter 6. Images are resampled whole, so the classes may depend on each other.
        None without a positive.
    """
    present = np.flatnonzero(targets.any(axis=0))
    if not present.size:
        return None
    total, influence = 0.0, np.zeros(len(scores))
    for index in present:
        positives = targets[:, index]
        cuts = _Cuts.of(scores[:, index], positives)
        total += cuts.average_precision
        influence += cuts.influence(positives)
    return total / len(present), influence / len(present)


def logit_interval(share: float, influence: NDArray[np.float64]) -> tuple[float, float] | None:
    """Compute a 95 % interval of a share in (0, 1) from the influence of each image, on the logit scale.

    The logit keeps both ends within 0..1: K. Boyd, K. Eng, C. Page, "Area under the Precision-Recall Curve: Point
    Estimates and Confidence Intervals", ECML PKDD (2013), section 3.

    Args:
        share: the estimate, such as a mean average precision.
        influence: derivative of it by each image's weight, ``N``.

    Returns:
        (low, high); None where no image changes the estimate, as at exactly 0 and 1: the data then says nothing of its
        spread.
    """
    error = math.sqrt(float(np.square(influence).sum()))
    if not 0.0 < share < 1.0 or error == 0.0:
        return None
    middle, half = math.log(share / (1 - share)), _Z95 * error / (share * (1 - share))
    low, high = (1 / (1 + math.exp(-min(max(value, -700.0), 700.0))) for value in (middle - half, middle + half))
    return low, high


def best_f1_threshold(scores: ArrayLike, positives: ArrayLike) -> float:
    """Choose the threshold of best F1 of one class; an image has the class from the threshold upwards.

    Every distinct score is tried. Of equal F1 the highest score is taken, which gives the label to the fewest images.
    The threshold lies halfway between it and the next lower score (0 below the lowest), so that an engine's rounding
    moves no validation image across it.

    Args:
        scores: ``N`` probabilities, float32 as engines give them.
        positives: ``N`` truth values.

    Returns:
        0..1; 0.5 without a positive.
    """
    cuts = _Cuts.of(np.asarray(scores, np.float32), positives)
    if not cuts.true.size or not cuts.true[-1]:
        return DEFAULT_THRESHOLD
    f1 = 2 * cuts.true / (cuts.true[-1] + cuts.taken)
    best = int(np.argmax(f1))  # the first of equals
    below = cuts.scores[best + 1] if best + 1 < len(cuts.scores) else 0.0
    return float((cuts.scores[best] + below) / 2)
