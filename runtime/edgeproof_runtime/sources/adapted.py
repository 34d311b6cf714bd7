"""Rotate, crop, rate-limit or loop a source's frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.sources.upright import rotated

__all__ = ["adapted", "shaped"]

_USUAL_FPS = 25.0


def adapted(source: Source, options: SourceOptions) -> Source:
    """Apply options to a source's frames; without options, return the source itself.

    Raises:
        InputError: ``loop`` was requested of a live source.
    """
    if options.loop and source.live:
        source.close()
        options.refuse(f"{source.name} (live)", "loop")
    if options.rotate or options.crop or options.rate_limit_fps or options.loop:
        return _Adapted(source, options)
    return source


class _Adapted(Source):
    """Another source's frames with `SourceOptions` applied; rotation and cropping count as decoding."""

    def __init__(self, source: Source, options: SourceOptions) -> None:
        super().__init__(
            source.name,
            live=source.live,
            fps=source.fps,
            frame_count=None if options.loop else source.frame_count,
            of_pictures=source.of_pictures,
        )
        self.in_folders = source.in_folders
        self.skipped = source.skipped
        self.notes = source.notes
        self._source = source
        self._options = options
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        frames = self._looped() if self._options.loop else iter(self._source)
        if self._options.rate_limit_fps is not None:
            interval_ns = round(1e9 / self._options.rate_limit_fps)
            frames = self._thinned(frames, interval_ns) if self.live else self._paced(frames, interval_ns)
        for frame in frames:
            yield shaped(frame, self._options, self.name)

    def close(self) -> None:
        self._closed.set()
        self._source.close()

    def _looped(self) -> Iterator[Frame]:
        passes, offset, began_ns, end_ns = 0, 0, 0, 0
        while not self._closed.is_set():
            following = offset
            for frame in self._source:
                following = offset + frame.index + 1
                media_ns = frame.media_ns
                if media_ns is not None:
                    media_ns += began_ns
                    end_ns = media_ns + round(1e9 / (self.fps or _USUAL_FPS))
                if passes == 0:
                    yield frame
                else:
                    name = f"{frame.name} (pass {passes + 1})"
                    yield replace(frame, index=offset + frame.index, name=name, media_ns=media_ns)
            if following == offset:
                return  # no frame in a whole pass: looping would never end
            passes, offset, began_ns = passes + 1, following, end_ns

    def _thinned(self, frames: Iterator[Frame], interval_ns: int) -> Iterator[Frame]:
        due_ns = 0
        for frame in frames:
            if frame.captured_ns < due_ns:
                self.left_out["rate limit"] += 1
                continue
            # Keep the time grid so that jitter does not lower the rate; restart it after a pause.
            late_ns = frame.captured_ns - due_ns
            due_ns = (due_ns if late_ns < interval_ns else frame.captured_ns) + interval_ns
            yield frame

    def _paced(self, frames: Iterator[Frame], interval_ns: int) -> Iterator[Frame]:
        due_ns = time.monotonic_ns()
        while True:
            # Wait before reading the frame, so that the wait does not add to its age.
            if self._closed.wait(max(0, due_ns - time.monotonic_ns()) / 1e9):
                return
            frame = next(frames, None)
            if frame is None:
                return
            yield frame
            due_ns = max(due_ns + interval_ns, time.monotonic_ns())


def shaped(frame: Frame, options: SourceOptions, name: str) -> Frame:
    """Rotate and crop a frame; the time counts as decoding.

    Args:
        frame: the frame.
        options: of which rotation and crop apply.
        name: name of the stream, for messages.

    Raises:
        SourceError: the crop exceeds the frame.
    """
    rotate, crop = options.rotate, options.crop
    if not rotate and crop is None:
        return frame
    begin = time.monotonic_ns()
    image = rotated(frame.image, rotate)
    if crop is not None:
        x, y, width, height = crop
        if y + height > image.shape[0] or x + width > image.shape[1]:
            raise SourceError(
                f"{name}: the crop exceeds the frame",
                got=f"{x},{y},{width},{height} of {image.shape[1]}x{image.shape[0]}",
                expected="x + width and y + height within the frame, after rotation",
            )
        image = np.ascontiguousarray(image[y : y + height, x : x + width])
    return replace(frame, image=image, decode_ms=frame.decode_ms + (time.monotonic_ns() - begin) / 1e6)
