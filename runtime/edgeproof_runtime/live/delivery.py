"""Deliver decisions to the caller, each stream's in the order of its frames."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from edgeproof_runtime.live.inbox import ClosedError, Ticket
from edgeproof_runtime.live.outcomes import Decided, Lost

__all__ = ["Delivery", "Leaves"]

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Leaves:
    """A stream is removed; news after it are not of its ``lane``."""

    lane: int


@dataclass(slots=True)
class _Order(Generic[D]):
    """Decisions of a lane that came before their turn, and the turn that is due."""

    early: dict[int, Decided[D] | None] = field(default_factory=dict)
    due: int = 0


class Delivery(Generic[D]):
    """Ordered queue of decisions between the workers and the caller.

    Args:
        lanes: number of streams; `add` and `remove` change it.
        capacity: most decisions waiting for the caller before workers stop taking frames.
    """

    def __init__(self, lanes: int, capacity: int) -> None:
        lock = threading.Lock()
        self._news = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._capacity = capacity
        self._lanes: dict[int, _Order[D]] = {lane: _Order() for lane in range(lanes)}
        self._ready: deque[tuple[int, Decided[D]] | Leaves] = deque()
        self._lost: deque[Lost] = deque()
        self._closed = False

    def wait_for_room(self, relieved: Callable[[], bool] = lambda: False) -> None:
        """Wait for room, or until the worker is relieved; a frame taken after the wait is fresher.

        Raises:
            ClosedError: the caller takes no more decisions.
        """
        with self._news:
            while len(self._ready) >= self._capacity and not self._closed and not relieved():
                self._room.wait()
            if self._closed:
                raise ClosedError

    def relieve(self, capacity: int) -> None:
        """Change the capacity, and wake the workers that wait for room: some of them are relieved."""
        with self._news:
            self._capacity = capacity
            self._room.notify_all()

    def add_lane(self, lane: int) -> None:
        """Add a lane, under a number that no lane had."""
        with self._news:
            self._lanes[lane] = _Order()

    def remove_lane(self, lane: int) -> list[Decided[D]]:
        """Accept no more decisions of a lane, and return those that waited for earlier ones; `get` says it in order."""
        with self._news:
            left = [decided for decided in self._lanes.pop(lane).early.values() if decided is not None]
            self._ready.append(Leaves(lane))
            self._news.notify()
            return left

    def add(self, ticket: Ticket, decided: Decided[D] | None) -> None:
        """Add the outcome of a taken frame, None without a decision. Never blocks.

        Raises:
            ClosedError: the caller takes no more decisions, or none of this lane; this one was not added.
        """
        with self._news:
            lane = self._lanes.get(ticket.lane)
            if self._closed or lane is None:
                raise ClosedError
            lane.early[ticket.turn] = decided
            while lane.due in lane.early:
                due = lane.early.pop(lane.due)
                lane.due += 1
                if due is not None:
                    self._ready.append((ticket.lane, due))
                    self._news.notify()

    def tell(self, lost: Lost) -> None:
        """Add a frame without a decision. Never blocks."""
        with self._news:
            self._lost.append(lost)
            self._news.notify()

    def get(self) -> tuple[int, Decided[D]] | Lost | Leaves:
        """Wait for and return the next item for the caller: a lane's decision, a lost frame, or the end of a lane.

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

    def abort(self) -> list[tuple[int, Decided[D]]]:
        """Accept no more decisions, and return the queued ones with their lanes."""
        self.close()
        with self._news:
            left = [news for news in self._ready if not isinstance(news, Leaves)]
            ends = [news for news in self._ready if isinstance(news, Leaves)]
            for number, lane in self._lanes.items():
                left += [(number, decided) for decided in lane.early.values() if decided is not None]
                lane.early.clear()
            self._ready.clear()
            self._ready.extend(ends)
            return left
