"""The interface of sinks."""

from __future__ import annotations

from typing import Protocol

from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["Sink"]


class Sink(Protocol):
    """Sink of decisions; used only in the thread that opened it."""

    def write(self, decided: Decided[Decision]) -> None:
        """Write one decision.

        Raises:
            InputError: the decision cannot be written.
        """

    def close(self, *, failed: bool = False) -> None:
        """Finish. Safe to call twice.

        Args:
            failed: whether the run failed; output that is of no use without its end must then be removed.
        """
