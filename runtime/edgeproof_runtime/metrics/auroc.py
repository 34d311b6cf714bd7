"""AUROC of anomaly scores: how well they tell defects from good images."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from edgeproof_runtime._native import auroc, auroc_ci95
from edgeproof_runtime.bundle.task_settings import GOOD

__all__ = ["AnomalyMeter", "AnomalyResult", "KindResult", "auroc", "auroc_ci95"]


@dataclass(frozen=True, slots=True)
class KindResult:
    """One kind of defect against all good images.

    Attributes:
        kind: its name.
        n: images of it.
        auroc: probability that a defect scores higher than a good image, ties counting half; None without good images.
        ci95: 95 % interval of ``auroc`` (Newcombe 2006, method 5).
        detected: share of its images that scored above the threshold.
    """

    kind: str
    n: int
    auroc: float | None
    ci95: tuple[float, float] | None
    detected: float


@dataclass(frozen=True, slots=True)
class AnomalyResult:
    """Evaluated scores of labelled images.

    Attributes:
        n: images, good ones included.
        good_n: good images.
        threshold: a score above it is a defect.
        false_alarms: share of good images above the threshold; None without good images.
        kinds: every kind of defect, by name.
        mean_auroc: mean over the kinds; None without good images or without defects.
        auroc: AUROC of all defects against the good images; None without good images or without defects.
        scores: kind (``good``, too) -> its scores, in the order of the images.
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
        """Return plain JSON values."""
        return asdict(self)


class AnomalyMeter:
    """Collects the scores of labelled images.

    Args:
        threshold: a score above it is a defect.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._scores: dict[str, list[float]] = {}

    @property
    def n(self) -> int:
        """Images so far."""
        return sum(map(len, self._scores.values()))

    def update(self, kind: str, score: float) -> None:
        """Add an image; ``kind`` is ``good`` or the name of a defect. A NaN score counts as infinite."""
        self._scores.setdefault(kind, []).append(math.inf if math.isnan(score) else score)

    def result(self) -> AnomalyResult:
        """Evaluate the scores so far."""
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
