"""Frames on their way from a source to a decision: capture, preprocessing and inference overlapped in threads."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.channel import Channel, ClosedError
from edgeproof_runtime.errors import FrameError, SourceError
from edgeproof_runtime.images import Skipped
from edgeproof_runtime.outcomes import Counts, Decided, Lost
from edgeproof_runtime.sources.base import Frame, Source

__all__ = ["Pipeline", "Policy", "stop_on_interrupt"]

Policy = Literal["every-frame", "latest-frame"]
Tensor = NDArray[np.generic]
D = TypeVar("D")

_QUEUED = 1  # frame between two stages: hides jitter; more would only age
_JOIN_TIMEOUT_S = 5.0
_FAILURES_NAMED = 1000


class _Preprocess(Protocol):
    def __call__(self, frame: NDArray[np.uint8], out: Tensor | None = None) -> object: ...


class _Engine(Protocol):
    def allocate_input(self, batch: int) -> Tensor: ...
    def run(self, batch: Tensor) -> tuple[Tensor, ...]: ...


class _Recorder(Protocol):
    def add(self, stage: str, ms: float) -> None: ...


@dataclass(slots=True)
class _Slot:
    batch: Tensor
    view: Tensor


@dataclass(slots=True)
class _Prepared:
    frame: Frame
    slot: _Slot
    preprocess_ms: float


class Pipeline(Generic[D]):
    """Runs a source's frames through a model. Use as a context manager and iterate once.

    Capture (with decoding), preprocessing and inference each have a thread, so that throughput is that of
    the slowest; decisions, latency records and lost frames reach the caller in the caller's thread.

    ``every-frame`` makes each stage wait for the next and drops nothing. ``latest-frame`` lets a newer
    frame replace an older one that waits, before or after preprocessing: the engine always takes the
    newest, and what was replaced is counted as dropped.

    Args:
        source: stays the caller's to close.
        preprocess: writes one frame into one batch slot; `FrameError` fails that frame only.
        engine: takes batches of one.
        head: turns the model's outputs for one frame into a decision.
        policy: None takes ``latest-frame`` for a live source, else ``every-frame``.
        recorder: is given every stage's latency of every decided frame.
        on_lost: is told of every frame without a decision.
        max_frames: end after so many frames of the source.
        duration_s: end after so many seconds.
    """

    def __init__(
        self,
        source: Source,
        preprocess: _Preprocess,
        engine: _Engine,
        head: Callable[[tuple[Tensor, ...]], D],
        *,
        policy: Policy | None = None,
        recorder: _Recorder | None = None,
        on_lost: Callable[[Lost], None] | None = None,
        max_frames: int | None = None,
        duration_s: float | None = None,
    ) -> None:
        self.source = source
        self.policy: Policy = policy or ("latest-frame" if source.live else "every-frame")
        self.failed: list[Skipped] = []
        self._preprocess = preprocess
        self._engine = engine
        self._head = head
        self._recorder = recorder
        self._on_lost = on_lost
        self._max_frames = max_frames
        self._duration_s = duration_s

        newest = self.policy == "latest-frame"
        capacity = 1 if newest else _QUEUED
        self._frames: Channel[Frame] = Channel(capacity, newest_wins=newest)
        self._prepared: Channel[_Prepared] = Channel(capacity, newest_wins=newest)
        self._results: Channel[Decided[D]] = Channel(_QUEUED)
        self._free: SimpleQueue[_Slot] = SimpleQueue()
        for _ in range(capacity + 2):  # waiting, being written, being inferred: a free one is always there
            batch = engine.allocate_input(1)
            self._free.put(_Slot(batch, batch[0]))

        self._lock = threading.Lock()
        self._frames_in = self._decided = self._dropped = self._failed = 0
        self._lost: deque[Lost] = deque()
        self._error: BaseException | None = None
        self._stopped = False
        self._begin_ns = self._last_ns = 0
        self._timer: threading.Timer | None = None
        self._threads = [
            threading.Thread(target=self._staged, args=stage, name=f"edgeproof-{name}", daemon=True)
            for name, *stage in (
                ("capture", self._capture_all, list, self._frames),
                ("preprocess", self._preprocess_all, self._frames.abort, self._prepared),
                ("inference", self._infer_all, lambda: [p.frame for p in self._prepared.abort()], self._results),
            )
        ]

    @property
    def counts(self) -> Counts:
        """What became of the frames so far; those under way are in ``frames_in`` only."""
        with self._lock:
            return Counts(self._frames_in, self._decided, self._dropped, self._failed)

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start to the last decision."""
        return max(0, self._last_ns - self._begin_ns) / 1e9

    def stop(self) -> None:
        """End as if the source had ended: frames under way are still decided. From any thread."""
        self._stopped = True
        self._frames.close()

    def __enter__(self) -> Self:
        self._begin_ns = self._last_ns = time.monotonic_ns()
        if self._duration_s is not None:
            self._timer = threading.Timer(self._duration_s, self.stop)
            self._timer.daemon = True
            self._timer.start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._end()

    def __iter__(self) -> Iterator[Decided[D]]:
        """Decisions in the order of the frames.

        Raises:
            SourceError: the source failed, or gave no frame at all.
            EdgeproofError: the engine failed; any other exception of a stage comes through too.
        """
        if not self._begin_ns:
            raise RuntimeError("a pipeline is iterated inside its with block")
        while True:
            try:
                decided = self._results.get()
            except ClosedError:
                break
            self._decided += 1
            self._last_ns = time.monotonic_ns()
            if self._recorder is not None:
                for stage, ms in decided.stages_ms.items():
                    self._recorder.add(stage, ms)
            self._tell_lost()
            yield decided
        self._end()
        if self._error is not None:
            raise self._error
        if self._frames_in == 0 and not self._stopped:
            reasons = [f"{s.name}: {s.reason}" for s in self.source.skipped]
            raise SourceError(
                f"{self.source.name} gave no frame",
                got="; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
                or "nothing",
                expected="at least one frame",
            )

    def _staged(
        self, work: Callable[[], None], give_up_input: Callable[[], list[Frame]], following: Channel[Any]
    ) -> None:
        try:
            work()
        except ClosedError:
            pass
        except BaseException as error:
            with self._lock:
                self._error = self._error or error
        # However a stage ends, the one before it must not wait for room, nor the one after it for more.
        for frame in give_up_input():
            self._lose(frame)
        following.close()

    def _capture_all(self) -> None:
        frames = iter(self.source)
        while True:
            self._frames.wait_for_room()
            frame = next(frames, None)
            if frame is None:
                return
            self._frames_in += 1
            try:
                gone = self._frames.put(frame)
            except ClosedError:
                self._frames_in -= 1  # it came after the end
                return
            if gone is not None:
                self._lose(gone)
            if self._frames_in == self._max_frames:
                return

    def _preprocess_all(self) -> None:
        while True:
            self._prepared.wait_for_room()
            frame = self._frames.get()
            slot = self._free.get_nowait()
            try:
                begin = time.monotonic_ns()
                self._preprocess(frame.image, out=slot.view)
                took_ms = (time.monotonic_ns() - begin) / 1e6
                gone = self._prepared.put(_Prepared(frame, slot, took_ms))
            except BaseException as error:
                self._lose(frame, error)
                if not isinstance(error, FrameError):
                    raise
                self._free.put(slot)
                continue
            if gone is not None:
                self._free.put(gone.slot)
                self._lose(gone.frame)

    def _infer_all(self) -> None:
        while True:
            item = self._prepared.get()
            frame = item.frame
            try:
                begin = time.monotonic_ns()
                outputs = self._engine.run(item.slot.batch)
                inferred = time.monotonic_ns()
                decision = self._head(outputs)
                end = time.monotonic_ns()
                self._free.put(item.slot)
                age_ms = (end - frame.captured_ns) / 1e6
                self._results.put(
                    Decided(
                        frame=frame,
                        decision=decision,
                        preprocess_ms=item.preprocess_ms,
                        inference_ms=(inferred - begin) / 1e6,
                        postprocess_ms=(end - inferred) / 1e6,
                        end_to_end_ms=age_ms + frame.capture_ms,
                        frame_age_ms=age_ms,
                    )
                )
            except BaseException as error:
                self._lose(frame, error)
                raise

    def _lose(self, frame: Frame, error: BaseException | None = None) -> None:
        dropped = error is None or isinstance(error, ClosedError)
        with self._lock:
            if dropped:
                self._dropped += 1
            else:
                self._failed += 1
                if len(self.failed) < _FAILURES_NAMED:
                    self.failed.append(Skipped(frame.name, " ".join(str(error).split())))
        if self._on_lost is not None:
            self._lost.append(Lost(frame.name, frame.index, frame.captured_ns, "dropped" if dropped else "failed"))

    def _tell_lost(self) -> None:
        while self._lost and self._on_lost is not None:
            self._on_lost(self._lost.popleft())

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._frames.close()
        for decided in self._results.abort():
            self._lose(decided.frame)
        for thread in self._threads:
            # A camera may hang in its driver; its thread is a daemon and must not hang the caller too.
            thread.join(_JOIN_TIMEOUT_S)
        self._tell_lost()


@contextmanager
def stop_on_interrupt(pipeline: Pipeline[Any]) -> Iterator[None]:
    """End the pipeline in good order at the first Ctrl-C or SIGTERM; a second Ctrl-C interrupts. Main thread only."""

    def stop(_number: int, _where: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pipeline.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
