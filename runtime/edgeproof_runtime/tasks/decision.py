"""What sinks, dashboards and commands can ask of every task's prediction for a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Decision", "EventValues", "Quantity", "Row"]

Quantity = Literal["probability", "score"]


class Row(NamedTuple):
    """One line of a prediction's panel.

    Attributes:
        label: text of the line.
        bar: length of the bar, 0..1.
        figure: the number for people, such as ``93.1 %``.
    """

    label: str
    bar: float
    figure: str


@dataclass(frozen=True, slots=True, eq=False)
class EventValues:
    """Input of events: a value for each thing that a frame may show, and the limit from which it counts.

    Attributes:
        values: float64 ``N``; averaged over a stream's frames.
        limits: float64 ``N``; a thing counts if its average is at least its limit.
        at_once: how many things may count at once, the highest averages first.
        label_of: label of each thing, by index.
        quantity: what the values are.
    """

    values: NDArray[np.float64]
    limits: NDArray[np.float64]
    at_once: int
    label_of: Callable[[int], str]
    quantity: Quantity


class Decision(Protocol):
    """The prediction that a task's head makes from the model's outputs for one frame."""

    @property
    def label(self) -> str:
        """The prediction in a word: a class, or ``good`` or ``defect``."""

    @property
    def probability(self) -> float | None:
        """Probability of the label, 0..1; None if the task has none."""

    @property
    def detail(self) -> str | None:
        """Figure for captions if `probability` is None, such as an anomaly score."""

    @property
    def headline(self) -> str:
        """Label and figure for a status line."""

    @property
    def unknown(self) -> bool:
        """Whether a rule says that the frame shows none of the model's classes."""

    def rows(self, k: int) -> Sequence[Row]:
        """List at most ``k`` lines for a panel, the most important first."""

    def is_right(self, truth: str) -> bool:
        """Return whether the label is right for a frame of the label ``truth``."""

    def over(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Draw the prediction over the frame, or return the frame as it is.

        Args:
            image: the frame of the prediction, uint8 ``HxWx3`` BGR or ``HxW`` gray.
        """

    def to_json(self, k: int) -> dict[str, Any]:
        """Return the prediction's keys of a JSON line, with at most ``k`` ranked things."""

    def event_values(self, threshold: float, top_k: int) -> EventValues:
        """Return the input of events.

        Args:
            threshold: averaged probability from which a class counts, if the bundle has no threshold.
            top_k: how many classes may count at once, if only one is right.
        """
