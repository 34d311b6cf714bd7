"""Read image files as BGR arrays, or raise an error that names the file."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.bands import BAND_SUFFIXES, bands_in_force
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.system.bounds import bound, require_at_most
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.system.regular import read_regular
from edgeproof_runtime.system.spec import SPEC

__all__ = [
    "FOREIGN_FOLDERS",
    "check_complete",
    "check_size",
    "decode_image",
    "find_files",
    "find_images",
    "looks_like_image",
    "natural_order",
    "own_files",
    "picture_size",
    "quiet_opencv",
    "read_image",
    "read_image_file",
    "reason_of",
    "unsupported_kind",
    "walk",
]

# FFmpeg's lines on stderr do not name the file; OpenCV reads this variable once, before its first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

FOREIGN_FOLDERS = frozenset(
    {"__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
"""Folders of other programs in a dataset; their images are previews or deleted ones."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# A marker is FF and a code; inside a scan FF00 is a stuffed FF, FFD0 to FFD7 are restart markers (ITU-T T.81, B.1.1).
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
_JPEG_SOI, _JPEG_EOI, _JPEG_SOS = 0xD8, 0xD9, 0xDA
_JPEG_END = b"\xff\xd9"


# OpenCV before 4.9 (JetPack, Debian) has it under another name.
_set_log_level: Callable[[int], int] = (
    cv2.utils.logging.setLogLevel if hasattr(cv2.utils, "logging") else vars(cv2)["setLogLevel"]
)
_SILENT = 0
_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_previous = 0


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Silence OpenCV's log on stderr: errors are raised or reported with the file name instead.

    Does nothing if ``OPENCV_LOG_LEVEL`` is set. Safe in several threads at once.
    """
    global _quiet_depth, _quiet_previous
    if "OPENCV_LOG_LEVEL" in os.environ:
        yield
        return
    # The log level is per process: the first thread to enter saves it, the last to leave restores it.
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_previous = _set_log_level(_SILENT)
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _set_log_level(_quiet_previous)


def read_image(path: str | Path, *, apply_orientation: bool) -> NDArray[np.uint8]:
    """Read an image file.

    Args:
        path: a file in any format that the installed OpenCV decodes, whatever its extension.
        apply_orientation: rotate the image by its EXIF orientation. Use it for photographs, not for
            datasets: torchvision's ``ImageFolder`` ignores the orientation.

    Returns:
        BGR uint8 ``HxWx3``; see `decode_image` for the differences from Pillow.

    Raises:
        SourceError: the file is missing, a folder, empty, truncated or not an image.
    """
    path = Path(path)
    try:
        data = read_image_file(path)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read", got=error.strerror or error) from error
    return decode_image(data, str(path), apply_orientation=apply_orientation)


def read_image_file(path: Path) -> bytes:
    """Read the bytes of an image file.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than ``image_bytes`` of ``spec.json``.
    """
    return read_regular(path, bound("image_bytes"))


def decode_image(data: bytes, name: str, *, apply_orientation: bool) -> NDArray[np.uint8]:
    """Decode the bytes of an image file.

    Equals Pillow's ``convert("RGB")`` bit for bit for 8-bit colour, grey, palette and transparent JPEG,
    PNG, BMP, WebP, TIFF and PPM (alpha is dropped, not blended). It differs for CMYK JPEG (by up to 2,
    from rounding) and for 16-bit PNG (OpenCV keeps the high byte, Pillow clips at 255).

    Args:
        data: the whole file.
        name: file name, for error messages.
        apply_orientation: as for `read_image`.

    Returns:
        BGR uint8 ``HxWx3``.

    Raises:
        SourceError: the bytes are empty, truncated or not an image, or the image has too many pixels.
    """
    check_complete(data, name)
    check_size(data, name)
    flags = cv2.IMREAD_COLOR | (0 if apply_orientation else cv2.IMREAD_IGNORE_ORIENTATION)
    with quiet_opencv():
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            reason = _cv2_reason(error)
            if "CV_IO_MAX_IMAGE" in reason:
                raise _too_large(name, "a header that declares more") from error
            raise SourceError(f"{name}: cannot be decoded", got=reason) from error
    if pixels is None and (kind := unsupported_kind(data)) is not None:
        raise SourceError(
            f"{name}: unsupported",
            got=kind,
            expected="JPEG, PNG or another format of the installed OpenCV",
            fix="convert it to JPEG or PNG",
        )
    if pixels is None:
        raise SourceError(
            f"{name}: damaged, or not an image that OpenCV can decode",
            got=f"{len(data)} bytes starting with {data[:8]!r}",
            expected="JPEG, PNG, BMP, WebP, TIFF, PPM or another format of the installed OpenCV",
        )
    return pixels.astype(np.uint8, copy=False)


def unsupported_kind(data: bytes) -> str | None:
    """Return what a file is that is often found among images and that OpenCV does not decode; None if none of these."""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return "a HEIC image"
    if data[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if data.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself"
    return None


def check_size(data: bytes, name: str) -> None:
    """Check the size that the header of a JPEG or PNG declares, before memory is allocated for it.

    Other formats are bounded by OpenCV itself; see `edgeproof_runtime.system.opencv`.

    Raises:
        SourceError: more than ``image_pixels`` of ``spec.json``.
    """
    width, height = picture_size(data) or (0, 0)
    if width * height > bound("image_pixels"):
        raise _too_large(name, f"{width}x{height} pixels")


def _too_large(name: str, got: str) -> SourceError:
    most = f"at most {bound('image_pixels') / 1e6:.0f} megapixels"
    return SourceError(f"{name}: too large", got=got, expected=most, fix="make the image smaller")


def check_complete(data: bytes, name: str) -> None:
    """Check that a file is not empty, and that a JPEG or PNG has its end.

    libjpeg and libpng decode half an image from half a file, and not every OpenCV version reports it.

    Raises:
        SourceError: the file is empty or truncated.
    """
    if not data:
        raise SourceError(f"{name}: empty", got="0 bytes", expected="an image")
    if (data.startswith(_JPEG) and not _jpeg_is_complete(data)) or (
        data.startswith(_PNG) and not _png_is_complete(data)
    ):
        raise SourceError(
            f"{name}: truncated",
            got=f"{len(data)} bytes without the end-of-image marker",
            expected="a complete image",
            fix="copy the file again",
        )


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Return the (width, height) in the header of a JPEG or PNG, in pixels, without decoding it.

    Check it before decoding: a small file may decode to a huge image.

    Returns:
        None for any other format, or if the file ends before the size.
    """
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if not data.startswith(_JPEG):
        return None
    for marker, position in _jpeg_segments(data):
        # SOF0 to SOF15 without DHT, JPG and DAC: length, precision, height, width (ITU-T T.81, B.2.2).
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(data) >= position + 7:
            size = data[position + 3 : position + 7]
            return int.from_bytes(size[2:], "big"), int.from_bytes(size[:2], "big")
    return None


def find_images(folder: Path) -> tuple[list[Path], list[Path]]:
    """Find the image files and the other files under a folder, told apart by their first bytes.

    Hidden files and folders (a leading dot) and `FOREIGN_FOLDERS` are left out. An empty or unknown file with an image
    extension counts as an image, so that reading it reports the reason.

    Returns:
        Images and all else, which `why_left_out` tells apart, each sorted so that ``frame2`` comes before ``frame10``.

    Raises:
        InputError: too many files, or the folder cannot be read.
    """
    images: list[Path] = []
    others: list[Path] = []
    for path in _sorted(own_files(folder), folder):
        (images if looks_like_image(path) else others).append(path)
    return images, others


def find_files(folder: Path) -> list[Path]:
    """Return what `walk` finds, sorted so that ``frame2`` comes before ``frame10``.

    Raises:
        InputError: too many files, or the folder cannot be read.
    """
    return _sorted(walk(folder), folder)


def own_files(folder: Path) -> Iterator[Path]:
    """Yield what `walk` finds outside of `FOREIGN_FOLDERS`."""
    return (path for path in walk(folder) if FOREIGN_FOLDERS.isdisjoint(path.relative_to(folder).parts))


def _sorted(paths: Iterable[Path], folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        found.append(path)
        require_at_most(len(found), "source_images", f"{folder}: files")
    return sorted(found, key=natural_order)


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder without hidden ones; links are followed, but no folder is entered twice.

    Folders that cannot be read are yielded themselves, so that what is missing can be said.

    Raises:
        SourceError: the folder itself cannot be read.
    """
    entered: set[tuple[int, int]] = set()
    unreadable: list[OSError] = []
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=unreadable.append):
        found = os.stat(parent)  # noqa: PTH116 - os.walk gives text
        if (found.st_dev, found.st_ino) in entered:
            folders.clear()
            continue
        entered.add((found.st_dev, found.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))
    if unreadable and not entered:
        raise SourceError(f"{folder}: cannot be read", got=unreadable[0].strerror, fix="check who may read it")
    yield from (Path(error.filename) for error in unreadable)


def why_left_out(path: Path, otherwise: str) -> str:
    """Return why something that `walk` found is not read: a folder that cannot be, or what the caller says."""
    return "a folder that cannot be read" if path.is_dir() else otherwise


def natural_order(path: Path) -> tuple[tuple[str | int, ...], ...]:
    """Return a sorting key by folder and name in which numbers compare as numbers."""
    # Text and numbers alternate, text first: two keys never compare a text with a number.
    return tuple(
        tuple(int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", name))) for name in path.parts
    )


_IMAGE_SUFFIXES = frozenset(SPEC["sources"]["image_suffixes"])


def looks_like_image(path: Path) -> bool:
    """Return whether a file has an image extension or content that OpenCV recognises as an image.

    Where frames of many channels are read (`edgeproof_runtime.data.bands.reading`), a ``.npy`` file is an image, too.
    """
    suffix = path.suffix.lower()
    if suffix in _IMAGE_SUFFIXES or (suffix in BAND_SUFFIXES and bands_in_force() is not None):
        return True
    with quiet_opencv():
        return path.is_file() and cv2.haveImageReader(str(path))


def _jpeg_is_complete(data: bytes) -> bool:
    for marker, position in _jpeg_segments(data):
        if marker == _JPEG_SOS:
            # Of the bytes from here on, 0xFF is followed by 0 or a restart marker until the end (ITU-T T.81, B.1.1.5):
            # searched for, as stepping from marker to marker takes a tenth of the decoding. Most files end with it.
            return data.endswith(_JPEG_END) or data.find(_JPEG_END, position) >= 0
        if marker == _JPEG_EOI:
            return True
    return False


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker and the position where its segment begins."""
    # Segment by segment, because an embedded thumbnail contains markers too.
    position = 2
    while (found := _JPEG_MARKER.search(data, position)) is not None:
        marker = found.group(1)[0]
        position = found.end()
        yield marker, position
        if marker not in (_JPEG_SOI, 0x01):
            length = int.from_bytes(data[position : position + 2], "big")
            position += max(length, 2)


def _png_is_complete(data: bytes) -> bool:
    position = len(_PNG)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + length
    return False


def reason_of(error: SourceError, name: str) -> str:
    """Return an error about ``name`` as one clause, for a list that already shows the name."""
    what = error.what.removeprefix(name).removeprefix(":").strip()
    return what if error.got is None else f"{what} ({error.got})"


def _cv2_reason(error: cv2.error) -> str:
    text: str = getattr(error, "err", "") or str(error)
    return " ".join(text.split())
