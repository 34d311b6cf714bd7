"""What every sink is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgeproof_runtime.outcomes import Decided

__all__ = ["Ranked", "Sink"]


class Ranked(Protocol):
    """A decision that names classes."""

    def top(self, k: int) -> Sequence[tuple[str, float]]:
        """The ``k`` most probable labels with their probabilities, the most probable first."""


class Sink(Protocol):
    """Takes decisions one by one, in the thread that opened it."""

    def write(self, decided: Decided[Ranked]) -> None:
        """Take one decision.

        Raises:
            InputError: it cannot be written.
        """

    def close(self, *, failed: bool = False) -> None:
        """Finish. Safe to call twice.

        Args:
            failed: the run did not end well; nothing half-written may stay.
        """
