"""A sink in a thread of its own, so that a slow or dead one holds up nobody."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Generic, Protocol, TypeVar

from edgeproof_runtime.errors import EdgeproofError

__all__ = ["QueuedSink", "SinkCounts"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_CLOSE_TIMEOUT_S = 5.0


class _Sink(Protocol[T_contra]):
    def write(self, item: T_contra, /) -> None: ...
    def close(self, *, failed: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """What became of the items given to a sink.

    Attributes:
        name: of the sink, without credentials.
        written: delivered.
        dropped: not tried: the queue was full, or the time for closing was over.
        failed: tried and refused.
        waiting: still in the queue.
        last_error: why the last failure, in one line.
    """

    name: str
    written: int
    dropped: int
    failed: int
    waiting: int = 0
    last_error: str | None = None

    @property
    def whole(self) -> bool:
        """Whether everything was written."""
        return not (self.dropped or self.failed or self.last_error)

    @property
    def sentence(self) -> str:
        """The counts for people."""
        lost = [f"{n} {what}" for n, what in ((self.dropped, "dropped"), (self.failed, "failed")) if n]
        text = f"{self.name}: {self.written} written" + "".join(f", {part}" for part in lost)
        return f"{text} ({self.last_error})" if self.last_error else text

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class QueuedSink(Generic[T]):
    """Gives items to a sink from a thread of its own, through a bounded queue.

    `write` never waits for the sink, and drops and counts what finds the queue full. A sink's errors are counted and
    named by `counts`; only one that comes from closing it is raised, because what was written before may be lost.
    With ``wait``, for what must be whole, such as the video of a file, `write` waits for room instead, and the first
    error is raised by the next `write` or `close`.

    Args:
        sink: written and closed in the thread. A ``cancel()`` of it ends a write that waits.
        name: what to call it, without credentials.
        capacity: items that may wait.
        wait: see above.
        takes: whether an item is for this sink at all; the others are not counted. None: all are.
        close_timeout_s: how long `close` lets it finish.
    """

    def __init__(
        self,
        sink: _Sink[T],
        name: str,
        *,
        capacity: int = 1000,
        wait: bool = False,
        takes: Callable[[T], bool] | None = None,
        close_timeout_s: float = _CLOSE_TIMEOUT_S,
    ) -> None:
        self.name = name
        self._sink = sink
        self._capacity = capacity
        self._wait = wait
        self._takes = takes
        self._close_timeout_s = close_timeout_s
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._run_failed = False
        self._written = self._dropped = self._failed = 0
        self._last_error: str | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"edgeproof-sink-{name}", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> SinkCounts:
        """What became of the items so far."""
        with self._changed:
            return SinkCounts(self.name, self._written, self._dropped, self._failed, len(self._items), self._last_error)

    @property
    def problem(self) -> str | None:
        """Why the sink cannot deliver now, where it knows; None otherwise."""
        found: str | None = getattr(self._sink, "problem", None)
        return found

    def write(self, item: T) -> None:
        """Take an item. After `close` it is dropped.

        Raises:
            EdgeproofError: with ``wait``, if an earlier item could not be written.
        """
        if self._takes is not None and not self._takes(item):
            return
        with self._changed:
            while self._wait and len(self._items) >= self._capacity and not (self._closing or self._error):
                self._changed.wait()
            self._raise()
            if self._closing or len(self._items) >= self._capacity:
                self._dropped += 1
                return
            self._items.append(item)
            self._changed.notify_all()

    def close(self, *, failed: bool = False) -> None:
        """Let the sink finish what waits, for a limited time, and close it. Safe to call twice.

        Args:
            failed: the run did not end well; see `Sink.close`.

        Raises:
            EdgeproofError: the sink could not be closed well, or as for `write`.
        """
        with self._changed:
            self._closing, self._run_failed = True, self._run_failed or failed
            self._changed.notify_all()
        deadline = time.monotonic() + self._close_timeout_s
        self._thread.join(self._close_timeout_s)
        if self._thread.is_alive():
            with self._changed:
                self._dropped += len(self._items)
                self._items.clear()
            cancel = getattr(self._sink, "cancel", None)
            if cancel is not None:
                cancel()
            self._thread.join(max(1.0, deadline - time.monotonic()))
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._items and not self._closing:
                    self._changed.wait()
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            try:
                self._sink.write(item)
            except Exception as error:
                with self._changed:
                    self._failed += 1
                    self._last_error = _line(error)
                    if self._wait:
                        self._error = self._error or error
                    self._changed.notify_all()
            else:
                with self._changed:
                    self._written += 1
        try:
            # What must be whole and lacks an item is not; nobody may have heard of it yet.
            self._sink.close(failed=self._run_failed or (self._wait and self._failed > 0))
        except Exception as error:
            with self._changed:
                self._error = self._error or error
                self._last_error = _line(error)


def _line(error: Exception) -> str:
    if isinstance(error, EdgeproofError):
        return " ".join(part for part in (error.what, f"({error.got})" if error.got else None) if part)
    return " ".join(f"{type(error).__name__}: {error}".split())
