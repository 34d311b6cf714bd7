"""Process frames of any number of streams into decisions with any number of workers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import FrameError, InputError, Skipped
from edgeproof_runtime.live.delivery import Delivery
from edgeproof_runtime.live.inbox import ClosedError, Inbox, Ticket
from edgeproof_runtime.live.outcomes import Cause, Counts, Decided, Lost
from edgeproof_runtime.live.stream import Stream, StreamSnapshot
from edgeproof_runtime.live.stream_run import StreamRun
from edgeproof_runtime.live.supervisor import Supervisor
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.health import FrameHealth
from edgeproof_runtime.system.compat import Self

__all__ = ["Pipeline", "Worker", "stop_on_interrupt"]

Tensor = NDArray[np.generic]
D = TypeVar("D")

_WAITING = 2  # frames of a blocking stream: hides jitter; more would only age
_JOIN_TIMEOUT_S = 5.0


class _Preprocess(Protocol):
    def __call__(self, frame: NDArray[np.uint8], out: Tensor | None = None) -> object: ...


class _Engine(Protocol):
    def allocate_input(self, batch: int) -> Tensor: ...
    def run(self, batch: Tensor) -> tuple[Tensor, ...]: ...


class _Stoppable(Protocol):
    def stop(self) -> None: ...


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
    ) -> None:
        if isinstance(streams, Source):
            streams = Stream.of(streams)
        if isinstance(streams, Stream):
            streams = [streams]
        names = [stream.name for stream in streams]
        if not names or not workers:
            raise InputError(
                "pipeline: requires streams and workers", got=f"{len(names)} streams and {len(workers)} workers"
            )
        if len(set(names)) < len(names):
            raise InputError("streams: duplicate names", got=", ".join(names), expected="different names")
        self._recorder = recorder
        self._on_lost = on_lost
        self._max_batch = max_batch
        self._max_wait_s = max_wait_ms / 1e3
        self._runs = [StreamRun(stream, lane) for lane, stream in enumerate(streams)]
        self._by_name = {run.stream.name: run for run in self._runs}
        self._inbox = Inbox(len(self._runs), max(_WAITING, max_batch))
        self._delivery: Delivery[D] = Delivery(len(self._runs), len(workers) * max_batch)
        self._supervisor = Supervisor(self._runs, self._inbox, self._lose, duration_s)
        self._lock = threading.Lock()
        self._working = len(workers)
        self._error: BaseException | None = None
        self._begin_ns = self._last_ns = 0
        self._ended = False
        self._threads = [
            threading.Thread(target=self._work, args=(worker,), name=f"edgeproof-worker-{i}", daemon=True)
            for i, worker in enumerate(workers)
        ]

    @property
    def counts(self) -> Counts:
        """Return the frames of all streams by outcome so far; unfinished ones count in ``frames_in`` only."""
        return sum((run.counts for run in self._runs), Counts())

    @property
    def failed(self) -> list[Skipped]:
        """Return frames that could not be processed; of many, the newest of each stream."""
        return [skipped for run in self._runs for skipped in list(run.failed)]

    @property
    def skipped(self) -> list[Skipped]:
        """Return what could not be read from the sources; of many, the newest of each source."""
        return [skipped for capture in self._supervisor.captures for skipped in capture.runs[0].skipped]

    @property
    def failures(self) -> dict[str, BaseException]:
        """Return the errors of failed streams by name."""
        return {run.stream.name: run.error for run in self._runs if run.error is not None}

    @property
    def elapsed_s(self) -> float:
        """Return seconds from the start to the last decision."""
        return max(0, self._last_ns - self._begin_ns) / 1e9

    def snapshots(self) -> tuple[StreamSnapshot, ...]:
        """Return the current state of each stream, in the order given. Safe from any thread."""
        return tuple(run.snapshot() for run in self._runs)

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
            if isinstance(news, Lost):
                self._tell(news)
                continue
            self._by_name[news.stream].count("decided")
            self._last_ns = time.monotonic_ns()
            if self._recorder is not None:
                for stage, ms in news.stages_ms.items():
                    self._recorder.add(stage, ms)
            yield news
        self._end()
        if self._error is not None:
            raise self._error
        failures = self.failures
        if len(failures) == len(self._runs):
            raise next(iter(failures.values()))

    def _work(self, worker: Worker[D]) -> None:
        try:
            batch = worker.engine.allocate_input(self._max_batch)
            slots = [batch[i] for i in range(self._max_batch)]
            while True:
                self._delivery.wait_for_room()
                self._decide(worker, batch, slots, self._inbox.take(self._max_batch, self._max_wait_s))
        except ClosedError:
            pass
        except BaseException as error:
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

    def _decide(self, worker: Worker[D], batch: Tensor, slots: list[Tensor], tickets: list[Ticket]) -> None:
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
                head = self._runs[ticket.lane].stream.head or worker.head
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
            run.failed.append(Skipped(ticket.frame.name, " ".join(str(error).split())))
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

    def _tell(self, news: Decided[D] | Lost) -> None:
        if isinstance(news, Lost) and self._on_lost is not None:
            self._on_lost(news)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._supervisor.stop()
        self._drop_waiting()
        for decided in self._delivery.abort():
            self._lose(self._by_name[decided.stream], decided.frame, "stopped")
        deadline_s = time.monotonic() + _JOIN_TIMEOUT_S
        for thread in (*self._threads, *self._supervisor.threads()):
            # A camera may hang in its driver; its daemon thread must not block the caller.
            thread.join(max(0.0, deadline_s - time.monotonic()))
        with suppress(ClosedError):
            while True:
                self._tell(self._delivery.get())


@contextmanager
def stop_on_interrupt(work: _Stoppable) -> Iterator[None]:
    """Stop a pipeline or server cleanly on the first Ctrl-C, SIGTERM or SIGHUP; a second Ctrl-C interrupts.

    SIGHUP stays ignored where it is, as by nohup.

    Main thread only.
    """

    hangup = getattr(signal, "SIGHUP", None)

    def stop(number: int, _where: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if number == hangup:
            # A shell repeats it, and the report is not written yet.
            previous[signal.Signals(number)] = signal.SIG_IGN
            signal.signal(number, signal.SIG_IGN)
        work.stop()

    ending = [signal.SIGINT, signal.SIGTERM]
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        ending.append(hangup)
    previous = {number: signal.signal(number, stop) for number in ending}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
