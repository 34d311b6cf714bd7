"""How one thread hands items to the next: bounded, and either patient or always the newest."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Channel", "ClosedError"]

T = TypeVar("T")


class ClosedError(Exception):
    """The channel is closed and, for a reader, empty."""


class Channel(Generic[T]):
    """A bounded queue between threads.

    Args:
        capacity: items held.
        newest_wins: a full channel gives up its oldest item for a new one instead of making the writer wait.
    """

    def __init__(self, capacity: int, *, newest_wins: bool = False) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._newest_wins = newest_wins
        self._closed = False
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._emptied = threading.Condition(lock)

    def wait_for_room(self) -> None:
        """Wait until an item could be put: what is made only then is fresher than what waited to be put.

        Returns at once where the newest wins.

        Raises:
            ClosedError: nobody will take an item.
        """
        with self._filled:
            while len(self._items) >= self._capacity and not self._closed and not self._newest_wins:
                self._emptied.wait()
            if self._closed:
                raise ClosedError

    def put(self, item: T) -> T | None:
        """Hand over an item, waiting for room unless the newest wins.

        Returns:
            The item that had to make way, or None.

        Raises:
            ClosedError: nobody will take the item; it stays the caller's.
        """
        with self._filled:
            gone = None
            while len(self._items) >= self._capacity and not self._closed:
                if self._newest_wins:
                    gone = self._items.popleft()
                    break
                self._emptied.wait()
            if self._closed:
                raise ClosedError
            self._items.append(item)
            self._filled.notify()
            return gone

    def get(self) -> T:
        """Take the oldest item, waiting for one.

        Raises:
            ClosedError: there will be none any more.
        """
        with self._filled:
            while not self._items:
                if self._closed:
                    raise ClosedError
                self._filled.wait()
            item = self._items.popleft()
            self._emptied.notify()
            return item

    def close(self) -> None:
        """Take no more items; those inside can still be taken."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()
            self._emptied.notify_all()

    def abort(self) -> list[T]:
        """Take no more items, and give back those inside."""
        with self._filled:
            left = list(self._items)
            self._items.clear()
            self._closed = True
            self._filled.notify_all()
            self._emptied.notify_all()
            return left
