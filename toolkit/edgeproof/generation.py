"""Judging generated pictures: what a classifier sees in them, and how near they are to those that were learnt from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.errors import InputError

__all__ = ["ClassCoverage", "Distances", "classify_pictures", "nearest_distances"]

_CHUNK = 256
_COPY = 0.02  # root mean square difference below which a picture is called a copy: five grey levels


@dataclass(frozen=True, slots=True)
class ClassCoverage:
    """What a separately trained classifier makes of generated pictures.

    Attributes:
        judge: the classifier's bundle.
        n: pictures.
        mean_confidence: mean probability of its first answers.
        counts: label -> pictures that it took for it, every label of the classifier.
    """

    judge: str
    n: int
    mean_confidence: float
    counts: dict[str, int]

    @property
    def rarest(self) -> tuple[str, int]:
        """The label with the fewest pictures."""
        return min(self.counts.items(), key=lambda item: item[1])

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Distances:
    """Root mean square pixel differences to the nearest training picture, 0..1 of the range.

    Attributes:
        n: generated pictures, and
        training: pictures that they were held against.
        least, p5, median: over the generated pictures.
        copies: generated pictures nearer than 0.02, five grey levels, to a training picture.
        real_median: the same median for real pictures that were not learnt from; None where there are none.
    """

    n: int
    training: int
    least: float
    p5: float
    median: float
    copies: int
    real_median: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def between(
        cls,
        made: NDArray[np.uint8],
        training: NDArray[np.uint8],
        real: NDArray[np.uint8] | None = None,
        tell: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Distances:
        """Distances of generated pictures, and of unseen real ones to compare.

        Args:
            made, training, real: uint8 ``N x ...`` of the same sizes and channels.
            tell: is told (done, total).

        Raises:
            InputError: the sizes differ.
        """
        found = nearest_distances(made, training, tell)
        return cls(
            n=len(made),
            training=len(training),
            least=float(found.min()),
            p5=float(np.percentile(found, 5)),
            median=float(np.median(found)),
            copies=int((found < _COPY).sum()),
            real_median=None if real is None else float(np.median(nearest_distances(real, training))),
        )


def classify_pictures(
    pictures: Sequence[NDArray[np.uint8]], judge: Bundle, tell: Callable[[int, int], None] = lambda _done, _total: None
) -> ClassCoverage:
    """Let a classifier look at pictures, through its own preprocessing.

    Args:
        pictures: uint8 ``HxW`` grey or ``HxWx3`` BGR.
        judge: a bundle of task ``classify``.
        tell: is told (done, total).

    Raises:
        InputError: the judge is no classifier.
        UnavailableError: no engine of this machine runs it.
    """
    if judge.manifest.task != "classify":
        raise InputError("only a classifier judges pictures", got=f"task {judge.manifest.task}", expected="classify")
    counts = dict.fromkeys(judge.labels or map(str, range(judge.manifest.outputs[0].shape[0])), 0)
    confidence = 0.0
    with Classifier(judge, threads=1) as classifier:
        for number, picture in enumerate(pictures, start=1):
            prediction = classifier(picture)
            counts[prediction.label] += 1
            confidence += prediction.probability
            tell(number, len(pictures))
    return ClassCoverage(judge.name, len(pictures), confidence / len(pictures), counts)


def nearest_distances(
    made: NDArray[np.uint8],
    training: NDArray[np.uint8],
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> NDArray[np.float64]:
    """Root mean square difference of each picture to its nearest training picture, 0..1 of the range.

    Args:
        made, training: uint8 ``N x ...`` and ``M x ...``.
        tell: is told (done, total).

    Raises:
        InputError: the sizes differ.
    """
    if made.shape[1:] != training.shape[1:]:
        raise InputError(
            "the pictures have another size than the training pictures",
            got=made.shape[1:],
            expected=training.shape[1:],
        )
    known = training.reshape(len(training), -1).astype(np.float32) / 255
    lengths = np.einsum("ij,ij->i", known, known)
    nearest = []
    for start in range(0, len(made), _CHUNK):
        part = made[start : start + _CHUNK].reshape(-1, known.shape[1]).astype(np.float32) / 255
        # |a - b|^2 by a matrix product finds the neighbour; its distance is then taken exactly.
        index = (lengths - 2 * part @ known.T).argmin(axis=1)
        nearest.append(np.sqrt(np.square(part - known[index], dtype=np.float64).mean(axis=1)))
        tell(min(start + _CHUNK, len(made)), len(made))
    return np.concatenate(nearest)
