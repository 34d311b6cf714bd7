"""What `optimize` counts an accuracy budget in: the protocols that a task implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.metrics.paired import ClassChange

__all__ = ["Budget", "Comparison", "Scores"]

Scores = NDArray[np.float32]
"""First output of a model, ``N x C``."""


class Comparison(Protocol):
    """A candidate beside fp32 on the same labelled images."""

    @property
    def candidate(self) -> float:
        """The candidate's metric, 0..1."""

    @property
    def drop(self) -> float:
        """fp32's metric minus the candidate's; negative where the candidate is better."""

    @property
    def drop_ci95(self) -> tuple[float, float]:
        """95 % interval of the drop."""

    @property
    def p_value(self) -> float:
        """Probability of a difference as large as this between models of equal quality."""

    @property
    def lost(self) -> int:
        """Images that only fp32 has right."""

    @property
    def gained(self) -> int:
        """Images that only the candidate has right."""

    def pictures_to_resolve(self, margin: float) -> int:
        """About how many images make the interval of the drop as narrow as ± ``margin``."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values for a report's ``optimization``, ``drop`` and ``drop_ci95`` among them."""


class Budget(Protocol):
    """The metric of one bundle, and how its answers are compared and named.

    Targets are those of the dataset: one per image, of the task's own type.
    """

    @property
    def metric(self) -> str:
        """Name of the metric for people, such as ``top-1``."""

    def divergence(self, reference: Scores, candidate: Scores) -> float:
        """How far answers lie from fp32's, without labels: 0 where they are equal."""

    def compare(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> Comparison:
        """Compare a candidate with fp32 on labelled images."""

    def right(self, scores: Scores, targets: Sequence[Any]) -> NDArray[np.bool_]:
        """Whether each image is answered right, ``N``."""

    def changes(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> tuple[ClassChange, ...]:
        """Classes that lost or gained images, the largest net loss first."""

    def summary(self, scores: Scores, targets: Sequence[Any]) -> str:
        """The metric of one model in a clause for people."""

    def figures(self, scores: Scores, targets: Sequence[Any]) -> Mapping[str, Any]:
        """The metric of one model as plain JSON values, with ``n`` and ``ci95``."""

    def class_label(self, index: int) -> str:
        """The label of a class."""

    def answer(self, scores: NDArray[np.float32]) -> str:
        """The answer to one image in words, from its scores ``C``."""

    def truth(self, target: Any) -> str:
        """The ground truth of one image in words."""
