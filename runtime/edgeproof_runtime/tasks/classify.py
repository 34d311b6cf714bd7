"""The head of the task ``classify``: from the model's output to labels with probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.manifest import Activation
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.tasks.decision import Row

__all__ = ["ClassifyHead", "Prediction", "classify_head", "probabilities"]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the model says of one frame.

    Attributes:
        probabilities: float32, contiguous, one per class, adding up to 1 (independent with a sigmoid output).
        labels: one per class; empty where the bundle has none.
    """

    probabilities: NDArray[np.float32]
    labels: tuple[str, ...] = ()

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The ``k`` most probable classes as (label, probability), most probable first."""
        return [(self.label_of(index), float(self.probabilities[index])) for index in self.top_indices(k)]

    def top_indices(self, k: int = 5) -> list[int]:
        """Class indices of the ``k`` most probable classes; of equals the lower index comes first."""
        return [index for index, _ in _native.top_k(self.probabilities, max(0, k))]

    def label_of(self, index: int) -> str:
        """The label of a class, or its index where the bundle has no labels."""
        return self.labels[index] if self.labels else str(index)

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.label_of(_native.top_k(self.probabilities, 1)[0][0])

    @property
    def probability(self) -> float:
        """Probability of the most probable label."""
        return float(self.probabilities.max())

    @property
    def headline(self) -> str:
        """Label and probability for a status line."""
        return f"{self.label} {self.probability:.0%}"

    def rows(self, k: int) -> list[Row]:
        """The ``k`` most probable classes for a panel."""
        return [Row(label, probability, f"{100 * probability:.1f} %") for label, probability in self.top(k)]

    def is_right(self, truth: str) -> bool:
        """Whether the most probable label is ``truth``."""
        return self.label == truth

    def over(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame as it is."""
        return image

    def to_json(self, k: int) -> dict[str, Any]:
        """``top``: the ``k`` most probable labels with their probabilities."""
        return {"top": [{"label": label, "probability": probability} for label, probability in self.top(k)]}


class ClassifyHead:
    """Turns the outputs for a batch of one into a `Prediction`."""

    def __init__(self, labels: tuple[str, ...], activation: Activation) -> None:
        self._labels = labels
        self._activation = activation

    def __call__(self, outputs: tuple[Tensor, ...]) -> Prediction:
        return Prediction(probabilities(outputs[0][0], self._activation), self._labels)


def probabilities(output: Tensor, activation: Activation) -> NDArray[np.float32]:
    """Class probabilities of a frame or of a batch.

    Args:
        output: ``classes`` or ``N x classes`` as the model gave it.
        activation: what the graph has already applied; ``none`` means logits, on which softmax runs here.

    Returns:
        float32, shaped like ``output``.
    """
    if activation != "none":
        return np.ascontiguousarray(output, np.float32)
    values = output.astype(np.float32, order="C")
    _native.softmax(values)
    return values


def classify_head(bundle: Bundle) -> ClassifyHead:
    """The head of a bundle's task.

    Raises:
        InputError: the bundle's task is not ``classify``.
    """
    if bundle.manifest.task != "classify":
        raise InputError("this bundle does not classify", got=f"task {bundle.manifest.task}", expected="task classify")
    return ClassifyHead(bundle.labels, bundle.manifest.outputs[0].activation)
