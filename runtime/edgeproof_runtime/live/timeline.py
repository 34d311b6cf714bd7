"""Outcome and latency of frames over time, in bounded memory that keeps the slowest frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = ["MAX_POINTS", "FrameState", "Timeline"]

MAX_POINTS = 2000

FrameState = Literal["classified", "stale", "dropped", "failed", "unhealthy"]
"""Frame states from best to worst: classified in time, classified late, not classified, not readable, left out as
unhealthy."""

_SEVERITY = {state: i for i, state in enumerate(get_args(FrameState))}


@dataclass(slots=True)
class _Point:
    time_s: float
    end_to_end_ms: float | None
    state: FrameState
    frames: int = 1

    def merge(self, other: _Point) -> None:
        """Merge another point: keep the slower frame's time and latency, and the worse state."""
        if other.end_to_end_ms is not None and (self.end_to_end_ms is None or other.end_to_end_ms > self.end_to_end_ms):
            self.time_s, self.end_to_end_ms = other.time_s, other.end_to_end_ms
        if _SEVERITY[other.state] > _SEVERITY[self.state]:
            self.state = other.state
        self.frames += other.frames


class Timeline:
    """Frames in order; neighbouring points are merged in pairs when there are too many.

    Args:
        max_points: most points, at least 2.
    """

    def __init__(self, max_points: int = MAX_POINTS) -> None:
        if max_points < 2:
            raise ValueError(f"max_points: must be at least 2, got {max_points}")
        self._max_points = max_points
        self._points: list[_Point] = []
        self._frames_per_point = 1

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
        point = _Point(time_s, end_to_end_ms, state)
        if self._points and self._points[-1].frames < self._frames_per_point:
            self._points[-1].merge(point)
            return
        self._points.append(point)
        if len(self._points) > self._max_points:
            self._halve()

    def _halve(self) -> None:
        for left, right in zip(self._points[::2], self._points[1::2], strict=False):
            left.merge(right)
        self._points = self._points[::2]
        self._frames_per_point *= 2

    def to_json(self) -> dict[str, Any]:
        """Return columns ``time_s``, ``end_to_end_ms`` (null without a decision), ``state`` and ``frames``.

        ``frames`` is the number of frames of a point; ``frames_per_point`` is the number that full points have.
        """
        points = list(self._points)
        return {
            "frames_per_point": self._frames_per_point,
            "time_s": [p.time_s for p in points],
            "end_to_end_ms": [p.end_to_end_ms for p in points],
            "state": [p.state for p in points],
            "frames": [p.frames for p in points],
        }
