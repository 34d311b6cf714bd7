"""Encode canvases as video packets, and write packets to files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sources.media_opening import has_pyav

__all__ = ["SUFFIXES", "Encoder", "Packet", "VideoFile", "claim", "open_encoder"]

SUFFIXES = (".mp4", ".mov", ".mkv", ".avi")
"""Extensions of the videos that can be written."""
_MOST_FPS = 60.0  # of an .avi, and for rate control


@dataclass(frozen=True, slots=True)
class Packet:
    """Encoded frame.

    Attributes:
        content: the codec's bytes; the canvas itself where only OpenCV writes videos.
        time_ns: when it is shown, from the beginning of the recording.
        duration_ns: how long it is shown if it is the last one.
        key: whether decoding can begin with it.
    """

    content: Any
    time_ns: int
    duration_ns: int
    key: bool

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return self.content.nbytes if isinstance(self.content, np.ndarray) else len(self.content)


class VideoFile(Protocol):
    """New video file; plays at any moment while it is written."""

    path: Path

    def write(self, packet: Packet) -> None:
        """Append a packet; the first one must be a key.

        Raises:
            OSError: it cannot be written. What was written before stays and plays; further packets are ignored.
        """

    def close(self) -> None:
        """Finish the file; one without a packet is removed. Safe to call twice.

        Raises:
            OSError: the end cannot be written. The file plays without it.
        """


class Encoder(Protocol):
    """Encoder of canvases of one size."""

    def encode(self, canvas: NDArray[np.uint8], time_ns: int, duration_ns: int, *, key: bool) -> Packet:
        """Encode a BGR canvas; ``key`` asks for a packet that a file can begin with."""

    def create(self, path: Path, *, endless: bool = False) -> VideoFile:
        """Create a file for this encoder's packets.

        Args:
            path: file to create.
            endless: whether it may grow for weeks: then no index of it is held in memory.

        Raises:
            OSError: the file exists or cannot be created.
        """

    def close(self) -> None:
        """Release the codec."""


def open_encoder(suffix: str, size: tuple[int, int], fps: float) -> Encoder:
    """Open an encoder for files of an extension.

    Args:
        suffix: one of `SUFFIXES`.
        size: width and height, both even.
        fps: expected frames per second; the rate of an ``.avi``.

    Raises:
        InputError: no codec can encode frames of this size.
    """
    fps = min(max(fps, 1.0), _MOST_FPS)
    if has_pyav():  # writes videos of variable frame rate that survive a crash
        from edgeproof_runtime.sinks.encoding_libav import LibavEncoder

        return LibavEncoder(suffix, size, fps)
    from edgeproof_runtime.sinks.encoding_opencv import OpenCvEncoder

    return OpenCvEncoder(suffix, size, fps)


def claim(path: Path) -> int:
    """Create a file that does not exist yet; return its descriptor.

    Raises:
        OSError: it exists or cannot be created.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)


def no_codec(suffix: str, codecs: tuple[str, ...], size: tuple[int, int]) -> InputError:
    """Return the error of a canvas that no codec encodes."""
    return InputError(
        f"*{suffix}: cannot save a video",
        got=f"no encoder of {' or '.join(codecs)} at {size[0]}x{size[1]}",
        fix="choose another extension, such as .avi",
    )
