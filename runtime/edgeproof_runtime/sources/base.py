"""What every source of frames is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import Skipped

__all__ = ["Frame", "Source"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as a source gave it.

    Attributes:
        image: BGR uint8 ``HxWx3``.
        index: position in the source, from 0; a skipped file leaves a gap.
        name: what to call it, unique within the source.
        captured_ns: `time.monotonic_ns` as close to the capture as the source tells: a V4L2 driver's own stamp, else
            when the frame had arrived, before it was decoded.
        capture_ms: how long it took to arrive: reading the file, or waiting for the camera.
        decode_ms: from what arrived to `image`.
        label: what it shows, where the source was opened with labels and has one for this frame.
    """

    image: NDArray[np.uint8]
    index: int
    name: str
    captured_ns: int
    capture_ms: float
    decode_ms: float
    label: str | None = None

    @property
    def captured_unix_s(self) -> float:
        """``captured_ns`` by the wall clock as it stands now: the monotonic clock has no date."""
        return (self.captured_ns + time.time_ns() - time.monotonic_ns()) / 1e9


class Source(ABC):
    """Frames in order. Use as a context manager, or call `close`; one thread at a time may iterate.

    Attributes:
        name: what to call it in messages and reports, without credentials.
        live: whether frames come at their own pace, so that one not taken in time is stale.
        fps: frames per second that it claims, or None.
        frame_count: number of frames that it claims, or None where that is not known beforehand.
        of_pictures: whether its frames are picture files, each of which stands for itself.
        skipped: what it could not give, growing while it is iterated.
        left_out: cause -> frames that it left out on purpose, such as those above a rate limit.
        notes: sentences for people about what was asked of it and not granted, growing likewise.
    """

    def __init__(
        self, name: str, *, live: bool, fps: float | None, frame_count: int | None, of_pictures: bool = False
    ) -> None:
        self.name = name
        self.live = live
        self.fps = fps
        self.frame_count = frame_count
        self.of_pictures = of_pictures
        self.skipped: list[Skipped] = []
        self.left_out: Counter[str] = Counter()
        self.notes: list[str] = []

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames from the beginning, or from now on where the source is live.

        Raises:
            SourceError: the source fails in a way that no later frame can mend.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device or file, from any thread; iterating ends. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
