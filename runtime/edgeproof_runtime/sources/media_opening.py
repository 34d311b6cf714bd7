"""Open files and addresses through FFmpeg (PyAV)."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources.causes import Cause, cause_of, invalid_host, no_decoder, no_video, text_instead
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.sources.pipe import PipeReader, PipeTimeoutError
from edgeproof_runtime.system.regular import open_regular
from edgeproof_runtime.system.spec import SPEC

if TYPE_CHECKING:
    import av
    import av.codec.hwaccel
    import av.container
    import av.logging

__all__ = ["MISSING_SEGMENT", "PYAV", "WITHOUT_PYAV", "Media", "check_address", "has_pyav", "log_lines", "open_media"]

PYAV = 17
WITHOUT_PYAV = (
    f"PyAV {PYAV} is not installed: OpenCV reads this source, without status codes, timestamps and the detection of "
    f"damaged frames (pip install 'av>={PYAV}')"
)
_OTHERS_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # KEY;VALUE|KEY;VALUE, as OpenCV reads it
_REFUSED_FORMATS = ("lavfi", "tty")  # a filter graph, and any text as a screen
_TEXT_BYTES = 512
_SECONDS_OF_TEXT_CHECK = 3.0
_SILENT_DECODERS = tuple(SPEC["sources"]["silent_codecs"])
MISSING_SEGMENT = "Failed to open segment"  # FFmpeg's message of a playlist
_NOT_GRANTED = "hardware decoding: requested, not granted; the CPU decodes"


@dataclass(slots=True)
class Media:
    """An opened video.

    Attributes:
        container: FFmpeg's demuxer.
        stream: the video stream.
        reader: the pipe it comes from, or None.
        notes: requests that were not granted.
        cut: whether a part of it was missing already when it was opened.
        closed: whether it is released.
    """

    container: av.container.InputContainer
    stream: av.VideoStream
    reader: PipeReader | None = None
    notes: list[str] = field(default_factory=list)
    cut: bool = False
    closed: bool = False

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Release it; no thread may be reading. Safe to call twice."""
        if self.closed:
            return
        self.closed = True
        context = self.stream.codec_context
        # FFmpeg's decoder threads may log, which needs Python's lock; they must be idle when it frees them.
        if context is not None and context.is_open:
            context.flush_buffers()
        self.container.close()
        if self.reader is not None:
            self.reader.close()


@functools.cache
def pyav_version() -> int:
    """Return the major version of the installed PyAV, without importing it; 0 where it is missing."""
    try:
        return int(importlib.metadata.version("av").partition(".")[0])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return 0


def has_pyav() -> bool:
    """Return whether PyAV is installed in a version that this reads videos with, without importing it."""
    return pyav_version() >= PYAV


def check_address(address: str, name: str) -> None:
    """Check an address without connecting.

    Raises:
        SourceError: its port is not a number, mostly because of an unencoded character of a password.
    """
    authority = re.split(r"[/?#]", address.partition("://")[2], maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    port = re.fullmatch(r"(?:\[[^\]]*\]|[^:]*)(?::(\d{0,5}))?", host)
    if port is not None and int(port[1] or 0) < 1 << 16:
        return
    raise invalid_host(name)


@functools.cache
def _listen() -> None:
    """Have FFmpeg log warnings and errors, unless the program has set a level."""
    import av.logging

    if av.logging.get_level() is not None:
        return
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)
    ours = logging.getLogger("libav")
    # PyAV prints what nobody collects. A program that configured the logger keeps its lines.
    if not ours.handlers and ours.level == logging.WARNING:
        ours.setLevel(logging.CRITICAL + 1)


@contextmanager
def log_lines() -> Iterator[list[tuple[int, str, str]]]:
    """Collect FFmpeg's warnings and errors of this thread: (level, component, text)."""
    import av.logging

    _listen()
    with av.logging.Capture() as lines:
        yield lines


class _Remaining:
    """The rest of a time limit, read whenever FFmpeg begins another step of opening."""

    def __init__(self, seconds: float) -> None:
        self._end_s = time.monotonic() + seconds

    def __float__(self) -> float:
        return max(0.001, self._end_s - time.monotonic())


def open_media(
    target: str | Callable[[], PipeReader],
    name: str,
    *,
    network: bool,
    options: SourceOptions,
    fix: str,
) -> Media:
    """Open a video.

    Args:
        target: address (``file:`` for files), or a function that opens a pipe.
        name: name without credentials.
        network: whether to give FFmpeg a time limit and one decoder thread.
        options: options of the decoder.
        fix: fix for an error whose cause is not known.

    Raises:
        SourceError: it cannot be opened, or holds no video that FFmpeg can decode.
    """
    reader = None if isinstance(target, str) else target()
    begin_s = time.monotonic()
    said: list[str] = []
    try:
        accelerated, notes = _acceleration(options)
        if reader is not None:
            reader.limit(options.open_timeout_s)
        container = _opened(reader or target, said, network, options, accelerated)
        if reader is not None:
            reader.limit(None)
    except Exception as error:
        if reader is not None:
            reader.close()
        waited = isinstance(error, PipeTimeoutError) or (
            (network or reader is not None) and time.monotonic() - begin_s >= options.open_timeout_s
        )
        scheme = target.partition(":")[0] if isinstance(target, str) else None
        cause = cause_of(error, said, options.open_timeout_s if waited else None, scheme=scheme)
        raise _refused(name, _text_or(cause, target, options), fix) from error
    try:
        stream = _video_of(container, said)
        _prepare(stream, network, options)
    except _RefusedError as error:
        container.close()
        if reader is not None:
            reader.close()
        raise _refused(name, error.cause, fix) from None
    if accelerated is not None:
        granted = getattr(stream.codec_context, "is_hwaccel", False)
        notes = [f"hardware decoding: granted, {accelerated[0].upper()}"] if granted else [_NOT_GRANTED]
    return Media(container, stream, reader, notes, cut=any(MISSING_SEGMENT in line for line in said))


class _RefusedError(Exception):
    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.got)
        self.cause = cause


def _refused(name: str, cause: Cause, fix: str) -> SourceError:
    return SourceError(
        f"{name}: cannot open",
        got=cause.got,
        expected="a decodable video, or a responding stream",
        fix=cause.fix or fix,
    )


def _opened(
    target: Any, said: list[str], network: bool, options: SourceOptions, accelerated: tuple[str, Any] | None
) -> av.container.InputContainer:
    import av

    settings = _settings(target) if network else {}
    limits = (_Remaining(options.open_timeout_s), options.read_timeout_s) if network else (None, None)
    # PyAV 19 replaces what is not UTF-8 in metadata; before, it is an error unless asked.
    further: dict[str, Any] = {"metadata_errors": "replace"} if pyav_version() < 19 else {}

    container: av.container.InputContainer | None

    def attempt(form: str | None) -> av.container.InputContainer:
        with log_lines() as lines:
            try:
                opened = av.open(
                    target,
                    "r",
                    format=form,
                    options=dict(settings),
                    timeout=cast(Any, limits),
                    hwaccel=None if accelerated is None else accelerated[1],
                    **further,
                )
            finally:
                said.extend(f"[{component}] {text.strip()}" for _, component, text in lines)
        return cast("av.container.InputContainer", opened)

    def attempt_images() -> av.container.InputContainer | None:
        """Read the images of Motion JPEG without the parts that FFmpeg's demuxer expects around them."""
        before = list(said)
        settings["fpsprobesize"] = "0"
        with suppress(av.FFmpegError):
            opened = attempt("mjpeg")
            if any(s.width for s in opened.streams.video):
                return opened
            opened.close()
        said[:] = before
        return None

    over_http = isinstance(target, str) and target.startswith(("http:", "https:"))
    try:
        container = attempt(None)
    except av.InvalidDataError:
        # Cameras of the ESP32 send their first image without a boundary before it, which FFmpeg's demuxer refuses.
        container = attempt_images() if over_http else None
        if container is None:
            raise
    if over_http and container.format.name == "mpjpeg" and not any(s.width for s in container.streams.video):
        # It gives nothing of parts without a type, or with lines that end in a line feed alone.
        images = attempt_images()
        if images is not None:
            container.close()
            container = images
    if container.format.name in _REFUSED_FORMATS:
        container.close()
        raise ValueError("Invalid data found")
    return container


def _settings(address: str) -> dict[str, str]:
    """Return FFmpeg's options for an address: TCP before UDP for RTSP, and what the environment sets."""
    settings: dict[str, str] = {}
    if address.startswith(("rtsp:", "rtsps:")) and not re.search(r"[?&](udp|multicast|http|tcp)\b", address):
        settings["rtsp_flags"] = "prefer_tcp"
    for pair in filter(None, os.environ.get(_OTHERS_OPTIONS, "").split("|")):
        key, _, value = pair.partition(";")
        settings[key] = value
        if key == "rtsp_transport":
            settings.pop("rtsp_flags", None)
    return settings


def _video_of(container: av.container.InputContainer, said: list[str]) -> av.VideoStream:
    from av.stream import Disposition

    found = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not found:
        others = [s.codec_context.name if s.codec_context is not None else "unknown" for s in container.streams]
        kinds = [f"{s.type} ({codec})" for s, codec in zip(container.streams, others, strict=True)]
        raise _RefusedError(no_video(kinds))
    best = container.streams.best("video")
    stream = next((s for s in found if best is not None and s.index == best.index), found[0])
    if stream.codec_context is None:
        raise _RefusedError(no_decoder(said, None))
    return stream


def _prepare(stream: av.VideoStream, network: bool, options: SourceOptions) -> None:
    context = stream.codec_context
    context.copy_opaque = True
    # FFmpeg decodes one frame per thread, and returns the first when all threads have one.
    context.thread_type = "AUTO"
    context.thread_count = options.decode_threads or (1 if network else 0)
    if context.name in _SILENT_DECODERS:
        # These conceal a missing reference without flagging the frame; this makes them refuse it.
        context.options = {**(context.options or {}), "err_detect": "explode"}


def _acceleration(options: SourceOptions) -> tuple[tuple[str, Any] | None, list[str]]:
    """Return the name and FFmpeg's settings of a device that decodes, if one was requested and works."""
    if not options.hardware_decode:
        return None, []
    import av
    from av.codec.hwaccel import HWAccel, hwdevices_available

    for device in hwdevices_available():
        with suppress(Exception), log_lines():
            trial = HWAccel(device, allow_software_fallback=False)
            trial.create(av.Codec("h264", "r"))
            return (device, HWAccel(device, allow_software_fallback=True)), []
    return None, [_NOT_GRANTED]


def _text_or(cause: Cause, target: object, options: SourceOptions) -> Cause:
    """Look at what a file or HTTP server gave that is no video."""
    if cause.key not in ("not-video", "no-index", "closed", "cut", "other", "timeout") or not isinstance(target, str):
        return cause
    begin = b""
    if target.startswith("file:"):
        with suppress(OSError), open_regular(Path(target.removeprefix("file:")), sys.maxsize) as file:
            begin = file.read(_TEXT_BYTES)
    elif target.startswith(("http:", "https:")) and cause.key != "timeout":
        begin = _first_bytes(target, min(options.open_timeout_s, _SECONDS_OF_TEXT_CHECK))
    return text_instead(begin) or cause


def _first_bytes(address: str, timeout_s: float) -> bytes:
    """Ask an HTTP server once more for its first bytes, after FFmpeg found no video in them."""
    import base64
    import http.client
    import urllib.request
    from urllib.parse import unquote, urlsplit, urlunsplit

    try:
        parts = urlsplit(address)
        plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        request = urllib.request.Request(plain)  # noqa: S310 - http and https only
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            request.add_header("Authorization", "Basic " + base64.b64encode(secret.encode()).decode())
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310
            return cast(bytes, response.read(_TEXT_BYTES))
    except (OSError, ValueError, http.client.HTTPException):
        return b""
