"""Frames waiting for a worker: a bounded lane per stream, served in rotation."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from edgeproof_runtime.sources.base import Frame

__all__ = ["ClosedError", "Inbox", "RelievedError", "Ticket"]


class ClosedError(Exception):
    """The queue is closed: it accepts no items or, for a reader, is empty."""


class RelievedError(ClosedError):
    """Another shift of workers takes the frames from now on."""


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """Frame taken by a worker; ``turn`` is its number among the frames taken from its lane, from 0."""

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
    """Queue between the capture threads and the workers.

    Lanes with a frame are served in rotation, so that a busy stream does not starve another. A full lane blocks its
    writer or, if the newest frame wins, drops its oldest frame.

    Args:
        lanes: number of streams; `add` and `remove` change it.
        capacity: frames per blocking lane; a lane where the newest wins holds one.
    """

    def __init__(self, lanes: int, capacity: int) -> None:
        self._lock = lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._lanes = {lane: _Lane(threading.Condition(lock)) for lane in range(lanes)}
        self._capacity = capacity
        self._turn: deque[int] = deque()  # lanes with a frame, each once
        self._closed = False
        self._shift = 0

    @property
    def shift(self) -> int:
        """Return the number of the shift of workers that takes the frames."""
        return self._shift

    def relieve(self, shift: int) -> bool:
        """Let another shift of workers take the frames from now on; return False if no frame comes any more.

        No frame is taken by both: those taken before are the previous shift's, all others the new one's.
        """
        with self._filled:
            if self._closed:
                return False
            self._shift = shift
            self._filled.notify_all()
            return True

    def add(self, lane: int) -> None:
        """Add a lane, under a number that no lane had."""
        with self._filled:
            self._lanes[lane] = _Lane(threading.Condition(self._lock))

    def remove(self, lane: int) -> list[Frame]:
        """Close a lane, and return the frames left in it."""
        with self._filled:
            gone = self._lanes.pop(lane)
            if gone.frames:
                self._turn.remove(lane)
            gone.room.notify_all()
            return list(gone.frames)

    def let_newest_win(self, lane: int, newest_wins: bool) -> None:
        """Set whether a full lane drops its oldest frame or blocks."""
        with self._filled:
            if lane in self._lanes:
                self._lanes[lane].newest_wins = newest_wins

    def wait_for_room(self, lane: int) -> None:
        """Wait for room in a lane; a frame captured after the wait is fresher.

        Raises:
            ClosedError: the inbox or the lane is closed.
        """
        with self._filled:
            self._wait(lane)

    def put(self, lane: int, frame: Frame) -> Frame | None:
        """Add a frame, waiting for room unless the newest wins.

        Returns:
            The dropped frame, or None.

        Raises:
            ClosedError: the inbox or the lane is closed; the frame was not added.
        """
        with self._filled:
            waiting = self._wait(lane)
            gone = waiting.frames.popleft() if waiting.newest_wins and waiting.frames else None
            waiting.frames.append(frame)
            if len(waiting.frames) == 1 and gone is None:
                self._turn.append(lane)
                self._filled.notify()
            return gone

    def _wait(self, number: int) -> _Lane:
        lane = self._lanes.get(number)
        while lane is not None and not self._closed and not lane.newest_wins and len(lane.frames) >= self._capacity:
            lane.room.wait()
            lane = self._lanes.get(number)
        if lane is None or self._closed:
            raise ClosedError
        return lane

    def take(self, most: int = 1, max_wait_s: float = 0.0, shift: int = 0) -> list[Ticket]:
        """Take frames from the lanes in rotation, waiting for the first.

        Args:
            most: most frames to take.
            max_wait_s: seconds to wait for frames after the first.
            shift: number of the worker's shift.

        Raises:
            ClosedError: closed and empty.
            RelievedError: another shift takes the frames.
        """
        with self._filled:
            while not self._turn and shift == self._shift:
                if self._closed:
                    raise ClosedError
                self._filled.wait()
            if shift != self._shift:
                raise RelievedError
            taken = [self._next()]
            deadline_s = time.monotonic() + max_wait_s if most > 1 else 0.0
            while len(taken) < most:
                if shift != self._shift:
                    break
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
        """Accept no more frames; queued ones can still be taken."""
        with self._filled:
            self._closed = True
            self._filled.notify_all()
            for lane in self._lanes.values():
                lane.room.notify_all()

    def abort(self) -> list[tuple[int, Frame]]:
        """Accept no more frames, and return the queued ones with their lanes."""
        self.close()
        with self._filled:
            left = [(number, frame) for number, lane in self._lanes.items() for frame in lane.frames]
            for lane in self._lanes.values():
                lane.frames.clear()
            self._turn.clear()
            return left
