"""Process frames of any number of streams into decisions with any number of workers."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import FrameError, InputError, Skipped, one_line
from edgeproof_runtime.live.delivery import Delivery, Leaves
from edgeproof_runtime.live.inbox import ClosedError, Inbox, Ticket
from edgeproof_runtime.live.outcomes import Cause, Counts, Decided, Lost
from edgeproof_runtime.live.shift import Shift
from edgeproof_runtime.live.stream import Stream, StreamSnapshot
from edgeproof_runtime.live.stream_run import StreamRun
from edgeproof_runtime.live.supervisor import Supervisor
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.health import FrameHealth
from edgeproof_runtime.system.compat import Self

__all__ = ["EndingError", "Pipeline", "Worker"]

Tensor = NDArray[np.generic]
D = TypeVar("D")

_WAITING = 2  # frames of a blocking stream: hides jitter; more would only age
_JOIN_TIMEOUT_S = 5.0
_LEAVE_TIMEOUT_S = 5.0
_LEAVING_POLL_S = 0.01
_REMOVED_KEPT = 100  # removed streams with figures of their own


class EndingError(InputError):
    """The run is ending: streams and workers do not change any more."""


class _Preprocess(Protocol):
    def __call__(self, frame: NDArray[np.uint8], out: Tensor | None = None) -> object: ...


class _Engine(Protocol):
    def allocate_input(self, batch: int) -> Tensor: ...
    def run(self, batch: Tensor) -> tuple[Tensor, ...]: ...


class _Recorder(Protocol):
    def add(self, stage: str, ms: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Worker(Generic[D]):
    """Parts of one thread of a pipeline, not shared with other threads.

    Attributes:
        preprocess: writes a frame into a batch slot; a `FrameError` fails that frame only.
        engine: engine for batches up to the pipeline's ``max_batch``.
        head: converts the model's outputs for a batch of one into a decision.
    """

    preprocess: _Preprocess
    engine: _Engine
    head: Callable[[tuple[Tensor, ...]], D]


class Pipeline(Generic[D]):
    """Run the frames of streams through a model. Use as a context manager and iterate once.

    Each source is captured and decoded in a separate, supervised thread: a source that hangs, ends or fails affects
    only its stream, and a live one is reconnected (`Stream`). Workers take frames from the streams in rotation,
    preprocess and infer. Decisions and lost frames reach the caller's thread in each stream's order.

    ``every-frame`` makes a source wait for the workers and drops no frame. ``latest-frame`` keeps the newest frame;
    replaced frames count as overtaken. Frames are never repeated or synthesised.

    Args:
        streams: an opened source (closed by the caller), a stream, or several with different names.
        workers: workers, each used by one thread.
        recorder: receives the latencies by stage of every decided frame.
        on_lost: called with every frame without a decision, in the caller's thread.
        duration_s: seconds until the run stops.
        max_batch: most frames per inference, from all streams.
        max_wait_ms: time that a worker with a frame waits for more frames.
        bundle: sha256 of the manifest of the bundle that the workers run; `Decided.bundle` repeats it.

    Attributes:
        on_removed: called with the name of each removed stream after its last frame, in the caller's thread.

    Raises:
        InputError: streams or workers are missing, or two streams have the same name.
    """

    def __init__(
        self,
        streams: Source | Stream | Sequence[Stream],
        workers: Sequence[Worker[D]],
        *,
        recorder: _Recorder | None = None,
        on_lost: Callable[[Lost], None] | None = None,
        duration_s: float | None = None,
        max_batch: int = 1,
        max_wait_ms: float = 0.0,
        bundle: str = "",
    ) -> None:
        if isinstance(streams, Source):
            streams = Stream.of(streams)
        if isinstance(streams, Stream):
            streams = [streams]
        if not streams or not workers:
            raise InputError(
                "pipeline: requires streams and workers", got=f"{len(streams)} streams and {len(workers)} workers"
            )
        _require_different([stream.name for stream in streams])
        self._recorder = recorder
        self._on_lost = on_lost
        self.on_removed: Callable[[str], None] = lambda _name: None
        self._max_batch = max_batch
        self._max_wait_s = max_wait_ms / 1e3
        self._runs = {lane: StreamRun(stream, lane) for lane, stream in enumerate(streams)}
        self._lanes = len(self._runs)  # so far; no number is used twice
        self._forgotten = Counts()
        self._inbox = Inbox(len(self._runs), max(_WAITING, max_batch))
        self._delivery: Delivery[D] = Delivery(len(self._runs), len(workers) * max_batch)
        self._supervisor = Supervisor(list(self._runs.values()), self._inbox, self._lose, duration_s)
        self._lock = threading.Lock()
        self._working = 0
        self._switching = threading.Lock()
        self._error: BaseException | None = None
        self._begin_ns = self._last_ns = 0
        self._ended = False
        self._threads: list[threading.Thread] = []
        self._shift: Shift[D] = Shift(0, bundle=bundle)
        self._shift.begin()
        self._hire(workers, self._shift)

    @property
    def counts(self) -> Counts:
        """Return the frames of all streams by outcome so far, of removed ones too.

        Unfinished frames count in ``frames_in`` only.
        """
        with self._lock:
            return sum((run.counts for run in self._runs.values()), self._forgotten)

    @property
    def failed(self) -> list[Skipped]:
        """Return frames that could not be processed; of many, the newest of each stream."""
        return [skipped for run in self._runs.values() for skipped in list(run.failed)]

    @property
    def skipped(self) -> list[Skipped]:
        """Return what could not be read from the sources; of many, the newest of each source."""
        sources = {id(run.source): run for run in reversed(self._runs.values())}  # streams may share one
        return [skipped for run in reversed(sources.values()) for skipped in run.skipped]

    @property
    def failures(self) -> dict[str, BaseException]:
        """Return the errors of failed streams by name."""
        return {run.stream.name: run.error for run in self._current if run.error is not None}

    @property
    def elapsed_s(self) -> float:
        """Return seconds from the start to the last decision."""
        return max(0, self._last_ns - self._begin_ns) / 1e9

    def snapshots(self) -> tuple[StreamSnapshot, ...]:
        """Return the current state of each stream, in the order given. Safe from any thread."""
        return tuple(run.snapshot() for run in self._current)

    @property
    def removed(self) -> tuple[StreamSnapshot, ...]:
        """Return the last state of each removed stream; of many, the newest hundred."""
        return tuple(run.snapshot() for run in self._runs.values() if run.removed.is_set())

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep the run from ending while streams are removed and added, although none may be left meanwhile.

        Raises:
            EndingError: the run is ending.
        """
        if not self._supervisor.hold():
            raise EndingError("streams: not changed", got="a run that is ending")
        try:
            yield
        finally:
            self._supervisor.release()

    def remove(self, names: Collection[str], why: str) -> tuple[StreamSnapshot, ...]:
        """End streams as if their sources had ended; the others go on. Call it within `changing`.

        Returns when the sources are closed and the caller has the last frames. A driver that hangs is left behind, and
        frames that have no decision after five seconds are dropped. Streams that share a source must leave together.

        Args:
            names: names of streams.
            why: reason that their last state names.

        Returns:
            Their last states.
        """
        leaving = [run for run in self._current if run.stream.name in names]
        deadline_s = time.monotonic() + _LEAVE_TIMEOUT_S
        self._supervisor.remove(leaving, why, _LEAVE_TIMEOUT_S)
        while any(run.counts.under_way for run in leaving) and time.monotonic() < deadline_s:
            time.sleep(_LEAVING_POLL_S)
        for run in leaving:
            for frame in self._inbox.remove(run.lane):
                self._lose(run, frame, "stopped")
            for decided in self._delivery.remove_lane(run.lane):
                self._lose(run, decided.frame, "stopped")
        for run in leaving:
            while not run.removed.wait(_LEAVING_POLL_S) and not self._ended:
                pass
        with self._lock:
            gone = [lane for lane, run in self._runs.items() if run.removed.is_set()]
            forgotten = set(gone[: max(0, len(gone) - _REMOVED_KEPT)])
            self._forgotten = sum((self._runs[lane].counts for lane in forgotten), self._forgotten)
            self._runs = {lane: run for lane, run in self._runs.items() if lane not in forgotten}
        return tuple(run.snapshot() for run in leaving)

    def add(self, streams: Sequence[Stream]) -> None:
        """Open more streams. Call it within `changing`.

        Raises:
            InputError: a name is in use.
        """
        _require_different([*(run.stream.name for run in self._current), *(stream.name for stream in streams)])
        new = {self._lanes + i: StreamRun(stream, self._lanes + i) for i, stream in enumerate(streams)}
        self._lanes += len(new)
        for lane in new:
            self._inbox.add(lane)
            self._delivery.add_lane(lane)
        with self._lock:
            self._runs = {**self._runs, **new}
        self._supervisor.add(list(new.values()))

    def switch(
        self, workers: Sequence[Worker[D]], heads: Mapping[str, Callable[[tuple[Tensor, ...]], D]], *, bundle: str = ""
    ) -> None:
        """Let other workers decide all frames from now on. Safe from any thread.

        The change lies between two frames: each frame is decided once, by the previous workers or by the new ones, and
        each stream's decisions stay in order. New workers prepare first; if one fails, the previous ones go on.

        Args:
            workers: the new workers.
            heads: the head of each current stream with its own, by name; of others it is the worker's. A head gets the
                model's outputs for one frame, each of shape ``1 x output.shape``.
            bundle: sha256 of the manifest of the bundle that they run.

        Returns:
            When the previous workers have decided their last frame, so that their engines can be closed.

        Raises:
            EndingError: the run is ending.
            InputError: workers are missing.
            Exception: a new worker cannot allocate its input.
        """
        if not workers:
            raise InputError("pipeline: requires workers", got="0 workers")
        with self._switching, self.changing():
            before, relieved = self._shift, list(self._threads)
            lanes = {run.stream.name: lane for lane, run in self._runs.items() if not run.removed.is_set()}
            of_lanes = {lanes[name]: head for name, head in heads.items() if name in lanes}
            shift: Shift[D] = Shift(before.number + 1, of_lanes, bundle)
            hired = self._hire(workers, shift)
            for thread in hired:
                thread.start()
            try:
                shift.wait_until_ready(len(hired))
                if not self._inbox.relieve(shift.number):
                    raise EndingError("workers: not changed", got="a run that is ending")
            except BaseException:
                shift.cancel()
                raise
            self._shift = shift
            shift.begin()
            self._delivery.relieve(len(workers) * self._max_batch)
            for thread in relieved:
                thread.join()
            self._threads = [thread for thread in self._threads if thread not in relieved]

    def _hire(self, workers: Sequence[Worker[D]], shift: Shift[D]) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self._work, args=(worker, shift), name=f"edgeproof-worker-{i}", daemon=True)
            for i, worker in enumerate(workers)
        ]
        with self._lock:
            if shift.number and not self._working:
                raise EndingError("workers: not changed", got="a run that is ending")
            self._working += len(threads)
            self._threads = [*self._threads, *threads]
        return threads

    @property
    def _current(self) -> list[StreamRun]:
        return [run for run in self._runs.values() if not run.removed.is_set()]

    def stop(self) -> None:
        """Stop as if the sources had ended: queued frames are still decided. Safe from any thread."""
        self._supervisor.stop()

    def __enter__(self) -> Self:
        self._begin_ns = self._last_ns = time.monotonic_ns()
        self._supervisor.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import asyncio  # not loaded for those that wait in threads

        await asyncio.to_thread(self.__exit__, kind, error, trace)  # waits for threads

    async def __aiter__(self) -> AsyncIterator[Decided[D]]:
        """Yield decisions as iteration does, while the event loop goes on. One task may iterate.

        A thread waits for each decision; one that is cancelled meanwhile ends with the pipeline.
        """
        import asyncio

        decisions, over = iter(self), object()
        while (decided := await asyncio.to_thread(next, decisions, over)) is not over:
            yield cast("Decided[D]", decided)

    def __iter__(self) -> Iterator[Decided[D]]:
        """Yield decisions, each stream's in the order of its frames.

        Raises:
            SourceError: every stream failed, or no frame arrived from the only one. If only some of several streams
                failed, `failures` names them.
            EdgeproofError: an engine failed; other exceptions of a worker are raised unchanged.
        """
        if not self._begin_ns:
            raise RuntimeError("pipeline: must be iterated inside its with block")
        while True:
            try:
                news = self._delivery.get()
            except ClosedError:
                break
            if isinstance(news, Lost | Leaves):
                self._tell(news)
                continue
            lane, decided = news
            self._runs[lane].count("decided")
            self._last_ns = time.monotonic_ns()
            if self._recorder is not None:
                for stage, ms in decided.stages_ms.items():
                    self._recorder.add(stage, ms)
            yield decided
        self._end()
        if self._error is not None:
            raise self._error
        failures = self.failures
        if failures and len(failures) == len(self._current):
            raise next(iter(failures.values()))

    def _work(self, worker: Worker[D], shift: Shift[D]) -> None:
        try:
            batch = worker.engine.allocate_input(self._max_batch)
            slots = [batch[i] for i in range(self._max_batch)]
            shift.ready()
            while True:
                self._delivery.wait_for_room(lambda: self._inbox.shift != shift.number)
                tickets = self._inbox.take(self._max_batch, self._max_wait_s, shift.number)
                self._decide(worker, shift, batch, slots, tickets)
        except ClosedError:
            pass
        except BaseException as error:
            if not shift.failed(error):
                with self._lock:
                    self._error = self._error or error
                self._supervisor.stop()
                self._drop_waiting()
        with self._lock:
            self._working -= 1
            last = self._working == 0
        if last:
            # However the workers ended, release sources that wait for room and the caller.
            self._supervisor.stop()
            self._drop_waiting()
            self._delivery.close()

    def _decide(
        self, worker: Worker[D], shift: Shift[D], batch: Tensor, slots: list[Tensor], tickets: list[Ticket]
    ) -> None:
        prepared: list[tuple[Ticket, float]] = []
        left = list(tickets)
        try:
            for ticket in tickets:
                begin_ns = time.monotonic_ns()
                try:
                    worker.preprocess(ticket.frame.image, out=slots[len(prepared)])
                except FrameError as error:
                    left.remove(ticket)
                    self._settle(ticket, None, error)
                    continue
                prepared.append((ticket, (time.monotonic_ns() - begin_ns) / 1e6))
            if not prepared:
                return
            begin_ns = time.monotonic_ns()
            outputs = worker.engine.run(batch[: len(prepared)])
            inferred_ns = head_ns = time.monotonic_ns()
            for i, (ticket, preprocess_ms) in enumerate(prepared):
                head = shift.heads.get(ticket.lane) or self._runs[ticket.lane].stream.head or worker.head
                decision = head(outputs if len(prepared) == 1 else tuple(o[i : i + 1] for o in outputs))
                end_ns = time.monotonic_ns()
                frame = ticket.frame
                age_ms = (end_ns - frame.captured_ns) / 1e6
                left.remove(ticket)
                self._settle(
                    ticket,
                    Decided(
                        frame=frame,
                        decision=decision,
                        preprocess_ms=preprocess_ms,
                        inference_ms=(inferred_ns - begin_ns) / 1e6,
                        postprocess_ms=(end_ns - head_ns) / 1e6,
                        end_to_end_ms=age_ms + frame.capture_ms,
                        frame_age_ms=age_ms,
                        stream=self._runs[ticket.lane].stream.name,
                        bundle=shift.bundle,
                    ),
                )
                head_ns = end_ns
        except BaseException as error:
            for ticket in left:
                self._settle(ticket, None, error)
            raise

    def _settle(self, ticket: Ticket, decided: Decided[D] | None, error: BaseException | None = None) -> None:
        run = self._runs[ticket.lane]
        if error is not None:
            run.failed.append(Skipped(ticket.frame.name, one_line(error)))
            self._lose(run, ticket.frame, "failed")
        try:
            self._delivery.add(ticket, decided)
        except ClosedError:
            if decided is not None:
                self._lose(run, ticket.frame, "stopped")

    def _lose(self, run: StreamRun, frame: Frame, cause: Cause, health: FrameHealth | None = None) -> None:
        run.count(cause)
        if self._on_lost is not None:
            self._delivery.tell(Lost(frame.name, frame.index, frame.captured_ns, cause, run.stream.name, health))

    def _drop_waiting(self) -> None:
        for lane, frame in self._inbox.abort():
            self._lose(self._runs[lane], frame, "stopped")

    def _tell(self, news: Lost | Leaves) -> None:
        if isinstance(news, Leaves):
            run = self._runs[news.lane]
            try:
                self.on_removed(run.stream.name)
            finally:
                run.removed.set()
        elif self._on_lost is not None:
            self._on_lost(news)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._supervisor.stop()
        self._drop_waiting()
        for lane, decided in self._delivery.abort():
            self._lose(self._runs[lane], decided.frame, "stopped")
        deadline_s = time.monotonic() + _JOIN_TIMEOUT_S
        for thread in (*self._threads, *self._supervisor.threads()):
            # A camera may hang in its driver; its daemon thread must not block the caller.
            thread.join(max(0.0, deadline_s - time.monotonic()))
        with suppress(ClosedError):
            while True:
                news = self._delivery.get()
                if isinstance(news, Lost | Leaves):
                    self._tell(news)


def _require_different(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise InputError("streams: duplicate names", got=", ".join(names), expected="different names")
