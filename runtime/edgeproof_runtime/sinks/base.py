"""What every sink is."""

from __future__ import annotations

from typing import Protocol

from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["Sink"]


class Sink(Protocol):
    """Takes decisions one by one, in the thread that opened it."""

    def write(self, decided: Decided[Decision]) -> None:
        """Take one decision.

        Raises:
            InputError: it cannot be written.
        """

    def close(self, *, failed: bool = False) -> None:
        """Finish. Safe to call twice.

        Args:
            failed: the run did not end well; nothing half-written may stay.
        """
