"""Say "unknown" of images that a classifier knows too little: the rule, and the scores that it compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.bundle.manifest import Activation
from edgeproof_runtime.system.compat import Self

__all__ = ["SCORES", "UNKNOWN", "UnknownRule", "known_scores", "scores_for"]

UNKNOWN = "unknown"
"""The label of a prediction that a rule rejects."""

SCORES = ("max-probability", "margin", "energy")
"""The scores; the native core (`unknown.h`) defines them. Higher is better known."""


@dataclass(frozen=True, slots=True)
class UnknownRule:
    """From which score on an image counts as one of the model's classes.

    Attributes:
        score: one of `SCORES`.
        limit: lowest score of a known image; a NaN score is unknown.
    """

    score: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``SCORE:LIMIT``, such as ``margin:0.2``.

        Raises:
            InputError: an unknown score, or a limit out of range.
        """
        return cls(*_native.unknown_rule(text))

    def knows(self, value: float) -> bool:
        """Return whether a score is that of a known image."""
        return value >= self.limit

    def __str__(self) -> str:
        return f"{self.score}:{self.limit:.6g}"


def scores_for(activation: Activation) -> tuple[str, ...]:
    """Return the scores that outputs allow: energy requires logits."""
    return SCORES if activation == "none" else SCORES[:-1]


def known_scores(score: str, output: NDArray[np.generic], probabilities: NDArray[np.float32]) -> list[float]:
    """Compute a score of each row.

    Args:
        score: one of `SCORES`.
        output: ``classes`` or ``N x classes``, from the model.
        probabilities: float32, of the same shape.
    """
    values = np.ascontiguousarray(output, np.float32) if score == "energy" else probabilities
    return _native.known_scores(score, values)
