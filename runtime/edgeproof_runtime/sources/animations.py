"""Animated images: which files are, and animated WebP as a source, which FFmpeg does not decode."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from edgeproof_runtime.data.images import quiet_opencv
from edgeproof_runtime.errors import Skipped
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.system.regular import open_regular

__all__ = ["WebpAnimation", "animation_of"]

_CHUNK_BYTES = 256 << 20  # decoded at once
_CHUNKS_READ = 64  # of a PNG before its pixels


class WebpAnimation(Source):
    """Frames of an animated WebP, decoded by OpenCV (4.11 and later); alpha is dropped.

    Args:
        path: the file.
        label_of: returns the label of the frame at a position.
    """

    def __init__(self, path: Path, label_of: Callable[[int], str | None]) -> None:
        super().__init__(path.name, live=False, fps=None, frame_count=None)
        self._path = path
        self._label_of = label_of
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        self.skipped.clear()
        index, media_ms = 0, 0
        with self._path.open("rb") as file:
            head = file.read(30)
        size = (1 + int.from_bytes(head[24:27], "little")) * (1 + int.from_bytes(head[27:30], "little")) * 4
        at_once = max(1, min(1000, _CHUNK_BYTES // size))
        while not self._closed:
            begin_ns = time.monotonic_ns()
            with quiet_opencv():
                read, chunk = cv2.imreadanimation(str(self._path), start=index, count=at_once)
            decode_ns = time.monotonic_ns() - begin_ns
            if not read or len(chunk.frames) == 0:
                break
            for pixels, duration_ms in zip(chunk.frames, chunk.durations, strict=False):
                captured_ns = time.monotonic_ns()
                yield Frame(
                    image=np.ascontiguousarray(pixels[:, :, :3], dtype=np.uint8),
                    index=index,
                    name=f"{self.name}#{index}",
                    captured_ns=captured_ns,
                    capture_ms=0.0,
                    decode_ms=decode_ns / len(chunk.frames) / 1e6,
                    label=self._label_of(index),
                    media_ns=media_ms * 1_000_000,
                )
                index += 1
                media_ms += int(duration_ms)
            if len(chunk.frames) < at_once:
                break
        if index == 0:
            self.skipped.append(Skipped(self.name, "is an animated WebP that OpenCV cannot decode"))

    def close(self) -> None:
        self._closed = True


def animation_of(path: Path) -> Literal["gif", "png", "webp"] | None:
    """Return the format of a file that is an image of several frames, or None. FIFOs and devices are not opened."""
    try:
        with BufferedReader(open_regular(path, sys.maxsize)) as file:
            head = file.read(30)
            if head[:6] in (b"GIF87a", b"GIF89a"):
                return "gif" if _gif_has_two(file) else None
            if head[:8] == b"\x89PNG\r\n\x1a\n":
                return "png" if _png_is_animated(file) else None
            return "webp" if _is_animated_webp(head) else None
    except OSError:
        return None


def _is_animated_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 30 and bool(head[20] & 2)


def _png_is_animated(file: BinaryIO) -> bool:
    file.seek(8)
    for _ in range(_CHUNKS_READ):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return False
        if head[4:] == b"acTL":
            return int.from_bytes(file.read(4), "big") > 1
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False


def _gif_has_two(file: BinaryIO) -> bool:
    """Walk the blocks of a GIF up to its second image."""
    file.seek(10)
    packed = file.read(3)
    if len(packed) == 3 and packed[0] & 0x80:
        file.seek(3 << (packed[0] & 7) + 1, 1)
    images = 0
    while True:
        kind = file.read(1)
        if kind == b"!":
            file.seek(1, 1)
        elif kind == b",":
            images += 1
            if images == 2:
                return True
            flags = file.read(9)[8:]
            if flags and flags[0] & 0x80:
                file.seek(3 << (flags[0] & 7) + 1, 1)
            file.seek(1, 1)
        else:
            return False
        while (length := file.read(1)) and length[0]:
            file.seek(length[0], 1)
