"""Multi-label metrics as scikit-learn defines them, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeproof_runtime._native import average_precision, logit_interval, wilson_interval
from edgeproof_runtime.errors import InputError

__all__ = ["LabelMetrics", "MultilabelMeter", "MultilabelResult", "Ratios"]


@dataclass(frozen=True, slots=True)
class Ratios:
    """Precision, recall and F1 of label decisions; 0 where the denominator is 0 (``zero_division=0``)."""

    precision: float
    recall: float
    f1: float

    @classmethod
    def of(cls, *, support: int, predicted: int, correct: int) -> Ratios:
        """Compute them from counts."""
        total = support + predicted
        return cls(
            precision=correct / predicted if predicted else 0.0,
            recall=correct / support if support else 0.0,
            f1=2 * correct / total if total else 0.0,
        )


@dataclass(frozen=True, slots=True)
class LabelMetrics:
    """One class of the model.

    Attributes:
        index: class index.
        threshold: probability from which an image gets the label.
        support: images that show the class.
        predicted: images that got the label.
        correct: images that show the class and got the label.
        average_precision: None where no image shows the class.
    """

    index: int
    threshold: float
    support: int
    predicted: int
    correct: int
    average_precision: float | None

    @property
    def ratios(self) -> Ratios:
        """Precision, recall and F1 at the threshold."""
        return Ratios.of(support=self.support, predicted=self.predicted, correct=self.correct)


@dataclass(frozen=True, slots=True)
class MultilabelResult:
    """Metrics of a multi-label model on labelled images.

    Means over classes are taken over the classes that occur in the dataset (support above 0), as for `AccuracyResult`.

    Attributes:
        n: labelled images.
        classes_present: classes that occur in the dataset.
        mean_average_precision: mAP; None if no class occurs.
        ci95: 95 % interval of the mAP; None if the dataset supports none.
        exact: images whose labels are all right and complete.
        micro: over all label decisions.
        macro: means over the classes that occur in the dataset.
        per_class: every class of the model, by index.
    """

    n: int
    classes_present: int
    mean_average_precision: float | None
    ci95: tuple[float, float] | None
    exact: int
    micro: Ratios
    macro: Ratios
    per_class: tuple[LabelMetrics, ...]

    @property
    def exact_match(self) -> float:
        """Share of images whose labels are all right and complete (subset accuracy)."""
        return self.exact / self.n

    def to_json(self, labels: Sequence[str] = ()) -> dict[str, Any]:
        """Return plain JSON values.

        Args:
            labels: label of each class index; if empty, the index serves as label.
        """
        names = list(labels) or [str(metrics.index) for metrics in self.per_class]
        return {
            "n": self.n,
            "classes": len(self.per_class),
            "classes_present": self.classes_present,
            "mean_average_precision": self.mean_average_precision,
            "ci95": None if self.ci95 is None else list(self.ci95),
            "exact_match": self.exact_match,
            "exact_match_ci95": list(wilson_interval(self.exact, self.n)),
            "micro": asdict(self.micro),
            "macro": asdict(self.macro),
            "per_class": [
                {"label": name, **asdict(metrics), **asdict(metrics.ratios)}
                for name, metrics in zip(names, self.per_class, strict=True)
            ],
        }


class MultilabelMeter:
    """Accumulates probabilities and targets batch by batch.

    Average precision needs the order of all scores, so the meter keeps 5 bytes per image and class.

    Args:
        thresholds: of each class, 0..1; at least one.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        self._thresholds = np.asarray(thresholds, np.float64)
        self._scores: list[NDArray[np.float32]] = []
        self._targets: list[NDArray[np.bool_]] = []
        self._n = 0

    @property
    def n(self) -> int:
        """Images so far."""
        return self._n

    def update(self, scores: ArrayLike, targets: ArrayLike) -> None:
        """Add one batch.

        Args:
            scores: probabilities, ``N x C``.
            targets: 0 and 1 or truth values, ``N x C``.

        Raises:
            InputError: shapes do not match, a target is not 0 or 1, or a score is NaN. Nothing of the batch is
                counted.
        """
        values, truth = np.asarray(scores, np.float32), np.asarray(targets)
        expected = (len(values), len(self._thresholds))
        if values.shape != expected or truth.shape != expected:
            raise InputError(
                "scores, targets: shapes do not match",
                got=f"scores {values.shape}, targets {truth.shape}",
                expected=f"(N, {expected[1]}) both",
            )
        if not np.isin(truth, (0, 1)).all():
            raise InputError("targets: values other than 0 and 1", got=np.unique(truth)[:5].tolist(), expected="0 or 1")
        not_numbers = int(np.isnan(values).any(axis=1).sum())
        if not_numbers:
            raise InputError("model output: not a number", got=f"NaN in {not_numbers} of {len(values)} outputs")
        self._scores.append(values.copy())
        self._targets.append(truth.astype(np.bool_))
        self._n += len(values)

    def result(self) -> MultilabelResult:
        """Return the metrics of everything so far.

        Raises:
            InputError: nothing was added.
        """
        if not self._n:
            raise InputError("multi-label metrics: no images", got="no labelled image", expected="at least one")
        scores, targets = np.concatenate(self._scores), np.concatenate(self._targets)
        given = scores >= self._thresholds
        precisions, mean, influence = average_precision(scores, targets)
        per_class = tuple(
            LabelMetrics(
                index=index,
                threshold=float(threshold),
                support=int(targets[:, index].sum()),
                predicted=int(given[:, index].sum()),
                correct=int((given & targets)[:, index].sum()),
                average_precision=precisions[index],
            )
            for index, threshold in enumerate(self._thresholds)
        )
        present = [metrics.ratios for metrics in per_class if metrics.support]
        return MultilabelResult(
            n=self._n,
            classes_present=len(present),
            mean_average_precision=mean,
            ci95=None if mean is None else logit_interval(mean, influence),
            exact=int((given == targets).all(axis=1).sum()),
            micro=Ratios.of(
                support=int(targets.sum()), predicted=int(given.sum()), correct=int((given & targets).sum())
            ),
            macro=_mean(present),
            per_class=per_class,
        )


def _mean(ratios: Sequence[Ratios]) -> Ratios:
    if not ratios:
        return Ratios(0.0, 0.0, 0.0)
    n = len(ratios)
    return Ratios(
        sum(one.precision for one in ratios) / n,
        sum(one.recall for one in ratios) / n,
        sum(one.f1 for one in ratios) / n,
    )
