"""Outcome and latency of frames over time, in bounded memory that keeps the slowest frames."""

from __future__ import annotations

import math
from array import array
from typing import Any, Literal, get_args

__all__ = ["MAX_POINTS", "FrameState", "Timeline"]

MAX_POINTS = 2000

FrameState = Literal["classified", "stale", "dropped", "failed", "unhealthy"]
"""Frame states from best to worst: classified in time, classified late, not classified, not readable, left out as
unhealthy."""

_STATES = get_args(FrameState)
_SEVERITY = {state: i for i, state in enumerate(_STATES)}


class Timeline:
    """Frames in order; neighbouring points are merged in pairs when there are too many.

    All its memory is taken at once: objects that come and go for weeks would leave gaps between those that stay.

    Args:
        max_points: most points, at least 2.
    """

    def __init__(self, max_points: int = MAX_POINTS) -> None:
        if max_points < 2:
            raise ValueError(f"max_points: must be at least 2, got {max_points}")
        self._max_points = max_points
        self._points = 0
        self._frames_per_point = 1
        # One more than is kept, for the point that makes them too many. A latency of NaN means that there is none.
        self._time_s = array("d", bytes(8 * (max_points + 1)))
        self._latency_ms = array("d", bytes(8 * (max_points + 1)))
        self._severity = bytearray(max_points + 1)
        self._frames = array("Q", bytes(8 * (max_points + 1)))

    def add(self, time_s: float, end_to_end_ms: float | None, state: FrameState = "classified") -> None:
        """Record one frame.

        Args:
            time_s: seconds since the start of the run.
            end_to_end_ms: milliseconds from capture to decision; None for a frame without a decision.
            state: outcome of the frame.

        Raises:
            ValueError: an unknown state, or a state that contradicts the latency.
        """
        if state not in _SEVERITY:
            raise ValueError(f"state: unknown, got {state!r}, expected one of {', '.join(_SEVERITY)}")
        if (end_to_end_ms is None) != (state in ("dropped", "failed", "unhealthy")):
            raise ValueError(f"state: {state} contradicts latency {end_to_end_ms}")
        severity = _SEVERITY[state]
        latency_ms = math.nan if end_to_end_ms is None else end_to_end_ms
        last = self._points - 1
        if last >= 0 and self._frames[last] < self._frames_per_point:
            self._merge(last, time_s, latency_ms, severity, 1)
            return
        self._put(self._points, time_s, latency_ms, severity, 1)
        self._points += 1
        if self._points > self._max_points:
            self._halve()

    def _put(self, i: int, time_s: float, latency_ms: float, severity: int, frames: int) -> None:
        self._time_s[i], self._latency_ms[i] = time_s, latency_ms
        self._severity[i], self._frames[i] = severity, frames

    def _point(self, i: int) -> tuple[float, float, int, int]:
        return self._time_s[i], self._latency_ms[i], self._severity[i], self._frames[i]

    def _merge(self, i: int, time_s: float, latency_ms: float, severity: int, frames: int) -> None:
        """Merge a point into point ``i``: the slower frame's time and latency, and the worse state."""
        if latency_ms > self._latency_ms[i] or (math.isnan(self._latency_ms[i]) and not math.isnan(latency_ms)):
            self._time_s[i], self._latency_ms[i] = time_s, latency_ms
        self._severity[i] = max(self._severity[i], severity)
        self._frames[i] += frames

    def _halve(self) -> None:
        for left in range(0, self._points, 2):
            self._put(left // 2, *self._point(left))
            if left + 1 < self._points:
                self._merge(left // 2, *self._point(left + 1))
        self._points = (self._points + 1) // 2
        self._frames_per_point *= 2

    def to_json(self) -> dict[str, Any]:
        """Return columns ``time_s``, ``end_to_end_ms`` (null without a decision), ``state`` and ``frames``.

        ``frames`` is the number of frames of a point; ``frames_per_point`` is the number that full points have.
        """
        points = [self._point(i) for i in range(self._points)]
        return {
            "frames_per_point": self._frames_per_point,
            "time_s": [time_s for time_s, _, _, _ in points],
            "end_to_end_ms": [None if math.isnan(ms) else ms for _, ms, _, _ in points],
            "state": [_STATES[severity] for _, _, severity, _ in points],
            "frames": [frames for _, _, _, frames in points],
        }
