"""Open OpenCV captures, and configure cameras and decoders."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from edgeproof_runtime.data.images import quiet_opencv
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.system.opencv import cv2

__all__ = ["configure", "decoder_notes", "file_backends", "gives_jpeg", "open_capture"]

# Wait less than OpenCV's 10 s for an unplugged camera; OpenCV reads this once, before its first camera.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")

_ACCELERATIONS = {
    cv2.VIDEO_ACCELERATION_D3D11: "D3D11",
    cv2.VIDEO_ACCELERATION_VAAPI: "VA-API",
    cv2.VIDEO_ACCELERATION_MFX: "Intel MFX",
}


def _names_of(backends: Sequence[int]) -> str:
    return ", ".join("any" if b == cv2.CAP_ANY else cv2.videoio_registry.getBackendName(b) for b in backends)


def file_backends() -> list[int]:
    """Return OpenCV's backends for video files. GStreamer, one of ``any``, waits for ever for the end of some."""
    if cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends():
        return [cv2.CAP_FFMPEG, cv2.CAP_OPENCV_MJPEG, cv2.CAP_IMAGES]
    return [cv2.CAP_ANY]


def open_capture(
    target: str | int, name: str, backends: Sequence[int], network: bool, options: SourceOptions, fix: str
) -> cv2.VideoCapture:
    """Open a capture.

    Args:
        target: file, URL, pipeline, or camera index.
        name: name without credentials.
        backends: OpenCV's backends to try in order.
        network: whether to give FFmpeg a time limit and one thread.
        options: options of the decoder.
        fix: fix for the error message.

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
        f"{name}: cannot open",
        got=f"no decodable data within {options.open_timeout_s:g} s"
        if waited
        else f"refused by OpenCV {cv2.__version__} (tried: {_names_of(backends)})",
        expected="a decodable video, a connected camera, or a responding stream",
        fix=fix,
    )


def _try(target: str | int, backend: int, parameters: list[int]) -> cv2.VideoCapture | None:
    try:
        return cv2.VideoCapture(target, backend, parameters)
    except cv2.error:
        return None


def _within(timeout_s: float, attempt: Callable[[], cv2.VideoCapture | None]) -> cv2.VideoCapture | None:
    """Open with a time limit: GStreamer waits for ever for a pipeline that never starts."""
    made: list[cv2.VideoCapture | None] = []
    thread = threading.Thread(target=lambda: made.append(attempt()), name="edgeproof-opening", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return made[0] if made else None


def _parameters(backend: int, network: bool, options: SourceOptions) -> list[int]:
    """Return FFmpeg's opening parameters; other backends refuse to open with unknown parameters."""
    if backend not in (cv2.CAP_FFMPEG, cv2.CAP_ANY):
        return []
    parameters: list[int] = []
    if network:
        limits = {
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: options.open_timeout_s,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC: options.read_timeout_s,
        }
        parameters += [number for limit, seconds in limits.items() for number in (limit, round(1000 * seconds))]
    # FFmpeg decodes one frame per thread, and returns the first when all threads have one.
    threads = options.decode_threads or (1 if network else None)
    if threads is not None and hasattr(cv2, "CAP_PROP_N_THREADS"):  # not in OpenCV 4.5 and 4.6
        parameters += [cv2.CAP_PROP_N_THREADS, threads]
    if options.hardware_decode:
        parameters += [cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_ANY]
    return parameters


def gives_jpeg(capture: cv2.VideoCapture) -> bool:
    """Set FFmpeg to return the JPEGs of a Motion JPEG video undecoded; return whether it does."""
    if capture.getBackendName() != "FFMPEG":
        return False
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    if fourcc.to_bytes(4, "little").upper() != b"MJPG":
        return False
    return bool(capture.set(cv2.CAP_PROP_FORMAT, -1))


def decoder_notes(capture: cv2.VideoCapture, options: SourceOptions) -> Iterator[str]:
    """Yield notes on requests that were granted or not: threads of the decoder, hardware decoding."""
    if options.decode_threads is not None and not hasattr(cv2, "CAP_PROP_N_THREADS"):
        yield f"decode threads: requested, not granted; OpenCV {cv2.__version__} has no such setting"
    if options.hardware_decode:
        granted = int(capture.get(cv2.CAP_PROP_HW_ACCELERATION))
        if granted > cv2.VIDEO_ACCELERATION_NONE:
            yield f"hardware decoding: granted, {_ACCELERATIONS.get(granted, granted)}"
        else:
            yield "hardware decoding: requested, not granted; the CPU decodes"


def configure(capture: cv2.VideoCapture, options: SourceOptions) -> Iterator[str]:
    """Configure a camera, and yield notes on differences: drivers choose their nearest mode."""
    if options.mjpeg:
        fourcc = cv2.VideoWriter.fourcc(*"MJPG")
        capture.set(cv2.CAP_PROP_FOURCC, fourcc)
        if int(capture.get(cv2.CAP_PROP_FOURCC)) != fourcc:
            yield "MJPEG: requested, not granted"
    if options.resolution is not None:
        width, height = options.resolution
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        given = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if given != options.resolution:
            yield f"resolution: {width}x{height} requested, the camera gives {given[0]}x{given[1]}"
    if options.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, options.fps)
        fps = capture.get(cv2.CAP_PROP_FPS)
        if abs(fps - options.fps) > 0.5:
            yield f"frame rate: {options.fps:g} frames/s requested, the camera reports {fps:g}"
