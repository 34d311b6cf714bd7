"""The base class of frame sources."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from edgeproof_runtime.errors import Skipped
from edgeproof_runtime.system.compat import Self

__all__ = ["Frame", "Source"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a source.

    Attributes:
        image: BGR uint8 ``HxWx3``, or ``HxWxC`` where many channels are read.
        index: position in the source, from 0; a skipped file leaves a gap.
        name: name, unique within the source.
        captured_ns: `time.monotonic_ns` of the capture: a V4L2 driver's stamp, else the arrival before decoding.
        capture_ms: time to read the file, or to wait for the camera.
        decode_ms: time to decode into `image`.
        label: ground truth; None without a label for this frame.
        media_ns: presentation time since the beginning of the file or connection, ns; None without one.
        health: what is wrong with the frame, where it is classified all the same; None for a healthy one.
        away_ns: time for which its stream had been stalled or disconnected, all outages before this frame together, ns.
        damage: what the decoder reported wrong with the frame, such as ``"corrupt"``; None for a whole frame.
    """

    image: NDArray[Any]
    index: int
    name: str
    captured_ns: int
    capture_ms: float
    decode_ms: float
    label: str | None = None
    media_ns: int | None = None
    damage: str | None = None
    health: str | None = None
    away_ns: int = 0

    @property
    def captured_unix_s(self) -> float:
        """Return ``captured_ns`` as Unix seconds, by the current offset of the wall clock."""
        return (self.captured_ns + time.time_ns() - time.monotonic_ns()) / 1e9


class Source(ABC):
    """Frames in order. Use as a context manager, or call `close`; one thread at a time may iterate.

    Attributes:
        name: name in messages and reports, without credentials.
        live: whether frames arrive at the source's pace, so that a frame not taken in time is stale.
        fps: declared frames per second, or None.
        frame_count: declared number of frames, or None if unknown.
        of_pictures: whether its frames are unrelated image files.
        in_folders: whether its frames come from files, whose folders may be their labels.
        skipped: what could not be read; grows during iteration.
        left_out: frames left out on purpose, such as by a rate limit, by cause.
        notes: requests that were not granted; grows during iteration.
    """

    def __init__(
        self, name: str, *, live: bool, fps: float | None, frame_count: int | None, of_pictures: bool = False
    ) -> None:
        self.name = name
        self.live = live
        self.fps: float | None = fps
        self.frame_count = frame_count
        self.of_pictures = of_pictures
        self.in_folders = of_pictures
        self.skipped: list[Skipped] = []
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames from the beginning; of a live source, from now on.

        Raises:
            SourceError: the source fails permanently.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device or file and end the iteration; safe from any thread. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
