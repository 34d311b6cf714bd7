"""Opening OpenCV's captures: what is asked of cameras and decoders, and what they grant."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import cv2

from edgeproof_runtime.data.images import quiet_opencv
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources.options import SourceOptions

__all__ = ["configure", "decoder_notes", "gives_jpeg", "open_capture"]

# A camera whose cable is pulled would otherwise be waited for 10 s; OpenCV reads this once, before its first camera.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")

_ACCELERATIONS = {
    cv2.VIDEO_ACCELERATION_D3D11: "D3D11",
    cv2.VIDEO_ACCELERATION_VAAPI: "VA-API",
    cv2.VIDEO_ACCELERATION_MFX: "Intel MFX",
}


def _names_of(backends: Sequence[int]) -> str:
    return ", ".join("any" if b == cv2.CAP_ANY else cv2.videoio_registry.getBackendName(b) for b in backends)


def open_capture(
    target: str | int, name: str, backends: Sequence[int], network: bool, options: SourceOptions, fix: str
) -> cv2.VideoCapture:
    """Open a capture.

    Args:
        target: a file, URL, pipeline, or camera index.
        name: what to call it, without credentials.
        backends: OpenCV's backends to try in order.
        network: whether FFmpeg needs a time limit, and one thread.
        options: what to ask of the decoder.
        fix: how to mend it if it does not open.

    Raises:
        SourceError: no backend opens it.
    """
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
        else f"refused by OpenCV {cv2.__version__} (tried: {_names_of(backends)})",
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


def gives_jpeg(capture: cv2.VideoCapture) -> bool:
    """Whether FFmpeg has been told to hand over the JPEGs of a Motion JPEG video as they are."""
    if capture.getBackendName() != "FFMPEG":
        return False
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    if fourcc.to_bytes(4, "little").upper() != b"MJPG":
        return False
    return bool(capture.set(cv2.CAP_PROP_FORMAT, -1))


def decoder_notes(capture: cv2.VideoCapture, options: SourceOptions) -> Iterator[str]:
    """Whether hardware decoding was granted, where it was asked for."""
    if options.hardware_decode:
        granted = int(capture.get(cv2.CAP_PROP_HW_ACCELERATION))
        if granted > cv2.VIDEO_ACCELERATION_NONE:
            yield f"hardware decode was granted: {_ACCELERATIONS.get(granted, granted)}"
        else:
            yield "hardware decode was asked for and not granted: the CPU decodes"


def configure(capture: cv2.VideoCapture, options: SourceOptions) -> Iterator[str]:
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
