"""State, frames and counts of one stream during a run."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import replace
from typing import Literal

from edgeproof_runtime.errors import Skipped, one_line
from edgeproof_runtime.live.outcomes import Cause, Counts
from edgeproof_runtime.live.pace import Pace
from edgeproof_runtime.live.stream import Policy, StateChange, Stream, StreamSnapshot, StreamState
from edgeproof_runtime.live.stream_health import StreamHealth
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.health import FrameHealth
from edgeproof_runtime.system.redact import redact
from edgeproof_runtime.system.spec import SPEC

__all__ = ["StreamRun"]

_HISTORY = 100
_SKIPPED_KEPT: int = SPEC["bounds"]["skipped_kept"]
_SKIPPED_SHOWN = 20

_Counted = Literal["frames_in", "decided"] | Cause


class StreamRun:
    """Progress of one stream; written by the pipeline's threads, read by any thread.

    Attributes:
        stream: the stream.
        lane: its number in the pipeline.
        policy: frame policy; None until the source is open if the source decides.
        source: source of the newest connection; None before the first.
        error: why it failed, or None.
        connections: number of connections with frames.
        given: number of frames from its sources.
        failed: frames that could not be processed; of many, the newest.
        removed: set once the caller has its last frame, after it was removed from the pipeline.
    """

    def __init__(self, stream: Stream, lane: int) -> None:
        self.removed: threading.Event = threading.Event()
        self.stream = stream
        self.lane = lane
        self.policy: Policy | None = stream.policy
        self.source: Source | None = None
        self.error: BaseException | None = None
        self.connections: int = 0
        self.given: int = 0
        self.failed: deque[Skipped] = deque(maxlen=_SKIPPED_KEPT)
        self._lock = threading.Lock()
        self._counts: dict[str, int] = dict.fromkeys(
            ("frames_in", "decided", "overtaken", "stopped", "failed", "unhealthy"), 0
        )
        self._state: StreamState = "connecting"
        self._reason: str | None = None
        self._since_unix_s = time.time()
        self._began_s = self._since_s = time.monotonic()
        self._history = deque([StateChange("connecting", self._since_unix_s)], _HISTORY)
        self._changes = 1
        self._earlier_skipped: deque[Skipped] = deque(maxlen=_SKIPPED_KEPT)
        self._left_out: Counter[str] = Counter()
        self._health = StreamHealth(stream.health, None if stream.part is None else stream.part.whole)
        self._pace = Pace(stream.every_s, stream.on_motion)
        self._size: tuple[int, int] | None = None
        self._last_frame_unix_s: float | None = None
        self._last_frame_s: float | None = None
        self._first_index = self._next_index = 0
        self._last_captured_ns: int | None = None
        self._away_ns = 0

    @property
    def over(self) -> bool:
        """Return whether the stream has ended or failed."""
        return self._state in ("ended", "failed")

    @property
    def live(self) -> bool:
        """Return whether the source is known to be live."""
        return self.source is not None and self.source.live

    @property
    def complete(self) -> bool:
        """Return whether ``max_frames`` is reached."""
        return self.stream.max_frames is not None and self.given >= self.stream.max_frames

    @property
    def skipped(self) -> list[Skipped]:
        """Return what could not be read from its sources; of many, the newest."""
        return [*self._earlier_skipped, *(self.source.skipped if self.source is not None else ())]

    @property
    def counts(self) -> Counts:
        """Return its frames by outcome so far; unfinished ones count in ``frames_in`` only."""
        with self._lock:
            return Counts(**self._counts)

    def count(self, what: _Counted, frames: int = 1) -> None:
        """Count frames by outcome."""
        with self._lock:
            self._counts[what] += frames

    def change(self, state: StreamState, reason: str | None = None) -> None:
        """Enter a state, for a reason without secrets; final states do not change."""
        reason = None if reason is None else redact(reason)  # it may be the text of a library's exception
        with self._lock:
            if self.over or (state, reason) == (self._state, self._reason):
                return
            self._state, self._reason = state, reason
            self._since_unix_s, self._since_s = time.time(), time.monotonic()
            self._history.append(StateChange(state, self._since_unix_s, reason, self._since_s - self._began_s))
            self._changes += 1

    def fail(self, error: BaseException) -> None:
        """Enter the state ``failed`` with an error."""
        if not self.over:
            self.error = error
        self.change("failed", one_line(error))

    def opened(self, source: Source) -> None:
        """Record a new connection."""
        if self.source is not None:
            self._earlier_skipped.extend(self.source.skipped)
            with self._lock:
                self._left_out.update(self.source.left_out)
        self.source = source
        self._first_index = self._next_index
        if self.stream.policy is None:
            self.policy = "latest-frame" if source.live else "every-frame"

    def arrived(self, frame: Frame, *, first: bool) -> Frame:
        """Record a frame from the source.

        Args:
            frame: frame from the source.
            first: whether it is the connection's first frame.

        Returns:
            The frame, numbered on from the previous connection, with the time of outages before it.
        """
        if first:
            self.connections += 1
        if self._first_index:
            index = self._first_index + frame.index
            frame = replace(frame, index=index, name=f"{self.stream.name}#{index}")
        if self._last_captured_ns is not None and self._state in ("stalled", "reconnecting"):
            self._away_ns += max(0, frame.captured_ns - self._last_captured_ns)
        self._last_captured_ns = frame.captured_ns
        if self._away_ns:
            frame = replace(frame, away_ns=self._away_ns)
        self._next_index = frame.index + 1
        self.given += 1
        self._last_frame_unix_s, self._last_frame_s = time.time(), time.monotonic()
        before, self._size = self._size, (frame.image.shape[1], frame.image.shape[0])
        # Images of a folder may differ in size: not a change of state.
        if before is not None and before != self._size and self.live:
            was, now = (f"{width}x{height}" for width, height in (before, self._size))
            self.change("live", f"frames of {now} instead of {was}")
        elif self._state != "live":
            self.change("live")
        self.count("frames_in")
        return frame

    def stands_for_itself(self, frame: Frame) -> bool:
        """Return whether a frame is an undamaged image: data, not what a camera sees now, so that it is not judged."""
        return self.source is not None and self.source.of_pictures and frame.damage is None

    def judge(self, frame: Frame, whole: FrameHealth | None = None) -> tuple[FrameHealth | None, bool]:
        """Return what is wrong with a frame, if anything, and whether the frame is to be left out.

        Args:
            frame: frame of this stream.
            whole: what is wrong with the frame that it was cut out of.
        """
        if self.stands_for_itself(frame):
            return None, False
        found = whole or self._health.look(frame)  # milliseconds of a large frame: outside the lock
        with self._lock:
            leaves_out, news = self._health.note(found)
        if news is not None:
            self.change("live", news)
        return found, leaves_out

    def leaves_out(self, frame: Frame) -> bool:
        """Return whether a frame is not to be classified, for want of motion or within the interval; count it then."""
        source = self.source
        if source is None or source.of_pictures:
            return False
        cause = self._pace.leaves_out(frame, source.fps, live=source.live)
        if cause is None:
            return False
        self.take_back()
        with self._lock:
            self._left_out[cause] += 1
        return True

    def take_back(self) -> None:
        """Undo the last `arrived()`: the pipeline closed before the frame was queued."""
        self.given -= 1
        self.count("frames_in", -1)

    def snapshot(self) -> StreamSnapshot:
        """Return the current state."""
        source, last_s, now_s = self.source, self._last_frame_s, time.monotonic()
        width, height = self._size or (None, None)
        left_out = Counter(dict(self._left_out))
        if source is not None:
            left_out.update(dict(source.left_out))  # copied first: other threads continue counting
        with self._lock:
            return StreamSnapshot(
                name=self.stream.name,
                state=self._state,
                reason=self._reason,
                since_unix_s=self._since_unix_s,
                policy=self.policy,
                live=source.live if source is not None else None,
                width=width,
                height=height,
                fps=source.fps if source is not None else None,
                frame_count=source.frame_count if source is not None else None,
                counts=Counts(**self._counts),
                reconnections=max(0, self.connections - 1),
                last_frame_unix_s=self._last_frame_unix_s,
                history=tuple(self._history),
                changes=self._changes,
                state_s=max(0.0, now_s - self._since_s),
                silent_s=None if last_s is None else max(0.0, now_s - last_s),
                left_out=dict(left_out),
                health=self._health.found,
                health_since_unix_s=self._health.since_unix_s,
                health_s=self._health.lasts_s,
                health_limits=None if source is not None and source.of_pictures else self._health.limits,
                unhealthy=dict(self._health.left_out),
                unhealthy_classified=dict(self._health.classified),
                notes=tuple(source.notes) if source is not None else (),
                skipped=tuple(f"{s.name}: {s.reason}" for s in self.skipped[-_SKIPPED_SHOWN:]),
            )
