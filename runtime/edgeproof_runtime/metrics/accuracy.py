"""Classification metrics in NumPy, as scikit-learn defines them, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeproof_runtime._native import wilson_interval
from edgeproof_runtime.errors import InputError

__all__ = ["AccuracyMeter", "AccuracyResult", "ClassMetrics", "Confusion", "target_ranks", "wilson_interval"]

MATRIX_CLASSES = 50  # a larger matrix is neither readable nor small; the confused pairs remain
TOP_PAIRS = 25


def target_ranks(scores: ArrayLike, targets: ArrayLike) -> NDArray[np.int64]:
    """Rank each sample's true class among all classes; 0 means that it is the top-1 prediction.

    Of equal scores the lower class index comes first, as in `numpy.argmax`. The target is in the top k
    exactly if its rank is below k.

    Args:
        scores: probabilities or logits, ``N x C``, without NaN.
        targets: class indices, ``N``, each 0..C-1.

    Returns:
        int64, ``N``.
    """
    values = np.asarray(scores)
    truth = np.asarray(targets, np.int64)
    own = np.take_along_axis(values, truth[:, None], axis=1)
    earlier = np.arange(values.shape[1]) < truth[:, None]
    ahead: NDArray[np.bool_] = (values > own) | ((values == own) & earlier)
    ranks: NDArray[np.int64] = np.count_nonzero(ahead, axis=1).astype(np.int64)
    return ranks


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class that occurs in the dataset. A ratio of 0 to 0 counts as 0 (scikit-learn's ``zero_division=0``)."""

    index: int
    support: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """correct / predicted; 0 if the class was never predicted."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """correct / support."""
        return self.correct / self.support

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.correct / (self.support + self.predicted)


@dataclass(frozen=True, slots=True)
class Confusion:
    """``count`` samples of class ``truth`` were predicted as class ``predicted``."""

    truth: int
    predicted: int
    count: int


@dataclass(frozen=True, slots=True)
class AccuracyResult:
    """Accuracy on a labelled dataset.

    ``precision``, ``recall`` and ``f1`` are macro averages over the classes that occur in the dataset (support
    above 0). A class without samples has no recall and is left out; predictions of it still count as errors of
    the true class. ``weighted_*`` weigh by support.

    Attributes:
        n: labelled samples.
        classes: classes of the model.
        classes_present: classes that occur in the dataset.
        top1: share of samples whose top-1 prediction is right.
        top5: share of samples with the true class in the top 5; None with five classes or fewer, where it is always 1.
        ci95: Wilson's 95 % interval of ``top1``.
        top5_ci95: Wilson's 95 % interval of ``top5``.
        per_class: the classes present, by index.
        confused: all wrong predictions by pair, most frequent first.
    """

    n: int
    classes: int
    classes_present: int
    top1: float
    top5: float | None
    ci95: tuple[float, float]
    top5_ci95: tuple[float, float] | None
    precision: float
    recall: float
    f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    per_class: tuple[ClassMetrics, ...]
    confused: tuple[Confusion, ...]

    @property
    def correct(self) -> int:
        """Samples whose top-1 prediction is right."""
        return sum(metrics.correct for metrics in self.per_class)

    def matrix(self) -> tuple[list[int], NDArray[np.int64]]:
        """Compute the confusion matrix over the classes that occur as ground truth or as prediction.

        Returns:
            Their class indices, ascending, and int64 ``K x K`` counts; row = ground truth, column = prediction.
        """
        occurring = {m.index for m in self.per_class} | {c.predicted for c in self.confused}
        indices = sorted(occurring)
        place = {index: i for i, index in enumerate(indices)}
        counts = np.zeros((len(indices), len(indices)), np.int64)
        for metrics in self.per_class:
            counts[place[metrics.index], place[metrics.index]] = metrics.correct
        for pair in self.confused:
            counts[place[pair.truth], place[pair.predicted]] = pair.count
        return indices, counts

    def to_json(self, labels: Sequence[str] = ()) -> dict[str, Any]:
        """Return the entry below a report's ``accuracy``.

        The matrix is left out beyond 50 occurring classes; the 25 most frequent confusions are always listed.

        Args:
            labels: label of each class index; if empty, the index serves as label.
        """
        if labels and len(labels) != self.classes:
            raise ValueError(f"{len(labels)} labels for {self.classes} classes")
        names = list(labels) or [str(i) for i in range(self.classes)]
        indices, counts = self.matrix()
        readable = len(indices) <= MATRIX_CLASSES
        return {
            "n": self.n,
            "classes": self.classes,
            "classes_present": self.classes_present,
            "top1": self.top1,
            "top5": self.top5,
            "ci95": list(self.ci95),
            "top5_ci95": None if self.top5_ci95 is None else list(self.top5_ci95),
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "weighted": {
                "precision": self.weighted_precision,
                "recall": self.weighted_recall,
                "f1": self.weighted_f1,
            },
            "per_class": [
                {
                    "index": m.index,
                    "label": names[m.index],
                    "support": m.support,
                    "predicted": m.predicted,
                    "precision": m.precision,
                    "recall": m.recall,
                    "f1": m.f1,
                }
                for m in self.per_class
            ],
            "confusion": {"labels": [names[i] for i in indices], "counts": counts.tolist()} if readable else None,
            "confused": [
                {"truth": names[c.truth], "predicted": names[c.predicted], "count": c.count}
                for c in self.confused[:TOP_PAIRS]
            ],
        }


class AccuracyMeter:
    """Accumulates scores and targets batch by batch; keeps counts per pair of classes, no scores.

    Args:
        classes: classes of the model, at least 2.
    """

    def __init__(self, classes: int) -> None:
        if classes < 2:
            raise InputError("accuracy: too few classes", got=classes, expected="at least 2")
        self.classes = classes
        self._n = 0
        self._top5 = 0
        self._halves: tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]] = (Counter(), Counter())

    @property
    def n(self) -> int:
        """Samples so far."""
        return self._n

    @property
    def halves(self) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
        """Number of samples by (true class, predicted class), of every second sample and of the others."""
        return self._halves

    def update(self, scores: ArrayLike, targets: ArrayLike) -> None:
        """Add one batch.

        Args:
            scores: probabilities or logits, ``N x classes``; only their order matters.
            targets: true class indices, ``N`` integers.

        Raises:
            InputError: shapes do not match, a target is not a class, or a score is NaN. Nothing of the
                batch is counted.
        """
        values = np.asarray(scores)
        truth = np.asarray(targets)
        if values.ndim != 2 or values.shape[1] != self.classes or truth.shape != values.shape[:1]:
            raise InputError(
                "scores, targets: shapes do not match",
                got=f"scores {values.shape}, targets {truth.shape}",
                expected=f"(N, {self.classes}) and (N,)",
            )
        if not np.issubdtype(truth.dtype, np.integer) and truth.size:
            raise InputError("targets: not class indices", got=truth.dtype, expected="integers")
        if truth.size and (truth.min() < 0 or truth.max() >= self.classes):
            raise InputError(
                "targets: not a class of the model",
                got=f"{truth.min()}..{truth.max()}",
                expected=f"0..{self.classes - 1}",
                fix="check that the dataset's labels are this model's",
            )
        unordered = int(np.isnan(values).any(axis=1).sum())
        if unordered:
            raise InputError("model output: not a number", got=f"NaN in {unordered} of {len(values)} outputs")
        if not truth.size:
            return
        self._top5 += int((target_ranks(values, truth) < 5).sum())
        both = np.stack([truth, values.argmax(axis=1)])
        for number, half in enumerate(self._halves):
            part = both[:, (number - self._n) % 2 :: 2]
            pairs, counts = np.unique(part, axis=1, return_counts=True)
            for (true, predicted), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
                half[true, predicted] += count
        self._n += len(truth)

    def result(self) -> AccuracyResult:
        """Return the accuracy of everything so far.

        Raises:
            InputError: nothing was added.
        """
        if not self._n:
            raise InputError("accuracy: no samples", got="no labelled sample", expected="at least one")
        support = np.zeros(self.classes, np.int64)
        predicted = np.zeros(self.classes, np.int64)
        correct = np.zeros(self.classes, np.int64)
        whole = self._halves[0] + self._halves[1]
        for (true, guess), count in whole.items():
            support[true] += count
            predicted[guess] += count
            correct[true] += count if true == guess else 0
        present = np.flatnonzero(support)
        per_class = tuple(ClassMetrics(int(i), int(support[i]), int(predicted[i]), int(correct[i])) for i in present)
        ratios = np.array([(m.precision, m.recall, m.f1) for m in per_class])
        macro = ratios.mean(axis=0)
        weighted = support[present] @ ratios / self._n
        right = int(correct.sum())
        wrong = [Confusion(t, p, count) for (t, p), count in whole.items() if t != p]
        top5_known = self.classes > 5
        return AccuracyResult(
            n=self._n,
            classes=self.classes,
            classes_present=len(present),
            top1=right / self._n,
            top5=self._top5 / self._n if top5_known else None,
            ci95=wilson_interval(right, self._n),
            top5_ci95=wilson_interval(self._top5, self._n) if top5_known else None,
            precision=float(macro[0]),
            recall=float(macro[1]),
            f1=float(macro[2]),
            weighted_precision=float(weighted[0]),
            weighted_recall=float(weighted[1]),
            weighted_f1=float(weighted[2]),
            per_class=per_class,
            confused=tuple(sorted(wrong, key=lambda c: (-c.count, c.truth, c.predicted))),
        )
