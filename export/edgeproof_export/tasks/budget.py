"""Protocols of the metric of an accuracy budget, implemented by a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.metrics.paired import ClassChange

__all__ = ["Budget", "Comparison", "Scores"]

Scores = NDArray[np.float32]
"""Output of a model by which it is judged, ``N x C``."""


class Comparison(Protocol):
    """Comparison of a candidate with fp32 on the same labelled images."""

    @property
    def candidate(self) -> float:
        """Return the candidate's metric, 0..1."""

    @property
    def drop(self) -> float:
        """Return fp32's metric minus the candidate's; negative if the candidate is better."""

    @property
    def drop_ci95(self) -> tuple[float, float]:
        """Return the 95 % interval of the drop."""

    @property
    def p_value(self) -> float:
        """Return the probability of a difference at least this large between equal models."""

    @property
    def lost(self) -> int:
        """Return the number of images that only fp32 predicts correctly."""

    @property
    def gained(self) -> int:
        """Return the number of images that only the candidate predicts correctly."""

    def pictures_to_resolve(self, margin: float) -> int:
        """Estimate the number of images for an interval of the drop of ± ``margin``."""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values for a report's ``optimization``, including ``drop`` and ``drop_ci95``."""


class Budget(Protocol):
    """Metric of one bundle, with comparison and naming of its predictions.

    Targets are the dataset's: one per image, of the task's type.
    """

    @property
    def metric(self) -> str:
        """Return the name of the metric, such as ``top-1``."""

    @property
    def output(self) -> int:
        """Return the position of the scores among the model's outputs."""

    @property
    def notes(self) -> Sequence[str]:
        """Return notes for the report: what the metric does not measure."""

    def divergence(self, reference: Scores, candidate: Scores) -> float:
        """Return the divergence of scores from fp32's, without labels; 0 if equal."""

    def compare(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> Comparison:
        """Compare a candidate with fp32 on labelled images."""

    def losses(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> NDArray[np.float64] | None:
        """Return each image's part in the drop, -1..1, whose mean is the drop; None if the metric is not a mean."""

    def right(self, scores: Scores, targets: Sequence[Any]) -> NDArray[np.bool_]:
        """Return whether each prediction is correct, ``N``."""

    def changes(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> tuple[ClassChange, ...]:
        """Return classes with lost or gained images, largest net loss first."""

    def summary(self, scores: Scores, targets: Sequence[Any]) -> str:
        """Return the metric of one model as text."""

    def figures(self, scores: Scores, targets: Sequence[Any]) -> Mapping[str, Any]:
        """Return the metric of one model as plain JSON values, with ``n`` and ``ci95``."""

    def class_label(self, index: int) -> str:
        """Return the label of a class."""

    def answer(self, scores: NDArray[np.float32]) -> str:
        """Return the prediction for one image as text, from its scores ``C``."""

    def truth(self, target: Any) -> str:
        """Return the ground truth of one image as text."""
