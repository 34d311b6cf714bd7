"""How well anomaly scores tell defects from good pictures."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeproof_runtime.bundle.task_settings import GOOD

__all__ = ["AnomalyMeter", "AnomalyResult", "KindResult", "auroc", "auroc_ci95"]

_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class KindResult:
    """One kind of defect against all good pictures.

    Attributes:
        kind: its name.
        n: pictures of it.
        auroc: see `auroc`; None without good pictures.
        ci95: see `auroc_ci95`.
        detected: share of its pictures that scored above the threshold.
    """

    kind: str
    n: int
    auroc: float | None
    ci95: tuple[float, float] | None
    detected: float


@dataclass(frozen=True, slots=True)
class AnomalyResult:
    """Scores of labelled pictures, judged.

    Attributes:
        n: pictures, good ones included.
        good_n: good pictures.
        threshold: above it is a defect.
        false_alarms: share of good pictures above the threshold; None without good pictures.
        kinds: every kind of defect by name.
        mean_auroc: mean over the kinds; None without good pictures or without defects.
        auroc: all defects together against the good pictures.
        scores: kind (``good`` too) -> its scores, in the order in which they came.
    """

    n: int
    good_n: int
    threshold: float
    false_alarms: float | None
    kinds: tuple[KindResult, ...]
    mean_auroc: float | None
    auroc: float | None
    scores: dict[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class AnomalyMeter:
    """Collects the scores of labelled pictures.

    Args:
        threshold: above it is a defect.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._scores: dict[str, list[float]] = {}

    @property
    def n(self) -> int:
        """Pictures so far."""
        return sum(map(len, self._scores.values()))

    def update(self, kind: str, score: float) -> None:
        """Add a picture; ``kind`` is ``good`` or the name of a defect. A score that is no number counts as infinite."""
        self._scores.setdefault(kind, []).append(math.inf if math.isnan(score) else score)

    def result(self) -> AnomalyResult:
        """What the scores so far say."""
        good = self._scores.get(GOOD, [])
        defects = {kind: scores for kind, scores in sorted(self._scores.items()) if kind != GOOD}
        kinds = tuple(
            KindResult(
                kind,
                len(scores),
                auroc(good, scores) if good else None,
                auroc_ci95(good, scores) if good else None,
                self._above(scores),
            )
            for kind, scores in defects.items()
        )
        values = [kind.auroc for kind in kinds if kind.auroc is not None]
        together = [score for scores in defects.values() for score in scores]
        return AnomalyResult(
            n=self.n,
            good_n=len(good),
            threshold=self._threshold,
            false_alarms=self._above(good) if good else None,
            kinds=kinds,
            mean_auroc=sum(values) / len(values) if values else None,
            auroc=auroc(good, together) if good and together else None,
            scores={kind: list(scores) for kind, scores in sorted(self._scores.items())},
        )

    def _above(self, scores: list[float]) -> float:
        return sum(not score <= self._threshold for score in scores) / len(scores)


def auroc(good: ArrayLike, defect: ArrayLike) -> float:
    """Area under the ROC curve: how probably a defect scores higher than a good picture, ties counting half.

    The Mann-Whitney statistic divided by the number of pairs (Hanley and McNeil 1982).

    Args:
        good, defect: scores, at least one of each.
    """
    below, above = np.asarray(good, np.float64), np.asarray(defect, np.float64)
    ordered = np.sort(below)
    wins: NDArray[np.int64] = np.searchsorted(ordered, above, "left") + np.searchsorted(ordered, above, "right")
    return float(wins.sum()) / (2 * len(below) * len(above))


def auroc_ci95(good: ArrayLike, defect: ArrayLike) -> tuple[float, float]:
    """95 % interval of the area: the areas that the measured one is at most 1.96 of their standard errors away from.

    The standard error is that of each end, not of the measured area, where it would be 0 for an area of 1. Newcombe
    2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", method 5:
    Hanley and McNeil's exponential approximation (1982) with (n_good + n_defect) / 2 - 1 for n_good - 1 and
    n_defect - 1.

    Args:
        good, defect: scores, at least one of each.
    """
    area, n_good, n_defect = auroc(good, defect), np.size(good), np.size(defect)
    return _lowest_area(area, n_good, n_defect), 1.0 - _lowest_area(1.0 - area, n_good, n_defect)


def _lowest_area(area: float, n_good: int, n_defect: int) -> float:
    mean_n = (n_good + n_defect) / 2 - 1

    def too_low(other: float) -> bool:
        spread = 1 + mean_n * ((1 - other) / (2 - other) + other / (1 + other))
        return (area - other) ** 2 > _Z95**2 * other * (1 - other) * spread / (n_good * n_defect)

    outside, inside = 0.0, area
    for _ in range(50):  # halves: beyond a float's digits
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if too_low(middle) else (outside, middle)
    return inside
