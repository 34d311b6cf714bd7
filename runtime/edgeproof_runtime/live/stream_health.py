"""Health of one stream: what is wrong with its frames, since when, and how many were left out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.sources.base import Frame
from edgeproof_runtime.sources.health import OF_WHOLE_FRAME, FrameHealth, HealthOptions

__all__ = ["StreamHealth", "health_section"]

_TOLD_AFTER_S = 1.0  # a single frame of motion blur is no state of a stream


class StreamHealth:
    """Judge a stream's frames in their order. Not thread-safe, but for `look`, of one thread at a time.

    Args:
        options: limits of healthy frames.
        whole: limits by which the frames are judged before a part is cut out of them; None: there are none.

    Attributes:
        found: what is wrong with the newest frame; None for a healthy one.
        since_unix_s: start of that, Unix seconds, or None.
        left_out: number of frames left out, by cause.
        classified: number of unhealthy frames that are classified all the same, by cause.
        limits: limits of healthy frames, by name.
    """

    def __init__(self, options: HealthOptions, whole: HealthOptions | None = None) -> None:
        self._monitor = options.monitor()
        self.found: FrameHealth | None = None
        self.since_unix_s: float | None = None
        self.left_out: Counter[str] = Counter()
        self.classified: Counter[str] = Counter()
        of_whole = {} if whole is None else whole.monitor().settings()
        shared = {name: of_whole[name] for name in OF_WHOLE_FRAME if name in of_whole}
        self.limits: dict[str, object] = {**self._monitor.settings(), **shared, "classify": options.classify}
        self._since_s = 0.0
        self._told: FrameHealth | None = None

    @property
    def lasts_s(self) -> float | None:
        """Return how long the frames have been unhealthy for the same cause, seconds, or None."""
        return None if self.found is None else time.monotonic() - self._since_s

    def look(self, frame: Frame) -> FrameHealth | None:
        """Return what is wrong with the next frame, or None."""
        return cast("FrameHealth | None", self._monitor.look(frame.image, frame.damage is not None))

    def note(self, found: FrameHealth | None) -> tuple[bool, str | None]:
        """Count what `look` found.

        Returns:
            Whether the frame is to be left out; and news about the stream, if any.
        """
        now_s = time.monotonic()
        if found != self.found:
            self.found, self._since_s = found, now_s
            self.since_unix_s = None if found is None else time.time()
        leaves_out = found is not None and not self._monitor.classifies(found)
        if found is not None:
            (self.left_out if leaves_out else self.classified)[found] += 1
        return leaves_out, self._news(now_s)

    def _news(self, now_s: float) -> str | None:
        if self.found == self._told or now_s - self._since_s < _TOLD_AFTER_S:
            return None
        self._told = self.found
        return "healthy frames again" if self.found is None else f"{self.found} frames"


def health_section(snapshots: Sequence[StreamSnapshot]) -> dict[str, Any] | None:
    """Return the ``health`` of a report: limits and unhealthy frames of each stream; None if no stream was judged."""
    streams = [
        {
            "name": shot.name,
            "frames_in": shot.counts.frames_in,
            "left_out": shot.unhealthy,
            "classified": shot.unhealthy_classified,
            "at_the_end": shot.health,
            "at_the_end_s": shot.health_s,
            "limits": shot.health_limits,
        }
        for shot in snapshots
        if shot.health_limits is not None
    ]
    return {"streams": streams} if streams else None
