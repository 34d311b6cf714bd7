"""Evaluation of generated images: predictions of a classifier, and distances to the training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.tasks.registry import task_of

__all__ = ["ClassCoverage", "Distances", "classify_pictures", "nearest_distances"]

_CHUNK = 256
_COPY = 0.02  # root mean square difference below which an image counts as a copy: five grey levels


@dataclass(frozen=True, slots=True)
class ClassCoverage:
    """Predictions of a separately trained classifier on generated images.

    Attributes:
        judge: name of the classifier's bundle.
        n: number of images.
        mean_confidence: mean probability of the top-1 predictions.
        counts: label -> images predicted as it, for every label of the classifier.
    """

    judge: str
    n: int
    mean_confidence: float
    counts: dict[str, int]

    @property
    def rarest(self) -> tuple[str, int]:
        """The label with the fewest images, and their number."""
        return min(self.counts.items(), key=lambda item: item[1])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Distances:
    """Root mean square pixel differences to the nearest training image, as a share of the range, 0..1.

    Attributes:
        n: number of generated images.
        training: number of training images.
        least: smallest distance of a generated image.
        p5: 5th percentile over the generated images.
        median: median over the generated images.
        copies: generated images closer than 0.02, five grey levels, to a training image.
        real_median: median for real images that were not trained on; None without such images.
    """

    n: int
    training: int
    least: float
    p5: float
    median: float
    copies: int
    real_median: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def between(
        cls,
        made: NDArray[np.uint8],
        training: NDArray[np.uint8],
        real: NDArray[np.uint8] | None = None,
        tell: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Distances:
        """Compute the distances of generated images, and of unseen real images for comparison.

        Args:
            made: generated images, uint8 ``N x ...``.
            training: training images of the same size and channels.
            real: real images that were not trained on, of the same size and channels.
            tell: called with (done, total).

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
    """Classify images, with the classifier's own preprocessing.

    Args:
        pictures: images, uint8 ``HxW`` grey or ``HxWx3`` BGR.
        judge: bundle of task ``classify``.
        tell: called with (done, total).

    Raises:
        InputError: the bundle is not a classifier.
        UnavailableError: no engine of this machine runs it.
    """
    if not task_of(judge).ranked:
        raise InputError("judge: not a classifier", got=f"task {judge.manifest.task}", expected="classify")
    counts = dict.fromkeys(judge.labels or map(str, range(judge.manifest.outputs[0].shape[0])), 0)
    confidence = 0.0
    with Classifier(judge, threads=1) as classifier:
        for number, picture in enumerate(pictures, start=1):
            prediction = classifier(picture)
            counts[prediction.label] += 1
            confidence += float(prediction.probabilities.max())
            tell(number, len(pictures))
    return ClassCoverage(judge.name, len(pictures), confidence / len(pictures), counts)


def nearest_distances(
    made: NDArray[np.uint8],
    training: NDArray[np.uint8],
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> NDArray[np.float64]:
    """Return the root mean square difference of each image to its nearest training image, 0..1 of the range.

    Args:
        made: generated images, uint8 ``N x ...``.
        training: training images, uint8 ``M x ...``.
        tell: called with (done, total).

    Raises:
        InputError: the sizes differ.
    """
    if made.shape[1:] != training.shape[1:]:
        raise InputError(
            "images: another size than the training images",
            got=made.shape[1:],
            expected=training.shape[1:],
        )
    known = training.reshape(len(training), -1).astype(np.float32) / 255
    lengths = np.einsum("ij,ij->i", known, known)
    nearest = []
    for start in range(0, len(made), _CHUNK):
        part = made[start : start + _CHUNK].reshape(-1, known.shape[1]).astype(np.float32) / 255
        # A matrix product finds the neighbour by |a - b|^2; its distance is then computed exactly.
        index = (lengths - 2 * part @ known.T).argmin(axis=1)
        nearest.append(np.sqrt(np.square(part - known[index], dtype=np.float64).mean(axis=1)))
        tell(min(start + _CHUNK, len(made)), len(made))
    return np.concatenate(nearest)
