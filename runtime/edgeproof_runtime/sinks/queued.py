"""Run a sink in its own thread, so that a slow or unresponsive one does not delay a stream."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Generic, Protocol, TypeVar

from edgeproof_runtime.errors import EdgeproofError
from edgeproof_runtime.system.redact import redact

__all__ = ["QueuedSink", "SinkCounts", "incomplete"]

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_CLOSE_TIMEOUT_S = 5.0
_GIVEN_UP = "no answer before the end"
_CALLS = 64  # waiting beyond the queue's capacity


@dataclass(frozen=True, slots=True)
class _Call:
    """Function to call in the sink's thread, between two items."""

    function: Callable[[], None]


class _Sink(Protocol[T_contra]):
    def write(self, item: T_contra, /) -> None: ...
    def close(self, *, failed: bool = False) -> None: ...


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """Items of a sink by outcome.

    Attributes:
        name: name of the sink, without credentials.
        written: delivered items.
        dropped: items not tried, because the queue was full or the time for closing was over.
        failed: items tried and refused, or given up when the time for closing was over.
        waiting: items in the queue.
        last_error: reason of the last failure, in one line.
    """

    name: str
    written: int
    dropped: int
    failed: int
    waiting: int = 0
    last_error: str | None = None

    @property
    def whole(self) -> bool:
        """Return whether every item was written."""
        return not (self.dropped or self.failed or self.last_error)

    @property
    def all_lost(self) -> bool:
        """Return whether there were items and none was written."""
        return not self.written and bool(self.dropped or self.failed)

    @property
    def sentence(self) -> str:
        """Return the counts as text."""
        lost = [f"{n} {what}" for n, what in ((self.dropped, "dropped"), (self.failed, "failed")) if n]
        text = f"{self.name}: {self.written} written" + "".join(f", {part}" for part in lost)
        return f"{text} ({self.last_error})" if self.last_error else text

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def incomplete(counts: Iterable[SinkCounts]) -> list[str]:
    """Return a warning for each output that lost items."""
    return [f"Incomplete output: {sink.sentence}." for sink in counts if not sink.whole]


class QueuedSink(Generic[T]):
    """Pass items to a sink from a separate thread through a bounded queue.

    `write` never blocks; items that find the queue full are dropped and counted. `counts` reports the sink's errors;
    only an error from closing is raised, because earlier items may then be lost. With ``wait``, for output that must be
    complete such as the video of a file, `write` waits for room, and the next `write` or `close` raises the first
    error.

    Args:
        sink: sink, written and closed in the thread; its ``cancel()``, if any, ends a blocking write.
        name: name without credentials.
        capacity: most items in the queue.
        wait: whether `write` waits for room instead of dropping items.
        takes: whether an item is for this sink; others are not counted. None accepts all.
        close_timeout_s: time limit of `close`, seconds.
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
        self._items: deque[T | _Call] = deque()
        self._told = False
        self._changed = threading.Condition()
        self._closing = False
        self._run_failed = False
        self._busy = self._given_up = False
        self._written = self._dropped = self._failed = 0
        self._last_error: str | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"edgeproof-sink-{name}", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> SinkCounts:
        """Return the items by outcome so far."""
        with self._changed:
            return SinkCounts(self.name, self._written, self._dropped, self._failed, len(self._items), self._last_error)

    @property
    def sink(self) -> _Sink[T]:
        """Return the sink behind the queue."""
        return self._sink

    @property
    def problem(self) -> str | None:
        """Return why the sink cannot deliver now, if it reports it, else None."""
        found: str | None = getattr(self._sink, "problem", None)
        return found

    def news(self) -> str | None:
        """Return the first failure in one line, once; None without one."""
        with self._changed:
            if self._told or self._last_error is None:
                return None
            self._told = True
            return self._last_error if self.name in self._last_error else f"{self.name}: {self._last_error}"

    def call(self, function: Callable[[], None]) -> None:
        """Call a function in the sink's thread after the queued items. Never blocks; its errors are reported."""
        with self._changed:
            if not self._closing and len(self._items) < self._capacity + _CALLS:
                self._items.append(_Call(function))
                self._changed.notify_all()

    def write(self, item: T) -> None:
        """Queue an item; after `close` it is dropped.

        Raises:
            EdgeproofError: with ``wait``, an earlier item could not be written.
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
        """Let the sink finish queued items within the time limit, and close it. Safe to call twice.

        Args:
            failed: whether the run failed; see `Sink.close`.

        Raises:
            EdgeproofError: closing the sink failed, or as for `write`.
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
            with self._changed:
                if self._busy and not self._given_up:
                    self._given_up = True
                    self._failed += 1
                    self._last_error = _GIVEN_UP
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
                self._busy = True
                self._changed.notify_all()
            try:
                if isinstance(item, _Call):
                    item.function()
                else:
                    self._sink.write(item)
            except Exception as error:
                with self._changed:
                    self._busy = False
                    if self._given_up:
                        continue
                    self._failed += not isinstance(item, _Call)
                    self._last_error = _line(error)
                    if self._wait:
                        self._error = self._error or error
                    self._changed.notify_all()
            else:
                with self._changed:
                    self._busy = False
                    self._written += not (self._given_up or isinstance(item, _Call))
        try:
            # With `wait=True` a failed item makes the output incomplete: close it as failed.
            self._sink.close(failed=self._run_failed or (self._wait and self._failed > 0))
        except Exception as error:
            with self._changed:
                self._error = self._error or error
                self._last_error = _line(error)


def _line(error: Exception) -> str:
    if isinstance(error, EdgeproofError):
        said = f"{error.what} ({error.got})" if error.got else error.what
        return f"{said}; {error.fix}" if error.fix else said
    return " ".join(redact(f"{type(error).__name__}: {error}").split())
