"""What a person types after ``--source`` becomes a source."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.images import find_images, looks_like_image, natural_order
from edgeproof_runtime.sources.base import Source
from edgeproof_runtime.sources.labels import ClipLabels
from edgeproof_runtime.sources.pictures import PictureSource
from edgeproof_runtime.sources.video import VideoSource

__all__ = ["open_source", "without_credentials"]

_NETWORK_SCHEMES = ("http", "https", "rtmp", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")
_EXPECTED = (
    "a picture, a folder, a glob, a video file, a camera (0, /dev/video0), "
    f"a URL ({', '.join(_NETWORK_SCHEMES)}) or a GStreamer pipeline ('... ! appsink')"
)
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")


def open_source(spec: str, *, labels: ClipLabels | None = None, label_by_folder: bool = False) -> Source:
    """Open a source of frames.

    Args:
        spec: a picture, a folder (with its subfolders), a glob, a video file, a camera (``0`` or
            ``/dev/video0``), a URL (RTSP, HTTP, UDP, ...) or a GStreamer pipeline (anything with `` ! ``).
        labels: what each frame of a clip, or each file by its position, shows.
        label_by_folder: whether a picture's label is the name of the folder it lies in.

    Raises:
        SourceError: it does not exist, holds no pictures or cannot be opened.
    """
    if not spec.strip():
        raise SourceError("no source was given", got=repr(spec), expected=_EXPECTED)
    if " ! " in spec:
        return _open_pipeline(spec, _by_index(labels))
    scheme = _SCHEME.match(spec)
    if scheme is not None:
        return _open_url(spec, scheme.group(1).lower(), _by_index(labels))
    if spec.isdecimal():
        return _open_camera(int(spec), f"camera {spec}", _by_index(labels))
    if re.fullmatch(r"/dev/video\d+", spec):
        return _open_camera(spec, spec, _by_index(labels))
    return _open_path(spec, labels, label_by_folder)


def without_credentials(url: str) -> str:
    """A URL fit for messages and reports: without user, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _by_index(labels: ClipLabels | None) -> Callable[[int], str | None]:
    return labels.at if labels is not None else lambda _: None


def _open_path(spec: str, labels: ClipLabels | None, label_by_folder: bool) -> Source:
    def label_of(index: int, path: Path) -> str | None:
        if label_by_folder:
            return path.resolve().parent.name
        return labels.at(index) if labels is not None else None

    path = Path(spec)
    if path.is_dir():
        found, others = find_images(path)
        if not found:
            raise SourceError(f"no pictures in {spec}", got=f"{len(others)} other files", expected="JPEG, PNG, ...")
        return PictureSource(spec, path, found, label_of=label_of, others=others)
    if path.is_file():
        if path.stat().st_size == 0:
            raise SourceError(f"{spec} is empty", got="0 bytes", expected="a picture or a video")
        if looks_like_image(path):
            return PictureSource(spec, path.parent, [path], label_of=label_of)
        return VideoSource(
            str(path),
            path.name,
            backends=[cv2.CAP_ANY],
            label_of=_by_index(labels),
            fix="check that it plays elsewhere; copy it again, or convert it to H.264 in MP4",
        )
    if glob.has_magic(spec):
        matches = sorted((Path(m) for m in glob.glob(spec, recursive=True)), key=natural_order)  # noqa: PTH207
        files = [p for p in matches if p.is_file()]
        if not files:
            raise SourceError(f"no file matches {spec}", fix="quote the pattern and check the folder")
        if len(files) == 1:
            return _open_path(str(files[0]), labels, label_by_folder)
        found = [p for p in files if looks_like_image(p)]
        others = [p for p in files if p not in found]
        return PictureSource(spec, _common_folder(files), found, label_of=label_of, others=others)
    raise SourceError(f"there is no source {spec}", got="nothing of this name", expected=_EXPECTED)


def _common_folder(files: Sequence[Path]) -> Path:
    folder = files[0].parent
    while not all(p.is_relative_to(folder) for p in files):
        folder = folder.parent
    return folder


def _open_camera(target: int | str, name: str, label_of: Callable[[int], str | None]) -> Source:
    present = sorted((str(p) for p in Path("/dev").glob("video*")), key=lambda p: natural_order(Path(p)))
    return VideoSource(
        target,
        name,
        backends=[cv2.CAP_V4L2, cv2.CAP_ANY],
        camera=True,
        label_of=label_of,
        fix=(
            f"this machine has {', '.join(present)}; choose one that is not in use and that you may read (group video)"
            if present
            else "this machine has no /dev/video*; connect a camera, or pass it through to the container"
        ),
    )


def _open_url(spec: str, scheme: str, label_of: Callable[[int], str | None]) -> Source:
    name = without_credentials(spec)
    if scheme not in _NETWORK_SCHEMES:
        raise SourceError(f"cannot open {name}", got=f"the scheme {scheme}://", expected=_EXPECTED)
    return VideoSource(
        spec,
        name,
        backends=[cv2.CAP_FFMPEG, cv2.CAP_GSTREAMER],
        network=True,
        label_of=label_of,
        fix="check the address, the credentials and that the port can be reached from here",
    )


def _open_pipeline(spec: str, label_of: Callable[[int], str | None]) -> Source:
    if not re.search(r"!\s*appsink\b", spec):
        raise SourceError(
            "the GStreamer pipeline does not end where OpenCV can take its frames",
            got=spec,
            expected="... ! videoconvert ! video/x-raw,format=BGR ! appsink",
        )
    if not _has_gstreamer():
        raise SourceError(
            "this OpenCV cannot run GStreamer pipelines",
            got=f"OpenCV {cv2.__version__} built without GStreamer",
            expected="an OpenCV with GStreamer: YES in cv2.getBuildInformation()",
            fix="use the OpenCV of JetPack or of the distribution (python3-opencv), or give a camera or a URL",
        )
    return VideoSource(
        spec,
        "GStreamer pipeline",
        backends=[cv2.CAP_GSTREAMER],
        label_of=label_of,
        fix="run it with gst-launch-1.0 to see which element fails (autovideosink in place of appsink)",
    )


def _has_gstreamer() -> bool:
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None
