"""Top-1 predictions of an evaluation, image by image, and their paired comparison across bundles."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

from edgeproof_runtime.metrics.paired import Paired
from edgeproof_runtime.tasks.classify import Prediction
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["TopOne"]


class TopOne:
    """Predicted and true class of every evaluated image, in the dataset's order; empty for tasks without classes.

    Args:
        labels: labels of the classes; empty if the bundle has none.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels: tuple[str, ...] = tuple(labels)
        self._predicted = array("i")
        self._targets = array("i")
        self._names = hashlib.sha256()

    def __len__(self) -> int:
        return len(self._predicted)

    def add(self, name: str, target: object, decision: Decision) -> None:
        """Add an image; a prediction that is not of a class is left out."""
        if isinstance(decision, Prediction) and isinstance(target, int):
            self._predicted.append(int(decision.probabilities.argmax()))
            self._targets.append(target)
            self._names.update(name.encode("utf-8", "surrogateescape") + b"\0")

    def against(self, reference: TopOne) -> Paired | None:
        """Compare with a reference on the same images.

        Classes are matched by their labels, whatever their order in each bundle.

        Returns:
            None if images, labels or ground truth differ, or there are no classes.
        """
        index_of = self._index_in(reference)
        if not len(self) or self._names.digest() != reference._names.digest() or index_of is None:
            return None
        if [index_of[target] for target in self._targets] != reference._targets.tolist():
            return None
        return Paired.of(reference._predicted, [index_of[one] for one in self._predicted], reference._targets)

    def _index_in(self, reference: TopOne) -> Sequence[int] | None:
        """Return the reference's index of each class; None if the classes are not the same."""
        if self.labels == reference.labels:
            return range(max((*self._predicted, *self._targets), default=0) + 1)
        if len(set(self.labels)) != len(self.labels) or sorted(self.labels) != sorted(reference.labels):
            return None
        places = {label: index for index, label in enumerate(reference.labels)}
        return [places[label] for label in self.labels]
