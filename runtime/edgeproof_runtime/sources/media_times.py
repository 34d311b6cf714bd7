"""Rates, lengths and clocks of a video as FFmpeg tells them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeproof_runtime.sources.media_opening import Media
from edgeproof_runtime.system.spec import SPEC

if TYPE_CHECKING:
    import av

__all__ = ["MediaClock", "declared_count", "declared_fps", "is_endless"]

_VIDEO = SPEC["video"]
_PLAYLISTS = ("hls", "dash")
_WITHOUT_TIMES = ("mjpeg", "mpjpeg")  # FFmpeg numbers their frames as if there were 25 a second
_PLAUSIBLE_FPS = 480  # containers that count milliseconds may claim 1000
_FRAMES_FOR_A_RATE = 5
_LARGEST_STEP_S = 10.0
_USUAL_FPS = 25.0


def declared_fps(stream: av.VideoStream) -> float | None:
    """Return the average frame rate of a video, or None where it claims none that is plausible."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate is not None and 0 < rate <= min(_PLAUSIBLE_FPS, _VIDEO["max_fps"]):
            return float(rate)
    return None


def declared_count(stream: av.VideoStream) -> int | None:
    """Return the number of frames that a file's index declares, or None."""
    return stream.frames if 0 < stream.frames < _VIDEO["max_frame_count"] else None


def is_endless(media: Media) -> bool:
    """Return whether an address gives frames without a known end."""
    container = media.container
    if container.duration is not None:
        return False
    if any(name in _PLAYLISTS for name in container.format.name.split(",")):
        return True
    return media.stream.frames == 0 and (container.size or 0) <= 0


class MediaClock:
    """Presentation times of one pass over a video.

    Attributes:
        measured_fps: mean rate of the frames so far; None before the sixth.
    """

    def __init__(self, media: Media, live: bool) -> None:
        names = media.container.format.name.split(",")
        self._media = media
        self._live = live
        self._timed = not (live and any(name in _WITHOUT_TIMES for name in names))
        self._frame_s = 1 / (declared_fps(media.stream) or _USUAL_FPS)
        self._first_s: float | None = None
        self._last_s = 0.0
        self._last_arrived_ns = 0
        self._shift_s = 0.0
        self._frames = 0

    @property
    def measured_fps(self) -> float | None:
        if self._frames <= _FRAMES_FOR_A_RATE or self._last_s <= 0:
            return None
        return (self._frames - 1) / self._last_s

    def media_ns(self, pts_s: float | None, arrived_ns: int) -> int | None:
        """Return the time of a frame since the first one, ns."""
        if pts_s is None or not self._timed:
            return None
        if self._first_s is None:
            self._first_s = pts_s
        seconds = pts_s - self._first_s + self._shift_s
        if self._frames:
            step_s = seconds - self._last_s
            expected_s: float | None = None
            if self._live:
                # A camera may set its clock while it sends.
                waited_s = (arrived_ns - self._last_arrived_ns) / 1e9
                expected_s = waited_s if step_s < 0 or step_s > waited_s + _LARGEST_STEP_S else None
            elif step_s < -self._frame_s:
                expected_s = self._frame_s  # recordings that were joined as they are
            if expected_s is not None:
                self._shift_s += expected_s - step_s
                seconds = self._last_s + expected_s
        self._frames += 1
        self._last_s, self._last_arrived_ns = max(self._last_s, seconds), arrived_ns
        return max(0, round(seconds * 1e9))

    @property
    def reads_camera_clock(self) -> bool:
        """Whether this PyAV gives an RTSP camera's clock, as 18 and later do."""
        return hasattr(self._media.container, "start_time_realtime")

    def camera_age_ns(self, pts_s: float | None, arrived_ns: int) -> int | None:
        """Return the age of a frame on arrival by an RTSP camera's clock; None before its first sender report."""
        began_us: int | None = getattr(self._media.container, "start_time_realtime", None)
        if not began_us or began_us < 0 or pts_s is None:
            return None
        stream = self._media.stream
        start_s = _seconds(stream, stream.start_time) or 0.0
        captured_ns = began_us * 1000 + round((pts_s - start_s) * 1e9)
        return time.time_ns() - (time.monotonic_ns() - arrived_ns) - captured_ns

    def ends_early(self, stream: av.VideoStream) -> bool:
        """Return whether the frames end well before the duration that the index declares."""
        declared_s = _seconds(stream, stream.duration)
        if declared_s is None or self._first_s is None:
            return False
        tolerated_s: float = max(3 / (self.measured_fps or 1.0), declared_s * _VIDEO["missing_share_tolerated"])
        return declared_s - self._last_s > tolerated_s


def _seconds(stream: av.VideoStream, ticks: int | None) -> float | None:
    return None if ticks is None or stream.time_base is None else float(ticks * stream.time_base)
