"""Paired comparison of a figure that is not a share of right images, with a standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

__all__ = ["PairedFigure"]

_Z95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class PairedFigure:
    """Compare a figure of a reference and a candidate on the same ``n`` images.

    Attributes:
        key: name of the figure in reports.
        n: number of images.
        reference, candidate: the figure of both, 0..1.
        error: standard error of their paired difference.
        lost: number of images that only the reference predicts correctly.
        gained: number of images that only the candidate predicts correctly.
    """

    key: str
    n: int
    reference: float
    candidate: float
    error: float
    lost: int
    gained: int

    @property
    def drop(self) -> float:
        """Return the reference's figure minus the candidate's; negative if the candidate is better."""
        return self.reference - self.candidate

    @property
    def drop_ci95(self) -> tuple[float, float]:
        """Return the 95 % interval of the drop; of width 0 if no image differs."""
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
        return {
            "n": self.n,
            f"reference_{self.key}": self.reference,
            f"candidate_{self.key}": self.candidate,
            "error": self.error,
            "lost": self.lost,
            "gained": self.gained,
            "drop": self.drop,
            "drop_ci95": list(self.drop_ci95),
            "p_value": self.p_value,
        }
