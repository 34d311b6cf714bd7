"""The accuracy budget of a multi-label model: mAP compared with fp32's on the same images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeproof_export.tasks.budget import Scores
from edgeproof_runtime._native import average_precision, logit_interval
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.multilabel import shown_matrix
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.paired import ClassChange
from edgeproof_runtime.tasks.multilabel import MultilabelHead, multilabel_head

__all__ = ["MapBudget", "PairedMap"]

_Z95 = NormalDist().inv_cdf(0.975)
_LEAST_SHARE = 1e-12


@dataclass(frozen=True, slots=True)
class PairedMap:
    """Compare the mAP of a reference and a candidate on the same ``n`` labelled images.

    Attributes:
        n: number of images.
        reference_map, candidate_map: mean average precision of both.
        error: standard error of their paired difference (infinitesimal jackknife over images, see
            `edgeproof_runtime.metrics.multilabel`).
        lost: number of images with exactly correct labels by the reference only.
        gained: number of images with exactly correct labels by the candidate only.
    """

    n: int
    reference_map: float
    candidate_map: float
    error: float
    lost: int
    gained: int

    @property
    def candidate(self) -> float:
        """Return the candidate's mAP."""
        return self.candidate_map

    @property
    def drop(self) -> float:
        """Return the reference's mAP minus the candidate's; negative if the candidate is better."""
        return self.reference_map - self.candidate_map

    @property
    def drop_ci95(self) -> tuple[float, float]:
        """Return the 95 % interval of the drop; of width 0 if no image ranks differently."""
        half = _Z95 * self.error
        return max(-1.0, self.drop - half), min(1.0, self.drop + half)

    @property
    def p_value(self) -> float:
        """Return the two-sided p-value of the drop over its standard error, normal distribution."""
        if self.error == 0.0:
            return 1.0 if self.drop == 0.0 else 0.0
        return 2 * (1 - NormalDist().cdf(abs(self.drop) / self.error))

    def pictures_to_resolve(self, margin: float) -> int:
        """Estimate the number of images for an interval of the drop of ± ``margin``, which shrinks with its root."""
        if margin <= 0:
            raise ValueError(f"no number of images resolves a drop of {margin}")
        return max(math.ceil(1 / margin), math.ceil(self.n * (_Z95 * self.error / margin) ** 2))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "drop": self.drop, "drop_ci95": list(self.drop_ci95), "p_value": self.p_value}


@dataclass(frozen=True, slots=True)
class MapBudget:
    """Budget of mAP; targets are the class indices of each image.

    Attributes:
        head: converts probabilities into labels.
    """

    head: MultilabelHead
    metric: str = "mAP"

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Return the budget of a multi-label model's bundle."""
        return cls(multilabel_head(bundle))

    def divergence(self, reference: Scores, candidate: Scores) -> float:
        """Return the mean over images of the Kullback-Leibler divergence of all labels from the reference's, nats.

        Source: S. Kullback, R. A. Leibler, "On information and sufficiency", Ann. Math. Stat. 22 (1951); for
        independent Bernoulli variables the divergences add up.
        """
        p, q = (np.clip(values.astype(np.float64), _LEAST_SHARE, 1 - _LEAST_SHARE) for values in (reference, candidate))
        return float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=1).mean())

    def compare(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> PairedMap:
        """Compare the mAPs image by image.

        Raises:
            InputError: no image has a label.
        """
        shown = self._shown(targets)
        _, first, before = average_precision(_ranked(reference), shown)
        _, second, after = average_precision(_ranked(candidate), shown)
        if first is None or second is None:
            raise InputError("mAP: requires images with labels", got=f"{len(targets)} images without a label")
        right, still = self.right(reference, targets), self.right(candidate, targets)
        return PairedMap(
            n=len(targets),
            reference_map=first,
            candidate_map=second,
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
