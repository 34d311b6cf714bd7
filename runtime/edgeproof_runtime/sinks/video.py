"""Record annotated frames: a video or segments of it, clips and snapshots of events."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sinks.clips import Clips
from edgeproof_runtime.sinks.drawing import Annotator
from edgeproof_runtime.sinks.encoding import SUFFIXES, Encoder, Packet, VideoFile, claim, open_encoder
from edgeproof_runtime.sinks.growing import free_name
from edgeproof_runtime.sinks.pacing import Pacing
from edgeproof_runtime.sinks.shelf import Segment, Shelf
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["AnnotatedVideo"]

_RETRY_S = 10.0
_TRAILER_BYTES = 1 << 16
_JPEG_QUALITY = 90


class AnnotatedVideo:
    """Recording of one stream's annotated frames.

    A file has its name from the first frame on and plays at any moment, also after a crash; whatever ends the run, it
    stays. Frames keep their times. A time without frames in a live stream is a card of at most two seconds that says
    how long it was.

    Args:
        path: ``.mp4``, ``.mov``, ``.mkv`` or ``.avi`` file; if it exists, the video gets the next free name,
            ``NAME-2.mp4``. `path` says which. None: only clips and snapshots are written.
        fps: declared frames per second, or None.
        stream: name of the stream, drawn on cards.
        live: whether the source is live: frames then have the times of their capture, and after an error the
            recording goes on in a new file as soon as there is room.
        segment: when the video goes on in a new file, ``NAME.TIME.mp4``; None: never.
        shelf: names and keeps segments; None: all are kept.
        pre_s: seconds before an event that its clip holds; None: there are no clips.
        events: thresholds below which a prediction is drawn as unsure; None: none is.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path | None,
        fps: float | None,
        *,
        stream: str = "",
        live: bool = False,
        segment: Segment | None = None,
        shelf: Shelf | None = None,
        pre_s: float | None = None,
        events: EventSettings | None = None,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.suffix: str = ".mp4" if self.path is None else self.path.suffix.lower()
        if self.suffix not in SUFFIXES:
            raise InputError(
                f"{path}: cannot save a video", got=self.suffix or "no extension", expected=", ".join(SUFFIXES)
            )
        self._segments: _Segments | None = None
        if self.path is not None:
            self._segments = _Segments(self.path, segment, shelf or Shelf(self.path.parent), live=live)
            self.path = self._segments.path
        self._clips = None if pre_s is None else Clips(pre_s)
        self._live = live
        self._fps = fps
        self._stream = stream
        self._events = events
        self._pacing = Pacing(fps, live=live)
        self._annotator: Annotator | None = None
        self._encoder: Encoder | None = None

    def write(self, decided: Decided[Decision]) -> None:
        """Write a decision.

        Raises:
            InputError: it cannot be written, for example on a full disk; what was written before stays.
        """
        if self._segments is None and self._clips is None:
            return
        frame, annotator = decided.frame, self._annotator_of(decided)
        moment = self._pacing.at(frame)
        if self._segments is not None and self._clips is None and self._segments.waits is not None:
            raise _failure(self._segments.path, self._segments.waits)  # encoding would be in vain
        if moment.gap is not None:
            card = annotator.draw_gap(decided.stream, moment.gap.what, moment.gap.seconds)
            self._put(card, moment.gap.time_ns, moment.gap.length_ns, frame.index)
        self._put(annotator.draw(decided), moment.time_ns, moment.usual_ns, frame.index)
        if self._segments is not None:
            self.path = self._segments.path

    def begin_clip(self, path: Path, index: int) -> None:
        """Begin a clip before the frame with an index.

        Raises:
            InputError: it cannot be written.
        """
        clips, encoder = self._clips, self._encoder
        if clips is None or encoder is None:
            return
        with _told(path):
            clips.begin(encoder, path, index)

    def end_clip(self, path: Path) -> None:
        """End the clip.

        Raises:
            InputError: its end cannot be written.
        """
        if self._clips is not None:
            with _told(path):
                self._clips.end()

    def snapshot(self, path: Path, decided: Decided[Decision]) -> None:
        """Write an annotated frame as a new JPEG file.

        Raises:
            InputError: it cannot be written.
        """
        canvas = self._annotator_of(decided).draw(decided)
        whole, content = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not whole:
            raise InputError(f"{path}: cannot be written", got="OpenCV cannot encode it as JPEG")
        with _told(path, "the snapshot cannot be written"):
            descriptor = claim(path)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content.tobytes())
            except OSError:
                path.unlink(missing_ok=True)
                raise

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - what was written plays, and stays
        """Finish the files. Safe to call twice.

        Raises:
            InputError: the end of a file cannot be written.
        """
        encoder, self._encoder = self._encoder, None
        with _told(self.path or self._stream), ExitStack() as last_first:  # all, whatever fails
            if encoder is not None:
                last_first.callback(encoder.close)
            if self._segments is not None:
                last_first.callback(self._segments.close)
            if self._clips is not None:
                last_first.callback(self._clips.end)

    def _annotator_of(self, decided: Decided[Decision]) -> Annotator:
        if self._annotator is None:
            size = decided.frame.image.shape[:2]
            self._annotator = Annotator(*size, live=self._live, events=self._events)
        return self._annotator

    def _put(self, canvas: NDArray[np.uint8], time_ns: int, length_ns: int, index: int) -> None:
        if self._encoder is None:
            width, height = canvas.shape[1], canvas.shape[0]
            self._encoder = open_encoder(self.suffix, (width, height), self._fps or 1e9 / length_ns)
        segments = self._segments
        packet = self._encoder.encode(
            canvas, time_ns, length_ns, key=segments is not None and segments.begins_with(time_ns)
        )
        with _told(self.path or self._stream), ExitStack() as last_first:  # both, whatever fails
            if segments is not None:
                last_first.callback(segments.write, packet, self._encoder)
            if self._clips is not None:
                last_first.callback(self._clips.add, packet, index)


class _Segments:
    """The files of a recording, one after the other."""

    def __init__(self, path: Path, segment: Segment | None, shelf: Shelf, *, live: bool) -> None:
        self.path = free_name(path) if segment is None else path
        self._wanted = path
        self._segment = segment
        self._shelf = shelf
        self._live = live
        self._file: VideoFile | None = None
        self._began_ns = 0
        self._bytes = self._largest = 0
        self._retry_s = 0.0
        self._error: OSError | None = None
        if segment is not None:
            self._shelf.register(path.stem, path.suffix)
        try:
            os.close(claim(self._trial()))
            self._trial().unlink()
        except OSError as error:
            raise InputError(f"{path}: cannot save a video", got=error.strerror, fix="choose another folder") from error

    def begins_with(self, time_ns: int) -> bool:
        """Return whether a frame begins a new file."""
        if self._file is None:
            return True
        if self._segment is None:
            return False
        seconds, size = self._segment.seconds, self._segment.max_bytes
        late = seconds is not None and time_ns - self._began_ns >= seconds * 1e9
        return late or (size is not None and self._bytes + 2 * self._largest + _TRAILER_BYTES > size)

    @property
    def waits(self) -> OSError | None:
        """Return the error after which no file is tried yet, if any."""
        return self._error if not self._live or time.monotonic() < self._retry_s else None

    def write(self, packet: Packet, encoder: Encoder) -> None:
        """Write the next packet.

        Raises:
            OSError: it cannot be written.
        """
        if self._error is not None:
            if self.waits is not None or not packet.key:
                raise self._error
            self._error = None
        try:
            if packet.key and self.begins_with(packet.time_ns):
                self.close()
                self._file = self._create(encoder)
                self._began_ns, self._bytes, self._largest = packet.time_ns, 0, 0
            if self._file is not None:
                self._bytes += packet.size
                self._largest = max(self._largest, packet.size)
                self._file.write(packet)
                self._shelf.look()
        except OSError as error:
            self._error, self._retry_s = error, time.monotonic() + _RETRY_S
            with suppress(OSError):
                self.close()
            raise

    def close(self) -> None:
        """Finish the file.

        Raises:
            OSError: its end cannot be written.
        """
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        finally:
            if self._segment is not None:
                self._shelf.finished(file.path)

    def _create(self, encoder: Encoder) -> VideoFile:
        while True:
            if self._segment is None:
                path = free_name(self._wanted)
            else:
                path = self._shelf.take(self._wanted.stem, self._wanted.suffix)
            with suppress(FileExistsError):  # taken by another process meanwhile
                file = encoder.create(path, endless=self._live and self._segment is None)
                if self._segment is None:
                    self.path = path
                return file

    def _trial(self) -> Path:
        return self._wanted.with_name(f".{self._wanted.stem}.{os.getpid()}{self._wanted.suffix}")


@contextmanager
def _told(path: Path | str, what: str = "the video ends here") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failure(path, error, what) from error


def _failure(path: Path | str, error: OSError, what: str = "the video ends here") -> InputError:
    return InputError(
        f"{path}: {what}", got=error.strerror or error, fix="free space on the disk, or keep less (--keep)"
    )
