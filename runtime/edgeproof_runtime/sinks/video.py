"""Write annotated frames as a video file."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from edgeproof_runtime.data.images import quiet_opencv
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sinks.drawing import Annotator
from edgeproof_runtime.sinks.growing import free_name, place_new
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["AnnotatedVideo"]

_CODECS = {
    ".mp4": ("mp4v", "avc1"),
    ".mov": ("mp4v", "avc1"),
    ".mkv": ("mp4v", "MJPG"),
    ".avi": ("MJPG", "XVID"),
}


class AnnotatedVideo:
    """Video of annotated frames; appears under its name only when complete.

    Args:
        path: ``.mp4``, ``.mov``, ``.mkv`` or ``.avi`` file; if it exists, the video gets the next free name,
            ``NAME-2.mp4``. `path` says which.
        fps: frames per second of the video.
        real_time: repeat or leave out frames to keep the pace of the capture clock, for live sources. Otherwise every
            decided frame is one frame of the video.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float, *, real_time: bool = False) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _CODECS:
            raise InputError(
                f"{path}: cannot save a video", got=self.path.suffix or "no extension", expected=", ".join(_CODECS)
            )
        self.path = free_name(self.path)
        self._partial = self.path.with_name(f"{self.path.stem}.{os.getpid()}.partial{self.path.suffix}")
        try:
            self._partial.open("wb").close()
            self._partial.unlink()
        except OSError as error:
            raise InputError(f"{path}: cannot save a video", got=error.strerror, fix="choose another folder") from error
        self._fps = fps
        self._real_time = real_time
        self._annotator: Annotator | None = None
        self._writer: cv2.VideoWriter | None = None
        self._written = 0
        self._first_ns = 0

    def write(self, decided: Decided[Decision]) -> None:
        frame = decided.frame
        if self._writer is None or self._annotator is None:
            self._annotator = Annotator(*frame.image.shape[:2])
            self._writer = self._open(self._annotator.size)
            self._first_ns = frame.captured_ns
        due = self._written + 1
        if self._real_time:
            due = int((frame.captured_ns - self._first_ns) / 1e9 * self._fps) + 1
        if due > self._written:
            canvas = self._annotator.draw(decided)
            for _ in range(due - self._written):
                self._writer.write(canvas)
            self._written = due

    def close(self, *, failed: bool = False) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if failed:
            self._partial.unlink(missing_ok=True)
            return
        # VideoWriter reports no error, not even a full disk.
        with quiet_opencv():
            capture = cv2.VideoCapture(str(self._partial))
            whole = capture.isOpened() and int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == self._written
            capture.release()
        if not whole:
            self._partial.unlink(missing_ok=True)
            raise InputError(
                f"{self.path}: the video is incomplete",
                got="fewer frames than written",
                fix="check the free disk space",
            )
        self.path = place_new(self._partial, self.path)

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        codecs = _CODECS[self.path.suffix.lower()]
        with quiet_opencv():
            for codec in codecs:
                writer = cv2.VideoWriter(str(self._partial), cv2.VideoWriter.fourcc(*codec), self._fps, size)
                if writer.isOpened():
                    return writer
        self._partial.unlink(missing_ok=True)
        raise InputError(
            f"{self.path}: cannot save a video",
            got=f"OpenCV cannot encode {' or '.join(codecs)} at {size[0]}x{size[1]}",
            fix="choose another extension, such as .avi",
        )
