"""Run each source in its own thread, and detect and reopen sources that stall, end or fail."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from edgeproof_runtime.errors import SourceError, one_line
from edgeproof_runtime.live.captures import Capture, captures_of
from edgeproof_runtime.live.inbox import ClosedError, Inbox
from edgeproof_runtime.live.outcomes import Cause
from edgeproof_runtime.live.stream_run import StreamRun
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.health import FrameHealth

__all__ = ["HANGS", "Supervisor"]

HANGS = "connections hang in the driver"
"""In the reason of a stream that cannot be opened again because its driver does not return."""

_TICK_S = 0.05
_BACKOFF_FIRST_S, _BACKOFF_MOST_S = 0.1, 1.0
_HANGING_MOST = 3  # connections that hang in a driver; opening more would not help
_DAMAGED_STALLS = 15  # stall timeouts without a whole frame: half a minute by default, to have seen a key frame
_REASONS_NAMED = 3
_LEAVING_POLL_S = 0.01

_OnLost = Callable[[StreamRun, Frame, Cause, FrameHealth | None], None]


class _Connection:
    """A source from opening to end, in a thread that is never joined unconditionally, because a driver may hang.

    Attributes:
        frames: number of frames so far.
        owing_since_s: monotonic time since which a frame is due; None while the pipeline blocks the source.
        damaged_since_s: monotonic time since which every frame was left out as damaged; None if the newest was not.
        given_up: whether further frames are discarded.
        error: why it ended, if it failed.
        done: whether it has ended.
    """

    def __init__(self, capture: Capture, inbox: Inbox, on_lost: _OnLost, wake: threading.Event) -> None:
        self.frames = 0
        self.owing_since_s: float | None = time.monotonic()
        self.damaged_since_s: float | None = None
        self.given_up = False
        self.error: BaseException | None = None
        self.done = False
        self._capture = capture
        self._inbox = inbox
        self._on_lost = on_lost
        self._wake = wake
        self._source: Source | None = None
        self.thread = threading.Thread(target=self._work, name=f"edgeproof-capture-{capture.first.lane}", daemon=True)
        self.thread.start()

    def give_up(self) -> None:
        """Discard further frames, and close the source.

        A source whose data never become frames would keep its port or device. The supervisor does not wait for the
        driver.
        """
        if not self.given_up:
            self.given_up = True
            threading.Thread(target=self._close, name="edgeproof-capture-close", daemon=True).start()

    def _close(self) -> None:
        source = self._source
        try:
            if source is not None and self._capture.first.stream.closes:
                source.close()
        except Exception as error:
            self.error = self.error or error

    def _work(self) -> None:
        try:
            self._source = self._capture.first.stream.open()
            self._read(self._source)
        except ClosedError:
            pass
        except BaseException as error:
            self.error = error
        self._close()
        self._source = None
        if self.given_up:
            self.error = None
        self.done = True
        self._wake.set()

    def _read(self, source: Source) -> None:
        capture, inbox = self._capture, self._inbox
        if self.given_up:
            return
        capture.opened(source)
        for run in capture.runs:
            inbox.let_newest_win(run.lane, run.policy == "latest-frame")
        frames = iter(source)
        opening_since_s, self.owing_since_s = self.owing_since_s, None
        while not capture.complete:
            for run in capture.runs:
                if not run.complete:
                    inbox.wait_for_room(run.lane)
            self.owing_since_s = time.monotonic() if self.frames else opening_since_s
            frame = next(frames, None)
            if frame is None or self.given_up:
                return
            self.owing_since_s = None
            parts = capture.parts(frame)
            first, whole = self.frames == 0, capture.look(frame)
            self.frames += 1
            if frame.damage is None:
                self.damaged_since_s = None
            for run, part in zip(capture.runs, parts, strict=True):
                if not run.complete:
                    self._give(run, run.arrived(part, first=first), whole)

    def _give(self, run: StreamRun, frame: Frame, whole: FrameHealth | None) -> None:
        found, leaves_out = run.judge(frame, whole)
        if found is not None:
            if leaves_out:
                if frame.damage is not None:
                    self.damaged_since_s = self.damaged_since_s or time.monotonic()
                self._on_lost(run, frame, "unhealthy", found)
                return
            frame = replace(frame, health=found)
        if run.leaves_out(frame):
            return
        try:
            gone = self._inbox.put(run.lane, frame)
        except ClosedError:
            run.take_back()
            raise
        if gone is not None:
            self._on_lost(run, gone, "overtaken", None)


@dataclass(slots=True, eq=False)
class _Watched:
    capture: Capture
    connection: _Connection | None = None
    hanging: list[_Connection] = field(default_factory=list)
    next_s: float = 0.0
    attempts: int = 0
    leaves_for: str | None = None  # why it is removed
    gone: bool = False

    @property
    def connections(self) -> list[_Connection]:
        return [*self.hanging, *([] if self.connection is None else [self.connection])]


class Supervisor:
    """Open, watch and reopen streams in one thread that never calls into a driver.

    Args:
        runs: the streams; `add` and `remove` change them.
        inbox: receives their frames; closed when all streams are over.
        on_lost: called with each frame that a newer one replaced, or that is left out as unhealthy.
        duration_s: seconds until the supervisor stops.
    """

    def __init__(
        self,
        runs: Sequence[StreamRun],
        inbox: Inbox,
        on_lost: _OnLost,
        duration_s: float | None = None,
    ) -> None:
        self._watched = [_Watched(capture) for capture in captures_of(runs)]
        self._inbox = inbox
        self._on_lost = on_lost
        self._duration_s = duration_s
        self._wake = threading.Event()
        self._stopped = False
        self._lock = threading.Lock()  # guards the end against streams that are added
        self._held = 0
        self._ended = False
        self._thread = threading.Thread(target=self._supervise, name="edgeproof-supervisor", daemon=True)

    @property
    def stopped(self) -> bool:
        """Return whether it was stopped, or its duration is over."""
        return self._stopped

    def start(self) -> None:
        """Open the streams."""
        self._thread.start()

    def stop(self) -> None:
        """End all streams as if their sources had ended; frames in the inbox remain.

        Safe from any thread and from a signal handler, which may interrupt this method.
        """
        if self._stopped:
            return
        self._stopped = True
        self._inbox.close()
        self._wake.set()

    def hold(self) -> bool:
        """Go on although every stream may be over, until `release`; return False if it is ending already."""
        with self._lock:
            if self._ended or self._stopped:
                return False
            self._held += 1
            return True

    def release(self) -> None:
        """End when every stream is over, as before `hold`."""
        with self._lock:
            self._held -= 1
        self._wake.set()

    def add(self, runs: Sequence[StreamRun]) -> None:
        """Open more streams. Call it between `hold` and `release`; once stopped, they end at once."""
        new = [_Watched(capture) for capture in captures_of(runs)]
        with self._lock:
            if not self._ended:
                self._watched = [*self._watched, *new]
                self._wake.set()
                return
        for watched in new:
            watched.capture.change("ended", "stopped")

    def remove(self, runs: Collection[StreamRun], why: str, timeout_s: float) -> None:
        """End streams, all of a source together, and wait until their sources are closed.

        Call it between `hold` and `release`. After the time limit a source that hangs in its driver is left behind.
        """
        leaving = [watched for watched in self._watched if watched.capture.first in runs]
        for watched in leaving:
            watched.leaves_for = why
        self._wake.set()
        deadline_s = time.monotonic() + timeout_s
        while not all(watched.gone for watched in leaving) and time.monotonic() < deadline_s and not self._ended:
            time.sleep(_LEAVING_POLL_S)
        with self._lock:
            self._watched = [watched for watched in self._watched if watched not in leaving]

    def threads(self) -> list[threading.Thread]:
        """Return the threads that end after a stop, without those that hang in a driver."""
        return [self._thread, *(w.connection.thread for w in self._watched if w.connection is not None)]

    def _supervise(self) -> None:
        deadline_s = time.monotonic() + self._duration_s if self._duration_s is not None else float("inf")
        while not self._all_over():
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                self._stopped = True
            if self._stopped:
                break
            for watched in self._watched:
                if watched.leaves_for is not None:
                    self._leave(watched, watched.leaves_for)
                elif not watched.capture.over:
                    self._look_after(watched)
            self._wake.wait(min(_TICK_S, left_s))
            self._wake.clear()
        with self._lock:
            self._ended = True
            for watched in self._watched:
                watched.capture.change("ended", "stopped")
        self._inbox.close()

    def _all_over(self) -> bool:
        with self._lock:
            self._ended = not self._held and all(watched.capture.over for watched in self._watched)
            return self._ended

    def _leave(self, watched: _Watched, why: str) -> None:
        watched.capture.change("ended", why)
        for connection in watched.connections:
            connection.give_up()
        watched.gone = all(connection.done for connection in watched.connections)

    def _look_after(self, watched: _Watched) -> None:
        capture, connection, now_s = watched.capture, watched.connection, time.monotonic()
        run = capture.first
        if connection is None:
            watched.hanging = [c for c in watched.hanging if not c.done]
            if len(watched.hanging) >= _HANGING_MOST:
                capture.change("reconnecting", f"{_HANGING_MOST} {HANGS}; waiting for one to end")
            elif now_s >= watched.next_s:
                watched.connection = _Connection(capture, self._inbox, self._on_lost, self._wake)
            return
        if connection.done:
            self._over(watched, connection, connection.error)
            return
        limit_s = run.stream.stall_limit_s(run.live)
        damaged_since_s, damaged_most_s = connection.damaged_since_s, _DAMAGED_STALLS * limit_s
        if run.live and damaged_since_s is not None and now_s - damaged_since_s > damaged_most_s:
            self._give_up(watched, connection, f"only damaged frames for {damaged_most_s:g} s")
            return
        owing_since_s = connection.owing_since_s
        if owing_since_s is None:
            return
        owing_s = now_s - owing_since_s
        if not connection.frames:
            # A folder may begin with many files that are not images.
            patience_s = run.stream.open_timeout_s if run.live or run.source is None else 2 * limit_s
            if owing_s > patience_s:
                self._give_up(watched, connection, f"no frame within {patience_s:g} s")
        elif owing_s > 2 * limit_s:
            self._give_up(watched, connection, f"no frame for {2 * limit_s:g} s")
        elif owing_s > limit_s:
            capture.change("stalled", f"no frame for {limit_s:g} s")

    def _give_up(self, watched: _Watched, connection: _Connection, what: str) -> None:
        connection.give_up()
        watched.hanging.append(connection)
        error = SourceError(
            f"{watched.capture.first.stream.name}: {what}", expected="whole frames", fix="check the source's own log"
        )
        self._over(watched, connection, error)

    def _over(self, watched: _Watched, connection: _Connection, error: BaseException | None) -> None:
        """Handle the end of a connection: schedule the next one, or end the stream."""
        capture, run = watched.capture, watched.capture.first
        watched.connection = None
        if error is None and not connection.frames and not capture.complete:
            error = _no_frame(run)
        if self._opens_again(capture):
            watched.attempts = 0 if connection.frames else watched.attempts + 1
            delay_s = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** min(watched.attempts, 16))
            # Jitter, so that cameras behind one switch do not all reconnect at the same moment.
            watched.next_s = time.monotonic() + delay_s * random.uniform(0.5, 1.0)
            capture.change("reconnecting", one_line(error) if error is not None else _last_words(run))
            connection.error = None  # its traceback references the connection: break the cycle at once
        elif error is not None:
            capture.fail(error)
        else:
            capture.change("ended")

    def _opens_again(self, capture: Capture) -> bool:
        run = capture.first
        if capture.complete or run.stream.reconnect == "never":
            return False
        if run.stream.reconnect == "always" and run.source is None:
            return True
        return run.live and (run.connections > 0 or run.stream.reconnect == "always")


def _no_frame(run: StreamRun) -> SourceError:
    reasons = [f"{s.name}: {s.reason}" for s in run.skipped]
    more = f"; and {len(reasons) - _REASONS_NAMED} more" if len(reasons) > _REASONS_NAMED else ""
    return SourceError(
        f"{run.stream.name}: no frame",
        got="; ".join(reasons[:_REASONS_NAMED]) + more or "nothing",
        expected="at least one frame",
    )


def _last_words(run: StreamRun) -> str:
    return run.skipped[-1].reason if run.skipped else "the stream ended"
