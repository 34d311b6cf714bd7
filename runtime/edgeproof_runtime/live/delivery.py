"""Decisions on their way to the caller: each stream's in the order of its frames, whichever worker was faster."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from edgeproof_runtime.live.inbox import ClosedError, Ticket
from edgeproof_runtime.live.outcomes import Decided, Lost

__all__ = ["Delivery"]

D = TypeVar("D")


class Delivery(Generic[D]):
    """Between the workers and the caller.

    Args:
        lanes: number of streams.
        capacity: decisions that may wait for the caller before workers stop taking frames.
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
        """Wait until the caller keeps up: a frame taken only then is fresher.

        Raises:
            ClosedError: nobody will take a decision.
        """
        with self._news:
            while len(self._ready) >= self._capacity and not self._closed:
                self._room.wait()
            if self._closed:
                raise ClosedError

    def add(self, ticket: Ticket, decided: Decided[D] | None) -> None:
        """Say what became of a frame that was taken; None where there is no decision. Never waits.

        Raises:
            ClosedError: nobody will take the decision; it stays the caller's.
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
        """Let the caller know of a frame without a decision. Never waits."""
        with self._news:
            self._lost.append(lost)
            self._news.notify()

    def get(self) -> Decided[D] | Lost:
        """What the caller is to hear next, waiting for it.

        Raises:
            ClosedError: there will be nothing any more.
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
        """Take no more decisions; those inside can still be got."""
        with self._news:
            self._closed = True
            self._news.notify_all()
            self._room.notify_all()

    def abort(self) -> list[Decided[D]]:
        """Take no more decisions, and give back those that nobody got."""
        self.close()
        with self._news:
            left = [*self._ready, *(d for early in self._early for d in early.values() if d is not None)]
            self._ready.clear()
            for early in self._early:
                early.clear()
            return left
