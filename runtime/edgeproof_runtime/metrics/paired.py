"""Paired comparison of two classifiers on the same images: the drop, and its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.accuracy import wilson_interval
from edgeproof_runtime.system.compat import Self

__all__ = ["ClassChange", "Paired", "class_changes", "flipped", "mcnemar_p"]

_Z95 = NormalDist().inv_cdf(0.975)


def mcnemar_p(lost: int, gained: int) -> float:
    """Compute the two-sided p-value of the exact McNemar test: could chance split the discordant images so?

    Under equal accuracy each discordant image is lost or gained with probability 1/2 (Q. McNemar, Psychometrika 12,
    1947; exact form: the binomial distribution over the discordant pairs).

    Args:
        lost: images that only the first classifier has right.
        gained: images that only the second classifier has right.

    Returns:
        0..1; 1 without discordant images.
    """
    if lost < 0 or gained < 0:
        raise ValueError(f"lost {lost}, gained {gained}: must not be negative")
    discordant, fewer = lost + gained, min(lost, gained)
    tail, term = 0, 1
    for k in range(fewer + 1):
        tail += term
        term = term * (discordant - k) // (k + 1)
    # Integers until here, which Python divides at any size; floats would overflow.
    return min(1.0, 2 * tail / (1 << discordant))


@dataclass(frozen=True, slots=True)
class Paired:
    """A reference and a candidate evaluated on the same ``n`` labelled images. Build it with `of`.

    Attributes:
        n: images, at least 1.
        both_right: right in both.
        lost: right in the reference, wrong in the candidate.
        gained: wrong in the reference, right in the candidate.
        changed: predictions that differ, right or wrong; at least ``lost + gained``.
    """

    n: int
    both_right: int
    lost: int
    gained: int
    changed: int

    def __post_init__(self) -> None:
        if self.n < 1 or min(self.both_right, self.lost, self.gained) < 0:
            raise ValueError(f"{self}: invalid count")
        if self.both_right + self.lost + self.gained > self.n or not self.lost + self.gained <= self.changed <= self.n:
            raise ValueError(f"{self}: counts contradict each other")

    @classmethod
    def of(cls, reference: ArrayLike, candidate: ArrayLike, targets: ArrayLike) -> Self:
        """Compare top-1 predictions.

        Args:
            reference, candidate: predicted class indices, ``N`` integers.
            targets: true class indices, ``N`` integers.

        Raises:
            InputError: the lengths differ, or are 0.
        """
        first, second, truth = _aligned(reference, candidate, targets)
        right, still = first == truth, second == truth
        return cls(
            n=len(truth),
            both_right=int((right & still).sum()),
            lost=int((right & ~still).sum()),
            gained=int((~right & still).sum()),
            changed=int((first != second).sum()),
        )

    @property
    def reference(self) -> float:
        """Top-1 of the reference: share that it has right."""
        return (self.both_right + self.lost) / self.n

    @property
    def candidate(self) -> float:
        """Top-1 of the candidate: share that it has right."""
        return (self.both_right + self.gained) / self.n

    @property
    def drop(self) -> float:
        """Reference's top-1 minus the candidate's, a share of all images; negative if the candidate is better."""
        return (self.lost - self.gained) / self.n

    @property
    def p_value(self) -> float:
        """See `mcnemar_p`."""
        return mcnemar_p(self.lost, self.gained)

    @property
    def drop_ci95(self) -> tuple[float, float]:
        """95 % interval of `drop`.

        R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired
        data", Statistics in Medicine 17 (1998), method 10: Wilson's intervals of both shares, combined with their
        correlation. It keeps a width without discordant images.
        """
        a, b, c = self.both_right, self.lost, self.gained
        d = self.n - a - b - c
        first, second = self.reference, self.candidate
        low1, high1 = wilson_interval(a + b, self.n)
        low2, high2 = wilson_interval(a + c, self.n)
        margins = (a + b) * (c + d) * (a + c) * (b + d)
        joint = float(a * d - b * c)
        if joint > 0:
            joint = max(joint - self.n / 2, 0.0)
        phi = joint / math.sqrt(margins) if margins else 0.0
        below = (first - low1) ** 2 - 2 * phi * (first - low1) * (high2 - second) + (high2 - second) ** 2
        above = (high1 - first) ** 2 - 2 * phi * (high1 - first) * (second - low2) + (second - low2) ** 2
        return (
            max(-1.0, self.drop - math.sqrt(max(below, 0.0))),
            min(1.0, self.drop + math.sqrt(max(above, 0.0))),
        )

    def pictures_to_resolve(self, drop: float) -> int:
        """Estimate how many images bring the 95 % interval of the drop within ± ``drop``.

        The variance of a paired difference is that of its discordant images: n = z² (share - drop²) / bound². Their
        share counts two more of four more images (A. Agresti, B. A. Coull, The American Statistician 52, 1998),
        because none among a hundred does not mean that there are none.

        Args:
            drop: the difference to resolve, above 0.
        """
        if drop <= 0:
            raise ValueError(f"drop: must be above 0, got {drop}")
        share = (self.lost + self.gained + 2) / (self.n + 4)
        return max(math.ceil(1 / drop), math.ceil(_Z95**2 * (share - self.drop**2) / drop**2))

    def to_json(self) -> dict[str, Any]:
        """Return counts, shares with their intervals, and the test, as plain JSON values."""
        return {
            "n": self.n,
            "both_right": self.both_right,
            "lost": self.lost,
            "gained": self.gained,
            "changed": self.changed,
            "reference_top1": self.reference,
            "reference_ci95": list(wilson_interval(self.both_right + self.lost, self.n)),
            "candidate_top1": self.candidate,
            "candidate_ci95": list(wilson_interval(self.both_right + self.gained, self.n)),
            "drop": self.drop,
            "drop_ci95": list(self.drop_ci95),
            "p_value": self.p_value,
        }


@dataclass(frozen=True, slots=True)
class ClassChange:
    """Images that one class lost and gained."""

    index: int
    support: int
    lost: int
    gained: int


def class_changes(reference: ArrayLike, candidate: ArrayLike, targets: ArrayLike) -> tuple[ClassChange, ...]:
    """List the classes with an image that only one of the two has right, the largest net loss first.

    Args:
        reference, candidate, targets: as for `Paired.of`.
    """
    first, second, truth = _aligned(reference, candidate, targets)
    lost, gained = (first == truth) & (second != truth), (first != truth) & (second == truth)
    found = [
        ClassChange(
            int(i), int((truth == i).sum()), int((lost & (truth == i)).sum()), int((gained & (truth == i)).sum())
        )
        for i in np.unique(truth[lost | gained])
    ]
    return tuple(sorted(found, key=lambda c: (c.gained - c.lost, c.index)))


def flipped(reference: ArrayLike, candidate: ArrayLike, targets: ArrayLike) -> tuple[list[int], list[int]]:
    """Return the positions of the images that were lost, and of those that were gained."""
    first, second, truth = _aligned(reference, candidate, targets)
    lost, gained = (first == truth) & (second != truth), (first != truth) & (second == truth)
    return np.flatnonzero(lost).tolist(), np.flatnonzero(gained).tolist()


def _aligned(*values: ArrayLike) -> Sequence[NDArray[np.int64]]:
    arrays: list[NDArray[np.int64]] = [np.asarray(value, np.int64).ravel() for value in values]
    if len({array.size for array in arrays}) != 1 or not arrays[0].size:
        raise InputError(
            "paired comparison: requires the same images in both",
            got=" and ".join(str(array.size) for array in arrays),
            expected="equal numbers, at least 1",
        )
    return arrays
