"""Open the source of ``--source``."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import cv2

from edgeproof_runtime.data.bands import Bands, reading
from edgeproof_runtime.data.clip_labels import ClipLabels
from edgeproof_runtime.data.images import find_images, looks_like_image, natural_order
from edgeproof_runtime.errors import InputError, SourceError, UnavailableError
from edgeproof_runtime.sources.adapted import adapted
from edgeproof_runtime.sources.answering import check_answers
from edgeproof_runtime.sources.base import Source
from edgeproof_runtime.sources.capturing import file_backends
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.sources.pictures import PictureSource
from edgeproof_runtime.sources.synthetic import SyntheticSource
from edgeproof_runtime.sources.video import VideoSource
from edgeproof_runtime.system.redact import redact_address, without_credentials
from edgeproof_runtime.system.regular import is_file, is_folder, real_path

__all__ = ["check_bands", "csi_pipeline", "is_path", "open_source"]

_NETWORK_SCHEMES = ("http", "https", "rtmp", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
_EXPECTED = (
    "an image, a folder, a glob, a video file, a camera (0, /dev/video0, csi://0), synthetic://640x480@30, "
    f"a URL ({', '.join(_NETWORK_SCHEMES)}) or a GStreamer pipeline ('... ! appsink')"
)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_DEVICE = re.compile(r"/dev/(video\d+|v4l/.+)")
_CAMERA_OPTIONS = ("resolution", "fps", "mjpeg")
_DECODER_OPTIONS = ("hardware_decode", "decode_threads", "camera_clock")
_MOTION_JPEG = (".mjpg", ".mjpeg")  # starts like an image file, but is a video
_DEFAULT_CSI = (1280, 720), 30.0


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
    options = options or SourceOptions()
    check_bands(spec, bands)
    with reading(bands):
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
    """Return whether a source is a file, folder or glob, not a camera, address or pipeline."""
    return not (" ! " in spec or _SCHEME.match(spec) or spec.isdecimal() or _DEVICE.fullmatch(spec))


def _open(spec: str, options: SourceOptions, labels: ClipLabels | None, label_by_folder: bool) -> Source:
    label_of = labels.at if labels is not None else lambda _: None
    if is_path(spec):
        options.refuse("a file", *_CAMERA_OPTIONS, "camera_clock")
        return _open_path(spec, options, labels, label_by_folder)
    if " ! " in spec:
        options.refuse("a GStreamer pipeline", *_CAMERA_OPTIONS, *_DECODER_OPTIONS)
        return _open_pipeline(spec, "GStreamer pipeline", options, label_of)
    scheme = _SCHEME.match(spec)
    if scheme is not None:
        return _open_url(spec, scheme.group(1).lower(), options, labels)
    return _open_camera(int(spec) if spec.isdecimal() else spec, options, label_of)


def _open_path(spec: str, options: SourceOptions, labels: ClipLabels | None, label_by_folder: bool) -> Source:
    def label_of(index: int, path: Path) -> str | None:
        if label_by_folder:
            return real_path(path).parent.name
        return labels.at(index) if labels is not None else None

    path = Path(spec)
    if is_folder(path):
        found, others = find_images(path)
        if not found:
            raise SourceError(f"{spec}: no images", got=f"{len(others)} other files", expected="JPEG, PNG, ...")
        return PictureSource(spec, path, found, label_of=label_of, others=others)
    if is_file(path):
        if path.stat().st_size == 0:
            raise SourceError(f"{spec}: empty file", got="0 bytes", expected="an image or a video")
        if looks_like_image(path) and path.suffix.lower() not in _MOTION_JPEG:
            return PictureSource(spec, path.parent, [path], label_of=label_of)
        return VideoSource(
            str(path),
            path.name,
            backends=file_backends(),
            kind="file",
            options=options,
            label_of=labels.at if labels is not None else lambda _: None,
            fix="check that another player opens it; copy it again, or convert it to H.264 in MP4",
        )
    if glob.has_magic(spec):
        matches = sorted((Path(m) for m in glob.glob(spec, recursive=True)), key=natural_order)  # noqa: PTH207
        files = [p for p in matches if p.is_file()]
        if not files:
            raise SourceError(f"{redact_address(spec)}: no matching file", fix="quote the pattern and check the folder")
        if len(files) == 1:
            return _open_path(str(files[0]), options, labels, label_by_folder)
        found = [p for p in files if looks_like_image(p)]
        others = [p for p in files if p not in found]
        return PictureSource(spec, _common_folder(files), found, label_of=label_of, others=others)
    raise SourceError(f"{redact_address(spec)}: source not found", expected=_EXPECTED)


def _common_folder(files: Sequence[Path]) -> Path:
    folder = files[0].parent
    while not all(p.is_relative_to(folder) for p in files):
        folder = folder.parent
    return folder


def _open_camera(target: int | str, options: SourceOptions, label_of: Callable[[int], str | None]) -> Source:
    options.refuse("a camera", *_DECODER_OPTIONS)
    present = sorted((str(p) for p in Path("/dev").glob("video*")), key=lambda p: natural_order(Path(p)))
    return VideoSource(
        target,
        f"camera {target}" if isinstance(target, int) else target,
        backends=[cv2.CAP_V4L2, cv2.CAP_ANY],
        kind="camera",
        options=options,
        label_of=label_of,
        fix=(
            f"this machine has {', '.join(present)}; choose one that is not in use and readable (group video)"
            if present
            else "this machine has no /dev/video*; connect a camera, or pass it through to the container"
        ),
    )


def _open_url(spec: str, scheme: str, options: SourceOptions, labels: ClipLabels | None) -> Source:
    if scheme == "synthetic":
        options.refuse("a synthetic source", *_CAMERA_OPTIONS, *_DECODER_OPTIONS)
        return SyntheticSource.of(spec, labels)
    label_of = labels.at if labels is not None else lambda _: None
    name = without_credentials(spec)
    if scheme == "csi":
        options.refuse("a CSI camera", "mjpeg", *_DECODER_OPTIONS)
        return _open_pipeline(csi_pipeline(spec, options), name, options, label_of)
    if scheme not in _NETWORK_SCHEMES:
        raise SourceError(f"{name}: unsupported scheme", got=f"{scheme}://", expected=_EXPECTED)
    options.refuse("a stream", *_CAMERA_OPTIONS, *(() if scheme in ("rtsp", "rtsps") else ("camera_clock",)))
    fix = "check the address, the credentials and that the port is reachable from this machine"
    check_answers(spec, options.open_timeout_s, fix)
    return VideoSource(
        spec,
        name,
        backends=[cv2.CAP_FFMPEG, cv2.CAP_GSTREAMER],
        kind="address" if scheme in ("http", "https") else "stream",
        options=options,
        label_of=label_of,
        fix=fix,
    )


def csi_pipeline(spec: str, options: SourceOptions) -> str:
    """Return the GStreamer pipeline of a Jetson's CSI camera, after NVIDIA's Accelerated GStreamer guide.

    Args:
        spec: ``csi://N``, N the number of the sensor.
        options: resolution and rate; default 1280x720 at 30 frames/s.

    Raises:
        SourceError: N is not a number.
    """
    sensor = spec.removeprefix("csi://").rstrip("/")
    if not sensor.isdecimal():
        raise SourceError(
            f"{spec}: cannot open", got=sensor or "no number", expected="csi:// and a number, such as csi://0"
        )
    width, height = options.resolution or _DEFAULT_CSI[0]
    rate = Fraction(options.fps or _DEFAULT_CSI[1]).limit_denominator(1001)
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},framerate={rate.numerator}/{rate.denominator} ! "
        "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! "
        "appsink drop=true max-buffers=1 sync=false"
    )


def _open_pipeline(spec: str, name: str, options: SourceOptions, label_of: Callable[[int], str | None]) -> Source:
    if not re.search(r"!\s*appsink\b", spec):
        raise SourceError(
            "GStreamer pipeline: must end in appsink",
            got=redact_address(spec),
            expected="... ! videoconvert ! video/x-raw,format=BGR ! appsink",
        )
    if not _has_gstreamer():
        raise UnavailableError(
            f"{name}: requires OpenCV with GStreamer",
            got=f"OpenCV {cv2.__version__} built without GStreamer",
            expected="an OpenCV with GStreamer: YES in cv2.getBuildInformation()",
            fix="use the OpenCV of JetPack or of the distribution (python3-opencv), or a camera or URL as source",
        )
    if "nvarguscamerasrc" in spec and not _has_plugin("nvarguscamerasrc"):
        raise UnavailableError(
            f"{name}: requires the Jetson camera stack",
            got="no GStreamer element nvarguscamerasrc",
            expected="a Jetson with JetPack's nvidia-l4t-camera",
        )
    return VideoSource(
        spec,
        name,
        backends=[cv2.CAP_GSTREAMER],
        kind="stream" if name.startswith("csi:") else "address",
        options=options,
        label_of=label_of,
        fix="run it with gst-launch-1.0 to see which element fails (autovideosink in place of appsink)",
    )


def _has_gstreamer() -> bool:
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None


def _has_plugin(element: str) -> bool:
    """Return whether a GStreamer plugin named after an element is in the distributions' plugin folders."""
    folders = [*Path("/usr/lib").glob("*/gstreamer-1.0"), Path("/usr/lib/gstreamer-1.0")]
    folders += [Path(folder) for folder in os.environ.get("GST_PLUGIN_PATH", "").split(os.pathsep) if folder]
    return any((folder / f"libgst{element}.so").exists() for folder in folders)
