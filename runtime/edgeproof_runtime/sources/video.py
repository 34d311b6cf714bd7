"""Video files, cameras and streams, through OpenCV."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.images import decode_image
from edgeproof_runtime.errors import Skipped, SourceError
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.capturing import configure, decoder_notes, gives_jpeg, open_capture
from edgeproof_runtime.sources.options import SourceOptions

__all__ = ["VideoSource"]

_CLOSE_TIMEOUT_S = 2.0
# Containers round their frame count; a file that was cut off lacks far more.
_MISSING_FRAMES_TOLERATED = 2
_MISSING_SHARE_TOLERATED = 0.01
# OpenCV says of a broken packet and of the end alike that there is no frame: only the next ones tell which it was.
_BROKEN_IN_A_ROW = 100
_BROKEN_IN_A_ROW_LIVE = 10
_STAMP_PLAUSIBLE_NS = 10_000_000_000


class VideoSource(Source):
    """Anything that `cv2.VideoCapture` opens.

    ``captured_ns`` is the driver's stamp of a V4L2 buffer, or with ``camera_clock`` what an RTSP camera says, else when
    `grab` returned. ``capture_ms`` is `grab`: waiting for a camera, and with FFmpeg also the codec's work.
    ``decode_ms`` is `retrieve`: the way to BGR, and with V4L2 the decoding of MJPEG.

    Motion JPEG through FFmpeg is decoded here, picture by picture, as picture files are: it may change its size at any
    time. FFmpeg's other frames are scaled by OpenCV to the size of the first one. Packets that do not decode are left
    out, counted and named at the end.

    Args:
        target: a file, URL, pipeline, or camera index.
        name: what to call it, without credentials.
        backends: OpenCV's backends to try in order.
        kind: a ``camera`` and a ``stream`` are live whatever they claim, a ``file`` is not, an ``address`` is if it
            claims no number of frames. Streams and addresses are given a time limit, and one decoder thread, because
            each further one holds a frame back.
        options: what to ask of the camera or decoder.
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
        # Streams claim nonsense: no frames, negative ones, or more than any file has.
        frame_count = int(count) if 0 < count < 1e9 and kind in ("file", "address") else None
        super().__init__(
            name,
            live=kind != "file" and frame_count is None,
            fps=fps if 0 < fps <= 1000 else None,
            frame_count=frame_count,
        )
        self.notes.extend(notes)
        self._stamped = self._capture.getBackendName() == "V4L2"
        self._clocks_differ = False
        self._jpeg = gives_jpeg(self._capture)
        self._label_of = label_of
        self._lock = threading.Lock()
        self._closed = False
        self._begun = False

    def __iter__(self) -> Iterator[Frame]:
        self._rewind()
        index = broken = in_a_row = 0
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
                in_a_row += 1
                if self._is_the_end(index, in_a_row, (arrived - begin) / 1e9):
                    break
                continue
            index, broken, in_a_row = index + in_a_row, broken + in_a_row, 0
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
            else:
                broken += 1
            index += 1
        if broken:
            self.skipped.append(Skipped(self.name, f"{broken} of {index} frames could not be decoded"))
        self._report_end(index)

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
            return stamped_ns(position_ms, arrived_ns)
        began_us = self._capture.get(cv2.CAP_PROP_STREAM_OPEN_TIME_USEC)
        if began_us <= 0:
            return arrived_ns  # the camera's first report is still to come
        age_ns = time.time_ns() - (time.monotonic_ns() - arrived_ns) - round(began_us * 1e3 + position_ms * 1e6)
        if 0 <= age_ns < _STAMP_PLAUSIBLE_NS:
            return arrived_ns - age_ns
        if not self._clocks_differ:
            self._clocks_differ = True
            seem = f"its frames seem {age_ns / 1e9:.1f} s old by the camera's clock"
            self.notes.append(f"{seem}, which cannot be; arrival is taken instead")
        return arrived_ns

    def _rewind(self) -> None:
        """Begin anew where this is possible; a live source goes on."""
        if self._begun and not self.live:
            with self._lock:
                self._capture.release()
                if not self._closed:
                    self._capture = self._open()
                    self._jpeg = gives_jpeg(self._capture)
            self.skipped.clear()
        self._begun = True

    def _is_the_end(self, index: int, in_a_row: int, waited_s: float) -> bool:
        # A broken packet is refused at once; whoever waited has run into the time limit.
        if waited_s > self._options.read_timeout_s / 2:
            return True
        if self.frame_count is None:
            return in_a_row > _BROKEN_IN_A_ROW_LIVE
        return index + in_a_row > self.frame_count or in_a_row > _BROKEN_IN_A_ROW

    def _report_end(self, frames: int) -> None:
        if self.live:
            self.skipped.append(Skipped(self.name, f"stopped giving frames after {frames}"))
            return
        missing = (self.frame_count or frames) - frames
        if missing > max(_MISSING_FRAMES_TOLERATED, (frames + missing) * _MISSING_SHARE_TOLERATED):
            why = f"gave {frames} of {frames + missing} frames; it is cut off or damaged"
            self.skipped.append(Skipped(self.name, why))

    def close(self) -> None:
        self._closed = True
        # A camera that hangs in grab() must not hang its owner too; the iterating thread releases it then.
        if self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
            self._capture.release()
            self._lock.release()


def stamped_ns(stamp_ms: float, arrived_ns: int) -> int:
    """When a frame was captured, by the monotonic clock.

    Args:
        stamp_ms: what a V4L2 driver stamped on the buffer, milliseconds of the monotonic clock; 0 for none.
        arrived_ns: when the frame was handed over.

    Returns:
        The stamp in nanoseconds where it lies in the 10 s before ``arrived_ns``: drivers may stamp by another clock,
        or not at all. Else ``arrived_ns``.
    """
    stamp_ns = round(stamp_ms * 1e6)
    return stamp_ns if 0 <= arrived_ns - stamp_ns < _STAMP_PLAUSIBLE_NS else arrived_ns
