"""Open the source of ``--source``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edgeproof_runtime.data.bands import Bands, reading
from edgeproof_runtime.data.clip_labels import ClipLabels
from edgeproof_runtime.data.images import natural_order
from edgeproof_runtime.errors import InputError, SourceError
from edgeproof_runtime.sources.adapted import adapted
from edgeproof_runtime.sources.answering import check_answers
from edgeproof_runtime.sources.base import Source
from edgeproof_runtime.sources.gstreamer import (
    csi_pipeline,
    decoder_missing,
    is_camera_number,
    mjpeg_pipeline,
    open_decoded,
    open_pipeline,
    rtsp_pipelines,
)
from edgeproof_runtime.sources.media import MediaSource
from edgeproof_runtime.sources.media_opening import WITHOUT_PYAV, check_address, has_pyav
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.sources.paths import is_standard_input, open_path, path_of
from edgeproof_runtime.sources.synthetic import SyntheticSource
from edgeproof_runtime.sources.video import VideoSource
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.system.redact import redact_address, without_credentials
from edgeproof_runtime.system.spec import SPEC
from edgeproof_runtime.system.steps import step

__all__ = ["check_bands", "is_path", "open_source"]

_NETWORK_SCHEMES = tuple(SPEC["sources"]["schemes"])
_EXPECTED = (
    "an image, a folder, a glob, a video file, - (standard input), a FIFO, a camera (0, /dev/video0, csi://0), "
    "synthetic://640x480@30, "
    f"a URL ({', '.join(_NETWORK_SCHEMES)}) or a GStreamer pipeline ('... ! appsink')"
)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_DEVICE = re.compile(r"/dev/(video\d+|v4l/.+)")
_CAMERA_OPTIONS = ("resolution", "fps", "mjpeg")
_DECODER_OPTIONS = ("hardware_decode", "decode_threads", "camera_clock")


def open_source(
    spec: str,
    *,
    name: str | None = None,
    options: SourceOptions | None = None,
    labels: ClipLabels | None = None,
    label_by_folder: bool = False,
    bands: Bands | None = None,
) -> Source:
    """Open a source of frames.

    Args:
        spec: an image, a folder (with its subfolders), a glob, a video file, a camera (``0``, ``/dev/video0`` or
            ``csi://0``), a URL (RTSP, HTTP, UDP, ...), ``synthetic://640x480@30`` or a GStreamer pipeline (anything
            with `` ! ``).
        name: name; None means ``spec`` without credentials.
        options: options for opening it, and for its frames.
        labels: ground truth of each frame of a clip, or of each file by position.
        label_by_folder: whether an image's label is the name of its folder.
        bands: channels and dtype of the frames, for a model of many channels; None reads colour images.

    Raises:
        SourceError: the source does not exist, holds no images or cannot be opened.
        InputError: an option is not supported by this kind of source.
        UnavailableError: the source requires GStreamer, which this OpenCV does not support.
    """
    if not spec.strip():
        raise SourceError("--source: empty", got=repr(spec), expected=_EXPECTED)
    options, spec = options or SourceOptions(), path_of(spec)
    check_bands(spec, bands)
    with reading(bands), step(f"open source {name or redact_address(spec)}"):
        source = _open(spec, options, labels, label_by_folder)
    if bands is not None and not source.of_pictures:
        source.close()
        raise _three_channels(source.name, bands)
    if name is not None:
        source.name = name
    return adapted(source, options)


def check_bands(spec: str, bands: Bands | None) -> None:
    """Check that a source can give frames of many channels, without opening it.

    Raises:
        InputError: it is a camera, a stream, a pipeline or a test card.
    """
    if bands is not None and not is_path(spec):
        raise _three_channels(redact_address(spec), bands)


def _three_channels(name: str, bands: Bands) -> InputError:
    return InputError(
        f"{name}: the model takes frames of {bands.channels} channels of {bands.dtype}",
        got="a camera, stream or video, which gives 3 channels of uint8",
        expected="files of as many channels: .npy, .tif, or .png with 4",
        fix="pass a file or folder of such images",
    )


def is_path(spec: str) -> bool:
    """Return whether a source is a file, folder or glob, not a camera, address, pipeline or standard input."""
    is_other = " ! " in spec or _SCHEME.match(spec) or _DEVICE.fullmatch(spec) or is_standard_input(spec)
    return not (is_other or is_camera_number(spec))


def _open(spec: str, options: SourceOptions, labels: ClipLabels | None, label_by_folder: bool) -> Source:
    label_of = labels.at if labels is not None else lambda _: None
    if is_path(spec) or is_standard_input(spec):
        options.refuse("a file", *_CAMERA_OPTIONS, "camera_clock")
        return open_path(spec, options, labels, label_by_folder, expected=_EXPECTED)
    if " ! " in spec:
        options.refuse("a GStreamer pipeline", *_CAMERA_OPTIONS, *_DECODER_OPTIONS)
        return open_pipeline(spec, "GStreamer pipeline", options, label_of)
    scheme = _SCHEME.match(spec)
    if scheme is not None:
        return _open_url(spec, scheme.group(1).lower(), options, labels)
    return _open_camera(int(spec) if is_camera_number(spec) else spec, options, label_of)


def _open_camera(target: int | str, options: SourceOptions, label_of: Callable[[int], str | None]) -> Source:
    options.refuse("a camera", "decode_threads", "camera_clock", *(() if options.mjpeg else ("hardware_decode",)))
    present = sorted((str(p) for p in Path("/dev").glob("video*")), key=lambda p: natural_order(Path(p)))
    name = f"camera {target}" if isinstance(target, int) else target
    fix = (
        f"this machine has {', '.join(present)}; choose one that is not in use and readable (group video)"
        if present
        else "this machine has no /dev/video*; connect a camera, or pass it through to the container"
    )
    notes = []
    if options.hardware_decode:
        pipeline = mjpeg_pipeline(f"/dev/video{target}" if isinstance(target, int) else target, options)
        decoded = open_decoded((pipeline,), name, options, label_of, fix)
        if isinstance(decoded, Source):
            return decoded
        notes = [decoded]
    source = VideoSource(
        target,
        name,
        backends=[cv2.CAP_V4L2, cv2.CAP_ANY],
        kind="camera",
        options=options,
        label_of=label_of,
        fix=fix,
    )
    source.notes.extend(notes)
    return source


def _open_url(spec: str, scheme: str, options: SourceOptions, labels: ClipLabels | None) -> Source:
    if scheme == "synthetic":
        options.refuse("a synthetic source", *_CAMERA_OPTIONS, *_DECODER_OPTIONS)
        return SyntheticSource.of(spec, labels)
    label_of = labels.at if labels is not None else lambda _: None
    name = without_credentials(spec)
    if scheme == "csi":
        options.refuse("a CSI camera", "mjpeg", *_DECODER_OPTIONS)
        return open_pipeline(csi_pipeline(spec, options), name, options, label_of)
    if scheme not in _NETWORK_SCHEMES:
        raise SourceError(f"{name}: unsupported scheme", got=f"{scheme}://", expected=_EXPECTED)
    options.refuse("a stream", *_CAMERA_OPTIONS, *(() if scheme in ("rtsp", "rtsps") else ("camera_clock",)))
    address = f"{scheme}{spec[len(scheme) :]}"
    fix = "check the address, the credentials and that the port is reachable from this machine"
    kind: Literal["address", "stream"] = "address" if scheme in ("http", "https") else "stream"
    check_address(address, name)
    if (
        options.hardware_decode
        and not options.camera_clock  # which only FFmpeg reads
        and scheme in ("rtsp", "rtsps")
        and decoder_missing() is None
    ):
        decoded = open_decoded(rtsp_pipelines(address), name, options, label_of, fix)
        if isinstance(decoded, Source):
            return decoded
        options = replace(options, hardware_decode=False)
        source = _open_stream(address, name, kind, options, label_of, fix)
        source.notes.append(decoded)
        return source
    return _open_stream(address, name, kind, options, label_of, fix)


def _open_stream(
    address: str,
    name: str,
    kind: Literal["address", "stream"],
    options: SourceOptions,
    label_of: Callable[[int], str | None],
    fix: str,
) -> Source:
    if has_pyav():
        return MediaSource(address, name, kind=kind, options=options, label_of=label_of, fix=fix)
    check_answers(address, options.open_timeout_s, fix)
    source = VideoSource(
        address,
        name,
        backends=[cv2.CAP_FFMPEG, cv2.CAP_GSTREAMER],
        kind=kind,
        options=options,
        label_of=label_of,
        fix=fix,
    )
    source.notes.append(WITHOUT_PYAV)
    return source
