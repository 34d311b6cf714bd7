"""Frames that wait for a worker: a bounded lane for each stream, emptied in turns."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from edgeproof_runtime.sources.base import Frame

__all__ = ["ClosedError", "Inbox", "Ticket"]


class ClosedError(Exception):
    """Nothing can be put any more or, for a reader, nothing is left."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A frame on its way through a worker; ``turn`` counts the frames taken from its lane, from 0."""

    lane: int
    turn: int
    frame: Frame


@dataclass(slots=True)
class _Lane:
    room: threading.Condition
    newest_wins: bool = False
    frames: deque[Frame] = field(default_factory=deque)
    turns: int = 0


class Inbox:
    """Between the threads that capture and the threads that infer.

    Lanes that have a frame take turns, so that a stream with many frames cannot keep another one waiting. A full lane
    makes its writer wait or, where the newest wins, gives up its oldest frame.

    Args:
        lanes: number of streams.
        capacity: frames that a patient lane holds; one where the newest wins holds a single one.
    """

    def __init__(self, lanes: int, capacity: int) -> None:
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._lanes = [_Lane(threading.Condition(lock)) for _ in range(lanes)]
        self._capacity = capacity
        self._turn: deque[int] = deque()  # lanes that have a frame, each once
        self._closed = False

    def let_newest_win(self, lane: int, newest_wins: bool) -> None:
        """Choose what a full lane does."""
        with self._filled:
            self._lanes[lane].newest_wins = newest_wins

    def wait_for_room(self, lane: int) -> None:
        """Wait until a frame could be put: one captured only then is fresher than one that waited to be put.

        Raises:
            ClosedError: nobody will take a frame.
        """
        with self._filled:
            self._wait(self._lanes[lane])

    def put(self, lane: int, frame: Frame) -> Frame | None:
        """Hand over a frame, waiting for room unless the newest wins.

        Returns:
            The frame that had to make way, or None.

        Raises:
            ClosedError: nobody will take the frame; it stays the caller's.
        """
        with self._filled:
            waiting = self._lanes[lane]
            self._wait(waiting)
            gone = waiting.frames.popleft() if waiting.newest_wins and waiting.frames else None
            waiting.frames.append(frame)
            if len(waiting.frames) == 1 and gone is None:
                self._turn.append(lane)
                self._filled.notify()
            return gone

    def _wait(self, lane: _Lane) -> None:
        while not self._closed and not lane.newest_wins and len(lane.frames) >= self._capacity:
            lane.room.wait()
        if self._closed:
            raise ClosedError

    def take(self, most: int = 1, max_wait_s: float = 0.0) -> list[Ticket]:
        """Take frames from the lanes in turns, waiting for the first.

        Args:
            most: how many to take.
            max_wait_s: how long to wait for more than the first.

        Raises:
            ClosedError: there will be none any more.
        """
        with self._filled:
            while not self._turn:
                if self._closed:
                    raise ClosedError
                self._filled.wait()
            taken = [self._next()]
            deadline_s = time.monotonic() + max_wait_s if most > 1 else 0.0
            while len(taken) < most:
                if self._turn:
                    taken.append(self._next())
                    continue
                left_s = deadline_s - time.monotonic()
                if self._closed or left_s <= 0:
                    break
                self._filled.wait(left_s)
            return taken

    def _next(self) -> Ticket:
        number = self._turn.popleft()
        lane = self._lanes[number]
        ticket = Ticket(number, lane.turns, lane.frames.popleft())
        lane.turns += 1
        lane.room.notify()
        if lane.frames:
            self._turn.append(number)
            self._filled.notify()
        return ticket

    def close(self) -> None:
        """Take no more frames; those inside can still be taken."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()
            for lane in self._lanes:
                lane.room.notify_all()

    def abort(self) -> list[tuple[int, Frame]]:
        """Take no more frames, and give back those inside with their lanes."""
        self.close()
        with self._filled:
            left = [(number, frame) for number, lane in enumerate(self._lanes) for frame in lane.frames]
            for lane in self._lanes:
                lane.frames.clear()
            self._turn.clear()
            return left
