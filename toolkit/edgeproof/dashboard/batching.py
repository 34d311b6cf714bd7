"""The engine's queue: one thread infers waiting requests, several per batch."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.engines.base import Engine
from edgeproof_runtime.errors import one_line

__all__ = ["Answer", "Batcher", "ClosingError", "InferenceError", "QueueFullError"]

_SMOOTHING = 0.1  # of the time per row, from which Retry-After is estimated


class QueueFullError(Exception):
    """The queue is full.

    Attributes:
        retry_after_s: expected time until the queue is empty, whole seconds of at least 1.
    """

    def __init__(self, capacity: int, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"queue: full with {capacity} requests; try again in {retry_after_s} s")


class ClosingError(Exception):
    """The engine is closing and accepts no requests."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down")


class InferenceError(Exception):
    """The engine failed on a valid request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of a request.

    Attributes:
        outputs: one array per output of the model, ``rows x output.shape``.
        queue_ms: time from queueing to the start of the inference.
        inference_ms: time of the inference of the request's batch.
        batch: rows of the batch.
    """

    outputs: tuple[Tensor, ...]
    queue_ms: float
    inference_ms: float
    batch: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    rows: Tensor
    future: Future[Answer]
    queued_ns: int = field(default_factory=time.monotonic_ns)


class Batcher:
    """Run an engine for requests from any thread.

    When the engine becomes free, waiting requests are inferred together, in order, up to ``max_batch`` rows. Requests
    do not wait for a batch to fill.

    Args:
        engine: engine to run; the caller closes it after this batcher.
        min_batch: fewest rows per inference; a smaller batch is padded with its last row.
        max_batch: most rows per inference, at most the engine's bound.
        capacity: most requests in progress, from entering `place` to leaving it.
        on_batch: called with rows and milliseconds of every inference, in the engine's thread.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        min_batch: int = 1,
        max_batch: int,
        capacity: int,
        on_batch: Callable[[int, float], None] = lambda _rows, _ms: None,
    ) -> None:
        if not 1 <= min_batch <= max_batch <= engine.artifact.max_batch or capacity < 1:
            raise ValueError(f"batch {min_batch}..{max_batch}, capacity {capacity}")
        self.max_batch = max_batch
        self.capacity = capacity
        self.error: str | None = None
        """Why the last inference failed; None after a successful one."""
        self._engine = engine
        self._min_batch = min_batch
        self._on_batch = on_batch
        self._buffer = engine.allocate_input(max_batch)
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._places = 0
        self._row_s = 0.0
        self._thread = threading.Thread(target=self._run, name="edgeproof-serve", daemon=True)
        self._thread.start()

    @property
    def under_way(self) -> int:
        """Return the number of requests that hold a place."""
        return self._places

    @property
    def alive(self) -> bool:
        """Return whether requests are accepted."""
        return self._thread.is_alive() and not self._closed

    def require_place(self) -> None:
        """Check that a place is free, before a body is read for nothing.

        Raises:
            QueueFullError: no place is free.
            ClosingError: the batcher is closed.
        """
        if self._closed:
            raise ClosingError
        if self._places >= self.capacity:
            raise QueueFullError(self.capacity, max(1, math.ceil(self._places * self._row_s)))

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue; taken when a request's body is complete, so that slow clients hold none.

        Raises:
            QueueFullError: no place is free.
            ClosingError: the batcher is closed.
        """
        with self._changed:
            self.require_place()
            self._places += 1
        try:
            yield
        finally:
            with self._changed:
                self._places -= 1

    def submit(self, rows: Tensor) -> Future[Answer]:
        """Queue a request; call it while holding a `place`.

        Args:
            rows: ``N x input.shape`` of the input's dtype, 1 <= N <= `max_batch`; read until the future is done.

        Raises:
            ClosingError: the batcher is closed.
        """
        if not 1 <= len(rows) <= self.max_batch or rows.shape[1:] != self._buffer.shape[1:]:
            raise ValueError(f"rows of shape {rows.shape}")
        waiting = _Waiting(rows, Future())
        with self._changed:
            if self._closed:
                raise ClosingError
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.future

    def close(self) -> None:
        """Finish queued requests and stop. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            live = [waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()]
            if live:
                self._infer(live)

    def _next_batch(self) -> list[_Waiting]:
        """Wait for the requests of the next batch; empty when closed."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            batch: list[_Waiting] = []
            rows = 0
            while self._queue and rows + len(self._queue[0].rows) <= self.max_batch:
                rows += len(self._queue[0].rows)
                batch.append(self._queue.popleft())
            return batch

    def _infer(self, batch: list[_Waiting]) -> None:
        begin = time.monotonic_ns()
        try:
            rows = 0
            for waiting in batch:
                self._buffer[rows : rows + len(waiting.rows)] = waiting.rows
                rows += len(waiting.rows)
            filled = max(rows, self._min_batch)
            self._buffer[rows:filled] = self._buffer[rows - 1]
            outputs = self._engine.run(self._buffer[:filled])
        except Exception as error:
            self.error = one_line(error)
            for waiting in batch:
                waiting.future.set_exception(InferenceError(f"inference: failed: {self.error}"))
            return
        self.error = None
        inference_ms = (time.monotonic_ns() - begin) / 1e6
        self._row_s += (inference_ms / 1e3 / rows - self._row_s) * (_SMOOTHING if self._row_s else 1.0)
        self._on_batch(rows, inference_ms)
        first = 0
        for waiting in batch:
            last = first + len(waiting.rows)
            queue_ms = (begin - waiting.queued_ns) / 1e6
            own = tuple(output[first:last] for output in outputs)
            waiting.future.set_result(Answer(own, queue_ms, inference_ms, rows))
            first = last
