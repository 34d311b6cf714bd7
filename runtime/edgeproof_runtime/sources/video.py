"""Video files, cameras and streams, through OpenCV."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.images import Skipped, quiet_opencv
from edgeproof_runtime.sources.base import Frame, Source

__all__ = ["VideoSource", "backend_names"]

_NETWORK_TIMEOUT_MS = 10_000
_CLOSE_TIMEOUT_S = 2.0
# Containers round their frame count; a file that was cut off lacks far more.
_MISSING_FRAMES_TOLERATED = 2
_MISSING_SHARE_TOLERATED = 0.01


def backend_names(backends: Sequence[int]) -> str:
    """OpenCV's names of capture backends, for messages."""
    return ", ".join("any" if b == cv2.CAP_ANY else cv2.videoio_registry.getBackendName(b) for b in backends)


class VideoSource(Source):
    """Anything that `cv2.VideoCapture` opens.

    ``capture_ms`` is `grab`: waiting for a camera, and with FFmpeg also the codec's work; ``decode_ms`` is
    `retrieve`: the way to BGR, and with V4L2 the decoding of MJPEG.

    Args:
        target: a file, URL, pipeline, or camera index.
        name: what to call it, without credentials.
        backends: OpenCV's backends to try in order.
        camera: whether it never ends by itself. Anything else is live if it claims no number of frames.
        network: whether opening and reading need a time limit.
        label_of: the label of the frame at a position.
        fix: how to mend it if it does not open.

    Raises:
        SourceError: no backend opens it.
    """

    def __init__(
        self,
        target: str | int,
        name: str,
        *,
        backends: Sequence[int],
        camera: bool = False,
        network: bool = False,
        label_of: Callable[[int], str | None] = lambda _: None,
        fix: str,
    ) -> None:
        self._capture = _open(target, name, backends, network, fix)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Streams claim nonsense: no frames, negative ones, or more than any file has.
        frame_count = int(count) if 0 < count < 1e9 and not camera else None
        super().__init__(
            name,
            live=frame_count is None,
            fps=fps if 0 < fps <= 1000 else None,
            frame_count=frame_count,
        )
        self._label_of = label_of
        self._lock = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        index = undecodable = 0
        while True:
            with self._lock:
                if self._closed:
                    self._capture.release()
                    return
                begin = time.monotonic_ns()
                arrived = self._capture.grab()
                captured = time.monotonic_ns()
                ok, image = self._capture.retrieve() if arrived else (False, None)
                decoded = time.monotonic_ns()
            if not arrived:
                break
            if ok and image is not None:
                yield Frame(
                    image=image.astype(np.uint8, copy=False),
                    index=index,
                    name=f"{self.name}#{index}",
                    captured_ns=captured,
                    capture_ms=(captured - begin) / 1e6,
                    decode_ms=(decoded - captured) / 1e6,
                    label=self._label_of(index),
                )
            else:
                undecodable += 1
            index += 1
        if undecodable:
            self.skipped.append(Skipped(self.name, f"{undecodable} of {index} frames could not be decoded"))
        self._report_end(index)

    def _report_end(self, frames: int) -> None:
        if self.frame_count is None:
            self.skipped.append(Skipped(self.name, f"stopped giving frames after {frames}"))
            return
        missing = self.frame_count - frames
        if missing > max(_MISSING_FRAMES_TOLERATED, self.frame_count * _MISSING_SHARE_TOLERATED):
            why = f"ended after {frames} of {self.frame_count} frames; it is cut off or damaged"
            self.skipped.append(Skipped(self.name, why))

    def close(self) -> None:
        self._closed = True
        # A camera that hangs in grab() must not hang its owner too; the iterating thread releases it then.
        if self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
            self._capture.release()
            self._lock.release()


def _open(target: str | int, name: str, backends: Sequence[int], network: bool, fix: str) -> cv2.VideoCapture:
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _NETWORK_TIMEOUT_MS]
    for backend in backends:
        with quiet_opencv():
            try:
                parameters = limits if network and backend == cv2.CAP_FFMPEG else []
                capture = cv2.VideoCapture(target, backend, parameters)
            except cv2.error:
                continue
        if capture.isOpened():
            return capture
    raise SourceError(
        f"cannot open {name}",
        got=f"refused by OpenCV {cv2.__version__} (tried: {backend_names(backends)})",
        expected="a video that decodes, a camera that is connected, or a stream that answers",
        fix=fix,
    )
