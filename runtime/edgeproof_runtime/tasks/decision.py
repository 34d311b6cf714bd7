"""What every task's decision about a frame can do, so that sinks, dashboards and commands need not know the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Decision", "EventValues", "Quantity", "Row"]

Quantity = Literal["probability", "score"]


class Row(NamedTuple):
    """One line of a decision's panel.

    Attributes:
        label: what it says.
        bar: how far, 0..1.
        figure: the number in words for people, such as ``93.1 %``.
    """

    label: str
    bar: float
    figure: str


@dataclass(frozen=True, slots=True, eq=False)
class EventValues:
    """What events are made of: a value per thing that may show in a frame, and from where on it counts.

    Attributes:
        values: float64 ``N``; averaged over a stream's frames.
        limits: float64 ``N``; a thing counts where its average is at least its limit.
        at_once: how many may count at once, the highest averages first.
        label_of: label of each thing.
        quantity: what the values are.
    """

    values: NDArray[np.float64]
    limits: NDArray[np.float64]
    at_once: int
    label_of: Callable[[int], str]
    quantity: Quantity


class Decision(Protocol):
    """What the head of a task made of the model's outputs for one frame."""

    @property
    def label(self) -> str:
        """The decision in a word: a class, or ``good`` or ``defect``."""

    @property
    def probability(self) -> float | None:
        """Of the label, 0..1; None where the task has none."""

    @property
    def detail(self) -> str | None:
        """A figure for captions, where `probability` is None: an anomaly score."""

    @property
    def headline(self) -> str:
        """Label and figure for a status line."""

    def rows(self, k: int) -> Sequence[Row]:
        """At most ``k`` lines for a panel, the most important first."""

    def is_right(self, truth: str) -> bool:
        """Whether the label is right where the frame shows ``truth``."""

    def over(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame as people should see it: as it is, or with what was found drawn over it.

        Args:
            image: the frame that was decided, uint8 ``HxWx3`` BGR or ``HxW`` gray.
        """

    def to_json(self, k: int) -> dict[str, Any]:
        """The decision's keys of a JSON line; of ranked things at most ``k``."""

    def event_values(self, threshold: float, top_k: int) -> EventValues:
        """What events are made of.

        Args:
            threshold: averaged probability from which a class counts, where the bundle has no threshold.
            top_k: how many classes may count at once, where only one is right.
        """
