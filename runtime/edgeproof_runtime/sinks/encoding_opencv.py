"""Write videos through OpenCV, where PyAV is not installed: constant frame rate, and only whole when closed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.images import quiet_opencv
from edgeproof_runtime.sinks.encoding import Packet, claim, no_codec
from edgeproof_runtime.system.opencv import cv2

__all__ = ["OpenCvEncoder", "OpenCvFile"]

_CODECS = {
    ".mp4": ("mp4v", "avc1"),
    ".mov": ("mp4v", "avc1"),
    ".mkv": ("mp4v", "MJPG"),
    ".avi": ("MJPG", "XVID"),
}
_MOST_REPEATS = 600


class OpenCvEncoder:
    """Pass canvases on: `OpenCvFile` encodes them.

    Args:
        suffix, size, fps: as for `open_encoder`.
    """

    def __init__(self, suffix: str, size: tuple[int, int], fps: float) -> None:
        self._codecs, self._suffix, self._size = _CODECS[suffix], suffix, size
        self._fps = fps

    def encode(self, canvas: NDArray[np.uint8], time_ns: int, duration_ns: int, *, key: bool) -> Packet:  # noqa: ARG002
        return Packet(canvas, time_ns, duration_ns, key=True)

    def create(self, path: Path, *, endless: bool = False) -> OpenCvFile:  # noqa: ARG002
        os.close(claim(path))
        with quiet_opencv():
            for codec in self._codecs:
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), self._fps, self._size)
                if writer.isOpened():
                    return OpenCvFile(path, writer, self._fps)
        path.unlink(missing_ok=True)
        raise no_codec(self._suffix, self._codecs, self._size)

    def close(self) -> None:
        pass


class OpenCvFile:
    """Video of constant frame rate: frames are repeated or left out to keep their times."""

    def __init__(self, path: Path, writer: cv2.VideoWriter, fps: float) -> None:
        self.path = path
        self._writer: cv2.VideoWriter | None = writer
        self._fps = fps
        self._first_ns = 0
        self._last: Packet | None = None
        self._written = 0

    def write(self, packet: Packet) -> None:
        if self._last is None:
            self._first_ns = packet.time_ns
        self._show_until(packet.time_ns)
        self._last = packet

    def close(self) -> None:
        if self._writer is None:
            return
        if self._last is not None:
            self._show_until(self._last.time_ns + self._last.duration_ns)
        self._writer.release()
        self._writer = None
        if self._last is None:
            self.path.unlink(missing_ok=True)
            return
        # VideoWriter reports no error, not even a full disk.
        with quiet_opencv():
            capture = cv2.VideoCapture(str(self.path))
            whole = capture.isOpened() and int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == self._written
            capture.release()
        if not whole:
            raise OSError(errno.EIO, "fewer frames than written; check the free disk space", str(self.path))

    def _show_until(self, time_ns: int) -> None:
        if self._last is None or self._writer is None:
            return
        due = round((time_ns - self._first_ns) / 1e9 * self._fps)
        for _ in range(min(max(due - self._written, 0), _MOST_REPEATS)):
            self._writer.write(self._last.content)
            self._written += 1
