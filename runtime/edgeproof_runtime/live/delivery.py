"""Deliver decisions to the caller, each stream's in the order of its frames."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from edgeproof_runtime.live.inbox import ClosedError, Ticket
from edgeproof_runtime.live.outcomes import Decided, Lost

__all__ = ["Delivery"]

D = TypeVar("D")


class Delivery(Generic[D]):
    """Ordered queue of decisions between the workers and the caller.

    Args:
        lanes: number of streams.
        capacity: most decisions waiting for the caller before workers stop taking frames.
    """

    def __init__(self, lanes: int, capacity: int) -> None:
        lock = threading.Lock()
        self._news = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._capacity = capacity
        self._early: list[dict[int, Decided[D] | None]] = [{} for _ in range(lanes)]
        self._due = [0] * lanes
        self._ready: deque[Decided[D]] = deque()
        self._lost: deque[Lost] = deque()
        self._closed = False

    def wait_for_room(self) -> None:
        """Wait for room; a frame taken after the wait is fresher.

        Raises:
            ClosedError: the caller takes no more decisions.
        """
        with self._news:
            while len(self._ready) >= self._capacity and not self._closed:
                self._room.wait()
            if self._closed:
                raise ClosedError

    def add(self, ticket: Ticket, decided: Decided[D] | None) -> None:
        """Add the outcome of a taken frame, None without a decision. Never blocks.

        Raises:
            ClosedError: the caller takes no more decisions; this one was not added.
        """
        with self._news:
            if self._closed:
                raise ClosedError
            early = self._early[ticket.lane]
            early[ticket.turn] = decided
            while self._due[ticket.lane] in early:
                due = early.pop(self._due[ticket.lane])
                self._due[ticket.lane] += 1
                if due is not None:
                    self._ready.append(due)
                    self._news.notify()

    def tell(self, lost: Lost) -> None:
        """Add a frame without a decision. Never blocks."""
        with self._news:
            self._lost.append(lost)
            self._news.notify()

    def get(self) -> Decided[D] | Lost:
        """Wait for and return the next item for the caller.

        Raises:
            ClosedError: closed and empty.
        """
        with self._news:
            while True:
                if self._lost:
                    return self._lost.popleft()
                if self._ready:
                    self._room.notify()
                    return self._ready.popleft()
                if self._closed:
                    raise ClosedError
                self._news.wait()

    def close(self) -> None:
        """Accept no more decisions; queued ones can still be taken."""
        with self._news:
            self._closed = True
            self._news.notify_all()
            self._room.notify_all()

    def abort(self) -> list[Decided[D]]:
        """Accept no more decisions, and return the queued ones."""
        self.close()
        with self._news:
            left = [*self._ready, *(d for early in self._early for d in early.values() if d is not None)]
            self._ready.clear()
            for early in self._early:
                early.clear()
            return left
