"""Which frames of a stream are classified: all, one at an interval, or those with motion."""

from __future__ import annotations

from edgeproof_runtime._native import MotionGate
from edgeproof_runtime.sources.base import Frame

__all__ = ["Pace"]

_AFTER_MOTION_S = 2.0  # what moved may stop in view, and events need several frames to end
_IDLE_S = 10.0


class Pace:
    """Choose the frames of one stream. Not thread-safe.

    Args:
        every_s: seconds between classified frames; with ``on_motion``, between those without motion (default 10).
        on_motion: share of the frame that must change, 0..1; None classifies without motion too.
    """

    def __init__(self, every_s: float | None = None, on_motion: float | None = None) -> None:
        self._every_s = _IDLE_S if every_s is None and on_motion is not None else every_s
        self._gate = None if on_motion is None else MotionGate(on_motion)
        self._due_s: float | None = None
        self._moving_until_s: float | None = None

    def leaves_out(self, frame: Frame, fps: float | None, *, live: bool) -> str | None:
        """Return why a frame is left out, or None for one to be classified.

        Args:
            frame: the next frame.
            fps: frames per second of the source, if declared.
            live: whether the source is live; the time of a file's frames is that of the recording.
        """
        if self._every_s is None:
            return None
        at_s = _time_s(frame, fps, live=live)
        if self._gate is not None and self._gate.moved(frame.image):
            self._moving_until_s = at_s + _AFTER_MOTION_S
        moving = self._moving_until_s is not None and at_s < self._moving_until_s
        if not moving and self._due_s is not None and at_s < self._due_s:
            return "interval" if self._gate is None else "no motion"
        self._due_s = at_s + self._every_s
        return None


def _time_s(frame: Frame, fps: float | None, *, live: bool) -> float:
    if live:
        return frame.captured_ns / 1e9
    if frame.media_ns is not None:
        return frame.media_ns / 1e9
    return frame.index / fps if fps else frame.captured_ns / 1e9
