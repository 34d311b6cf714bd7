"""Open files, folders, globs and pipes as sources."""

from __future__ import annotations

import glob
import re
import stat
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeproof_runtime.data.bands import bands_in_force
from edgeproof_runtime.data.clip_labels import ClipLabels
from edgeproof_runtime.data.images import find_files, looks_like_image, natural_order
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources.animations import WebpAnimation, animation_of
from edgeproof_runtime.sources.base import Source
from edgeproof_runtime.sources.capturing import file_backends
from edgeproof_runtime.sources.media import MediaSource
from edgeproof_runtime.sources.media_opening import PYAV, WITHOUT_PYAV, has_pyav
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.sources.pictures import PictureSource
from edgeproof_runtime.sources.pipe import PipeReader
from edgeproof_runtime.sources.playlist import Playlist
from edgeproof_runtime.sources.video import VideoSource
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.system.redact import redact_address
from edgeproof_runtime.system.regular import is_file, is_folder, real_path
from edgeproof_runtime.system.spec import SPEC

__all__ = ["is_standard_input", "open_path", "path_of"]

_MOTION_JPEG = tuple(SPEC["sources"]["motion_jpeg_suffixes"])  # starts like an image file, but is a video
_ANIMATED = tuple(SPEC["sources"]["animated_suffixes"])
_VIDEOS = frozenset(SPEC["sources"]["video_suffixes"])
_FIX = "check that another player opens it; copy it again, or convert it to H.264 in MP4"
_NUMBERED = re.compile("%[0-9]*d")  # FFmpeg's and OpenCV's way to name numbered images
_LabelOf = Callable[[int], str | None]


def is_standard_input(spec: str) -> bool:
    """Return whether a source is standard input."""
    return spec in ("-", "pipe:", "pipe:0", "fd:", "fd:0")


def path_of(spec: str) -> str:
    """Return the path of a ``file:`` address, and anything else unchanged.

    Raises:
        SourceError: the file is on another host, or the address has no path.
    """
    if spec[:7].lower() != "file://":
        return spec
    host, slash, path = spec[7:].partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        shown = redact_address(f"file://{spec[7:].rpartition('@')[2]}")  # the host's user and password are left out
        raise SourceError(
            f"{shown}: cannot open",
            got="a file of another host" if slash else "no path",
            expected="file:///PATH on this machine",
        )
    return urllib.parse.unquote(slash + path, errors="surrogateescape")


def open_path(
    spec: str, options: SourceOptions, labels: ClipLabels | None, label_by_folder: bool, *, expected: str
) -> Source:
    """Open an image, a folder, a glob, a video file, a FIFO or standard input.

    Raises:
        SourceError: it does not exist, holds nothing to read, or cannot be opened.
    """

    def label_of(index: int, path: Path) -> str | None:
        if label_by_folder:
            return real_path(path).parent.name
        return labels.at(index) if labels is not None else None

    if is_standard_input(spec):
        return _open_pipe(None, "standard input", options, labels.at if labels is not None else lambda _: None)
    path = Path(spec)
    if is_folder(path):
        found = find_files(path)
        if not any(map(_is_playable, found)):
            raise SourceError(
                f"{spec}: no images or videos", got=f"{len(found)} other files", expected="JPEG, MP4, ..."
            )
        return _open_files(spec, path, found, options, label_of)
    if is_file(path):
        return _open_file(path, options, lambda index: label_of(index, path))
    if _is_fifo(path):
        return _open_pipe(path, spec, options, lambda index: label_of(index, path))
    if glob.has_magic(spec):
        matches = sorted((Path(m) for m in glob.glob(spec, recursive=True)), key=natural_order)  # noqa: PTH207
        found = [p for p in matches if p.is_file()]
        if not found:
            raise SourceError(f"{redact_address(spec)}: no matching file", fix="quote the pattern and check the folder")
        if len(found) == 1:
            return _open_file(found[0], options, lambda index: label_of(index, found[0]))
        return _open_files(spec, _common_folder(found), found, options, label_of)
    numbered = _NUMBERED.sub("*", spec)
    raise SourceError(
        f"{redact_address(spec)}: source not found",
        expected=expected,
        fix=f"write a glob: '{redact_address(numbered)}'" if numbered != spec else None,
    )


def _is_fifo(path: Path) -> bool:
    try:
        return stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _is_clip(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in _ANIMATED:
        return animation_of(path) is not None
    return suffix in _VIDEOS


def _is_playable(path: Path) -> bool:
    return _is_clip(path) or looks_like_image(path)


def _open_files(
    spec: str, root: Path, files: Sequence[Path], options: SourceOptions, label_of: Callable[[int, Path], str | None]
) -> Source:
    """Open images as images; with clips among them, all one after the other."""
    clips = set() if bands_in_force() is not None else {p for p in files if _is_clip(p)}
    playable = [p for p in files if p in clips or looks_like_image(p)]
    known = set(playable)
    others = [p for p in files if p not in known]
    if not clips:
        return PictureSource(spec, root, playable, label_of=label_of, others=others)

    def open_item(path: Path, first: int) -> Source:
        return _open_file(path, options, lambda index: label_of(first + index, path))

    return Playlist(spec, root, playable, open_item=open_item, others=others)


def _open_file(path: Path, options: SourceOptions, label_of: _LabelOf) -> Source:
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: empty file", got="0 bytes", expected="an image or a video")
    animation = animation_of(path) if bands_in_force() is None else None
    if animation == "webp":
        if not hasattr(cv2, "imreadanimation"):
            raise SourceError(
                f"{path}: cannot open an animated WebP",
                got=f"OpenCV {cv2.__version__}; FFmpeg reads none",
                expected="OpenCV 4.11 or later",
                fix="save it as a GIF or a video",
            )
        return WebpAnimation(path, label_of)
    if animation is None and looks_like_image(path) and path.suffix.lower() not in _MOTION_JPEG:
        return PictureSource(str(path), path.parent, [path], label_of=lambda index, _: label_of(index))
    if has_pyav():
        return MediaSource(f"file:{path}", path.name, kind="file", options=options, label_of=label_of, fix=_FIX)
    source = VideoSource(
        str(path), path.name, backends=file_backends(), kind="file", options=options, label_of=label_of, fix=_FIX
    )
    source.notes.append(WITHOUT_PYAV)
    return source


def _open_pipe(path: Path | None, name: str, options: SourceOptions, label_of: _LabelOf) -> Source:
    if not has_pyav():
        raise SourceError(
            f"{name}: cannot open",
            got=f"no PyAV {PYAV}",
            expected="PyAV, which reads pipes",
            fix=f"pip install 'av>={PYAV}'",
        )
    if path is None and sys.__stdin__ is None:  # its number belongs to another file by now
        raise SourceError(
            f"{name}: cannot open", got="it was closed when the program began", expected="a video from a pipe"
        )
    return MediaSource(
        lambda: PipeReader(path, name),
        name,
        kind="pipe",
        options=options,
        label_of=label_of,
        fix="write a container that can be read in order, such as MPEG-TS (-f mpegts) or Matroska, to the pipe",
    )


def _common_folder(files: Sequence[Path]) -> Path:
    folder = files[0].parent
    while not all(p.is_relative_to(folder) for p in files):
        folder = folder.parent
    return folder
