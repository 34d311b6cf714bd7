"""The accuracy budget of a multi-label model: mAP compared with fp32's on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_export.tasks.budget import Scores
from edgeproof_export.tasks.paired_figure import PairedFigure
from edgeproof_runtime._native import average_precision, logit_interval
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.multilabel import shown_matrix
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.paired import ClassChange
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.tasks.multilabel import MultilabelHead, multilabel_head

__all__ = ["MapBudget"]

_LEAST_SHARE = 1e-12


@dataclass(frozen=True, slots=True)
class MapBudget:
    """Budget of mAP; targets are the class indices of each image.

    Attributes:
        head: converts probabilities into labels.
    """

    head: MultilabelHead
    metric: str = "mAP"
    output: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, bundle: Bundle, _names: Sequence[str] = ()) -> Self:
        """Return the budget of a multi-label model's bundle."""
        return cls(multilabel_head(bundle))

    def divergence(self, reference: Scores, candidate: Scores) -> float:
        """Return the mean over images of the Kullback-Leibler divergence of all labels from the reference's, nats.

        Source: S. Kullback, R. A. Leibler, "On information and sufficiency", Ann. Math. Stat. 22 (1951); for
        independent Bernoulli variables the divergences add up.
        """
        p, q = (np.clip(values.astype(np.float64), _LEAST_SHARE, 1 - _LEAST_SHARE) for values in (reference, candidate))
        return float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=1).mean())

    def compare(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> PairedFigure:
        """Compare the mAPs image by image.

        The error is the infinitesimal jackknife over images, see `edgeproof_runtime.metrics.multilabel`.

        Raises:
            InputError: no image has a label.
        """
        shown = self._shown(targets)
        _, first, before = average_precision(_ranked(reference), shown)
        _, second, after = average_precision(_ranked(candidate), shown)
        if first is None or second is None:
            raise InputError("mAP: requires images with labels", got=f"{len(targets)} images without a label")
        right, still = self.right(reference, targets), self.right(candidate, targets)
        return PairedFigure(
            key="map",
            n=len(targets),
            reference=first,
            candidate=second,
            error=math.sqrt(float(np.square(np.subtract(before, after)).sum())),
            lost=int((right & ~still).sum()),
            gained=int((~right & still).sum()),
        )

    def losses(self, _reference: Scores, _candidate: Scores, _targets: Sequence[Any]) -> None:
        """Return None: mAP depends on the order of all images."""

    def right(self, scores: Scores, targets: Sequence[Any]) -> NDArray[np.bool_]:
        """Return whether each image gets exactly its labels."""
        found: NDArray[np.bool_] = ((scores >= self.head.thresholds) == self._shown(targets)).all(axis=1)
        return found & np.isfinite(scores).all(axis=1)

    def changes(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> tuple[ClassChange, ...]:
        """Return labels that only one of the two predicts correctly, image by image."""
        shown = self._shown(targets)
        right, still = ((scores >= self.head.thresholds) == shown for scores in (reference, candidate))
        lost, gained = (right & ~still).sum(axis=0), (~right & still).sum(axis=0)
        found = [
            ClassChange(int(i), int(shown[:, i].sum()), int(lost[i]), int(gained[i]))
            for i in np.flatnonzero(lost + gained)
        ]
        return tuple(sorted(found, key=lambda change: (change.gained - change.lost, change.index)))

    def summary(self, scores: Scores, targets: Sequence[Any]) -> str:
        """Return the mAP and the number of images as text."""
        mean = average_precision(_ranked(scores), self._shown(targets))[1]
        return f"mAP {'–' if mean is None else f'{mean:.4f}'} on {len(targets)} validation images"

    def figures(self, scores: Scores, targets: Sequence[Any]) -> Mapping[str, Any]:
        """Return the mAP with its interval."""
        _, mean, influence = average_precision(_ranked(scores), self._shown(targets))
        interval = None if mean is None else logit_interval(mean, influence)
        return {
            "mean_average_precision": mean,
            "exact": int(self.right(scores, targets).sum()),
            "n": len(targets),
            "ci95": None if interval is None else list(interval),
        }

    def class_label(self, index: int) -> str:
        """Return the label of a class, or its index if the bundle has no labels."""
        return self.head.labels[index] if self.head.labels else str(index)

    def answer(self, scores: NDArray[np.float32]) -> str:
        """Return the predicted labels of an image."""
        return self.head.of(scores).label if np.isfinite(scores).all() else "not a number"

    def truth(self, target: Any) -> str:
        """Return the ground truth of an image."""
        return self.head.of(np.zeros(len(self.head.thresholds), np.float32)).name_of(target)

    def _shown(self, targets: Sequence[Any]) -> NDArray[np.bool_]:
        return shown_matrix(targets, len(self.head.thresholds))


def _ranked(scores: Scores) -> Scores:
    """Return scores for ranking; NaN comes last."""
    return np.ascontiguousarray(np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf), np.float32)
