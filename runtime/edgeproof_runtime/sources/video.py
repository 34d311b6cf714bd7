"""Video files, cameras and streams through OpenCV."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.data.images import decode_image
from edgeproof_runtime.errors import Skipped, SourceError
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.camera_clock import CameraClock
from edgeproof_runtime.sources.capturing import configure, decoder_notes, gives_jpeg, open_capture
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.system.spec import SPEC

__all__ = ["VideoSource"]

_CLOSE_TIMEOUT_S = 2.0
_VIDEO = SPEC["video"]


class VideoSource(Source):
    """Source that `cv2.VideoCapture` opens.

    ``captured_ns`` is the driver's stamp of a V4L2 buffer, with ``camera_clock`` an RTSP camera's capture time, else
    the return of `grab`. ``capture_ms`` is the time of `grab`: the wait for a camera, with FFmpeg also decoding.
    ``decode_ms`` is the time of `retrieve`: conversion to BGR, with V4L2 also decoding of MJPEG.

    Motion JPEG through FFmpeg is decoded here, frame by frame like image files, because its size may change. OpenCV
    scales FFmpeg's other frames to the size of the first one. Packets that do not decode are left out, counted and
    reported at the end.

    A ``camera`` and a ``stream`` are always live, a ``file`` never, an ``address`` if it declares no number of frames.
    Streams and addresses get a time limit and one decoder thread, because each further thread delays a frame.

    Args:
        target: file, URL, pipeline, or camera index.
        name: name without credentials.
        backends: OpenCV's backends to try in order.
        kind: ``camera``, ``stream``, ``file`` or ``address``.
        options: options of the camera or decoder.
        label_of: returns the label of the frame at a position.
        fix: fix for the error message.

    Raises:
        SourceError: no backend opens it.
    """

    def __init__(
        self,
        target: str | int,
        name: str,
        *,
        backends: Sequence[int],
        kind: Literal["camera", "file", "stream", "address"],
        options: SourceOptions | None = None,
        label_of: Callable[[int], str | None] = lambda _: None,
        fix: str,
    ) -> None:
        self._options = options or SourceOptions()
        self._open: Callable[[], cv2.VideoCapture] = functools.partial(
            open_capture, target, name, backends, kind in ("stream", "address"), self._options, fix
        )
        self._capture = self._open()
        notes = list((configure if kind == "camera" else decoder_notes)(self._capture, self._options))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Streams declare invalid numbers: zero, negative, or larger than any file's.
        frame_count = int(count) if 0 < count < _VIDEO["max_frame_count"] and kind in ("file", "address") else None
        super().__init__(
            name,
            live=kind != "file" and frame_count is None,
            fps=fps if 0 < fps <= _VIDEO["max_fps"] else None,
            frame_count=frame_count,
        )
        self.notes.extend(notes)
        self._stamped = self._capture.getBackendName() == "V4L2"
        self._camera_clock = CameraClock(self.notes)
        self._jpeg = gives_jpeg(self._capture)
        self._label_of = label_of
        self._lock = threading.Lock()
        self._closed = False
        self._begun = False

    def __iter__(self) -> Iterator[Frame]:
        self._rewind()
        grabs = _native.GrabCount(self.frame_count, self._options.read_timeout_s)
        while True:
            with self._lock:
                if self._closed:
                    self._capture.release()
                    return
                begin = time.monotonic_ns()
                grabbed = self._capture.grab()
                arrived = time.monotonic_ns()
                image = self._retrieve() if grabbed else None
                decoded = time.monotonic_ns()
                captured = self._captured_ns(arrived)
            if not grabbed:
                if grabs.failed((arrived - begin) / 1e9):
                    break
                continue
            index = grabs.grabbed(image is not None)
            if image is not None:
                yield Frame(
                    image=image,
                    index=index,
                    name=f"{self.name}#{index}",
                    captured_ns=captured,
                    capture_ms=max(0, captured - begin) / 1e6,
                    decode_ms=(decoded - arrived) / 1e6,
                    label=self._label_of(index),
                )
        self.skipped.extend(Skipped(self.name, loss) for loss in grabs.losses(self.live))

    def _retrieve(self) -> NDArray[np.uint8] | None:
        ok, image = self._capture.retrieve()
        if not ok or image is None:
            return None
        if not self._jpeg:
            return image.astype(np.uint8, copy=False)
        try:
            return decode_image(image.tobytes(), self.name, apply_orientation=False)
        except SourceError:
            return None

    def _captured_ns(self, arrived_ns: int) -> int:
        if not (self._stamped or self._options.camera_clock):
            return arrived_ns
        position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self._stamped:
            return _native.stamped_ns(position_ms, arrived_ns)
        began_us = self._capture.get(cv2.CAP_PROP_STREAM_OPEN_TIME_USEC)
        if began_us <= 0:
            return arrived_ns  # before the camera's first sender report
        age_ns = time.time_ns() - (time.monotonic_ns() - arrived_ns) - round(began_us * 1e3 + position_ms * 1e6)
        return self._camera_clock.captured_ns(age_ns, arrived_ns)

    def _rewind(self) -> None:
        """Rewind if possible; a live source continues."""
        if self._begun and not self.live:
            with self._lock:
                self._capture.release()
                if not self._closed:
                    self._capture = self._open()
                    self._jpeg = gives_jpeg(self._capture)
            self.skipped.clear()
        self._begun = True

    def close(self) -> None:
        self._closed = True
        # A camera may hang in grab(): do not block the caller; the iterating thread releases it.
        if self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
            self._capture.release()
            self._lock.release()
