"""Video files, cameras and streams, through OpenCV."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.images import Skipped, decode_image, quiet_opencv
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.options import SourceOptions

__all__ = ["VideoSource", "backend_names"]

# A camera whose cable is pulled would otherwise be waited for 10 s; OpenCV reads this once, before its first camera.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")

_CLOSE_TIMEOUT_S = 2.0
# Containers round their frame count; a file that was cut off lacks far more.
_MISSING_FRAMES_TOLERATED = 2
_MISSING_SHARE_TOLERATED = 0.01
# OpenCV says of a broken packet and of the end alike that there is no frame: only the next ones tell which it was.
_BROKEN_IN_A_ROW = 100
_BROKEN_IN_A_ROW_LIVE = 10
_STAMP_PLAUSIBLE_NS = 10_000_000_000


def backend_names(backends: Sequence[int]) -> str:
    """OpenCV's names of capture backends, for messages."""
    return ", ".join("any" if b == cv2.CAP_ANY else cv2.videoio_registry.getBackendName(b) for b in backends)


class VideoSource(Source):
    """Anything that `cv2.VideoCapture` opens.

    ``captured_ns`` is the driver's stamp of a V4L2 buffer, or with ``camera_clock`` what an RTSP camera says, else when
    `grab` returned. ``capture_ms`` is `grab`:
    waiting for a camera, and with FFmpeg also the codec's work; ``decode_ms`` is `retrieve`: the way to BGR, and
    with V4L2 the decoding of MJPEG. Motion JPEG through FFmpeg is decoded here, picture by picture, as picture files
    are: it may change its size at any time. FFmpeg's other frames are scaled by OpenCV to the size of the first one.
    Packets that do not decode are left out, counted and named at the end.

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
            _open, target, name, backends, kind in ("stream", "address"), self._options, fix
        )
        self._capture = self._open()
        notes = list((_configure if kind == "camera" else _decoder_notes)(self._capture, self._options))
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
        self._jpeg = _gives_jpeg(self._capture)
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
                    self._jpeg = _gives_jpeg(self._capture)
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


def _open(
    target: str | int, name: str, backends: Sequence[int], network: bool, options: SourceOptions, fix: str
) -> cv2.VideoCapture:
    begin_s = time.monotonic()
    for backend in backends:
        with quiet_opencv():
            if backend == cv2.CAP_GSTREAMER:
                capture = _within(options.open_timeout_s, functools.partial(_try, target, backend, []))
            else:
                capture = _try(target, backend, _parameters(backend, network, options))
        if capture is not None and capture.isOpened():
            return capture
    waited = network and time.monotonic() - begin_s >= options.open_timeout_s
    raise SourceError(
        f"cannot open {name}",
        got=f"nothing that can be decoded within {options.open_timeout_s:g} s"
        if waited
        else f"refused by OpenCV {cv2.__version__} (tried: {backend_names(backends)})",
        expected="a video that decodes, a camera that is connected, or a stream that answers",
        fix=fix,
    )


def _try(target: str | int, backend: int, parameters: list[int]) -> cv2.VideoCapture | None:
    try:
        return cv2.VideoCapture(target, backend, parameters)
    except cv2.error:
        return None


def _within(timeout_s: float, attempt: Callable[[], cv2.VideoCapture | None]) -> cv2.VideoCapture | None:
    """GStreamer waits for ever for a pipeline that never begins, such as one whose source element is missing."""
    made: list[cv2.VideoCapture | None] = []
    thread = threading.Thread(target=lambda: made.append(attempt()), name="edgeproof-opening", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return made[0] if made else None


def _parameters(backend: int, network: bool, options: SourceOptions) -> list[int]:
    """What FFmpeg must be told when it opens; other backends refuse to open with parameters they do not know."""
    if backend not in (cv2.CAP_FFMPEG, cv2.CAP_ANY):
        return []
    parameters: list[int] = []
    if network:
        limits = {
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: options.open_timeout_s,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: options.read_timeout_s,
        }
        parameters += [number for limit, seconds in limits.items() for number in (limit, round(1000 * seconds))]
    # FFmpeg decodes one frame per thread, and gives none before all of them have one.
    threads = options.decode_threads or (1 if network else None)
    if threads is not None:
        parameters += [cv2.CAP_PROP_N_THREADS, threads]
    if options.hardware_decode:
        parameters += [cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_ANY]
    return parameters


def _gives_jpeg(capture: cv2.VideoCapture) -> bool:
    """Whether FFmpeg has been told to hand over the JPEGs of a Motion JPEG video as they are."""
    if capture.getBackendName() != "FFMPEG":
        return False
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    if fourcc.to_bytes(4, "little").upper() != b"MJPG":
        return False
    return bool(capture.set(cv2.CAP_PROP_FORMAT, -1))


def _decoder_notes(capture: cv2.VideoCapture, options: SourceOptions) -> Iterator[str]:
    if options.hardware_decode:
        granted = int(capture.get(cv2.CAP_PROP_HW_ACCELERATION))
        if granted > cv2.VIDEO_ACCELERATION_NONE:
            yield f"hardware decode was granted: {_ACCELERATIONS.get(granted, granted)}"
        else:
            yield "hardware decode was asked for and not granted: the CPU decodes"


_ACCELERATIONS = {
    cv2.VIDEO_ACCELERATION_D3D11: "D3D11",
    cv2.VIDEO_ACCELERATION_VAAPI: "VA-API",
    cv2.VIDEO_ACCELERATION_MFX: "Intel MFX",
}


def _configure(capture: cv2.VideoCapture, options: SourceOptions) -> Iterator[str]:
    """Ask a camera, and say what it gives instead: drivers take the nearest mode that they have."""
    if options.mjpeg:
        fourcc = cv2.VideoWriter.fourcc(*"MJPG")
        capture.set(cv2.CAP_PROP_FOURCC, fourcc)
        if int(capture.get(cv2.CAP_PROP_FOURCC)) != fourcc:
            yield "MJPEG was asked for and not granted"
    if options.resolution is not None:
        width, height = options.resolution
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        given = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if given != options.resolution:
            yield f"{width}x{height} was asked for, the camera gives {given[0]}x{given[1]}"
    if options.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, options.fps)
        fps = capture.get(cv2.CAP_PROP_FPS)
        if abs(fps - options.fps) > 0.5:
            yield f"{options.fps:g} frames/s were asked for, the camera says {fps:g}"
