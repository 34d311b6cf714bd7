"""Encode and write videos through FFmpeg's libraries (PyAV)."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.video.frame import PictureType
from numpy.typing import NDArray

from edgeproof_runtime.sinks.encoding import Packet, claim, no_codec
from edgeproof_runtime.system.opencv import cv2

__all__ = ["LibavEncoder", "LibavFile"]

_KEY_EVERY_S = 1.0
_FLUSH_EVERY_MS = 250
# Fragments are on the disk at once; the end of a file that is closed in order makes it a plain .mp4.
_FRAGMENTS = {
    "movflags": "hybrid_fragmented+default_base_moof",
    "frag_duration": str(_FLUSH_EVERY_MS * 1000),
    "flush_packets": "1",
}
# The index of that end takes 8.5 MB of memory an hour at 30 frames/s.
_ENDLESS = _FRAGMENTS | {"movflags": "empty_moov+default_base_moof+skip_trailer"}
_FORMATS = {
    ".mp4": ("mp4", _FRAGMENTS),
    ".mov": ("mov", _FRAGMENTS),
    ".mkv": ("matroska", {"cluster_time_limit": str(_FLUSH_EVERY_MS), "flush_packets": "1"}),
    ".avi": ("avi", {"flush_packets": "1"}),
}
_H264 = {"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
_MPEG4 = {"qmin": "3", "qmax": "8"}
_BT601, _LIMITED = 5, 1  # AVCOL_SPC_BT470BG and AVCOL_RANGE_MPEG: what cv2.cvtColor computes


class LibavEncoder:
    """H.264 (x264) where the wheel has it, else MPEG-4; the latter for ``.avi``, whose frame rate is constant.

    Args:
        suffix, size, fps: as for `open_encoder`.

    Raises:
        InputError: no codec can encode frames of this size.
    """

    def __init__(self, suffix: str, size: tuple[int, int], fps: float) -> None:
        codecs = ("mpeg4",) if suffix == ".avi" else ("libx264", "mpeg4")
        self._suffix = suffix
        for codec in codecs:
            if codec not in av.codecs_available:
                continue
            # MPEG-4 counts time in 16 bits.
            ticks = (
                Fraction(fps).limit_denominator(1001)
                if suffix == ".avi"
                else Fraction(90000 if codec == "libx264" else 1000)
            )
            try:
                self._open(codec, ticks, size, fps)
            except (FFmpegError, ValueError):
                continue
            return
        raise no_codec(suffix, codecs, size)

    def _open(self, codec: str, ticks: Fraction, size: tuple[int, int], fps: float) -> None:
        self._ticks = ticks
        # Packets are taken from this stream and go to files; its own container writes nothing.
        host: Any = av.open(_Nowhere(), "w", format="null")
        self._host = host
        self._stream: Any = host.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        context = self._stream.codec_context
        context.width, context.height = size
        context.pix_fmt = "yuv420p"
        context.time_base = 1 / ticks
        context.options = _H264 if codec == "libx264" else _MPEG4
        context.gop_size = max(1, round(fps * _KEY_EVERY_S))
        context.thread_count = 1  # further ones delay frames, and other streams need the cores
        context.flags |= Flags.global_header
        context.colorspace, context.color_range = _BT601, _LIMITED
        self._host.start_encoding()
        self._last_pts = -1
        self._last_key_ns: int | None = None

    def encode(self, canvas: NDArray[np.uint8], time_ns: int, duration_ns: int, *, key: bool) -> Packet:
        pts = max(round(time_ns * self._ticks / 10**9), self._last_pts + 1)
        self._last_pts = pts
        planes: Any = cv2.cvtColor(canvas, cv2.COLOR_BGR2YUV_I420)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = pts, 1 / self._ticks
        # By time, because the frame rate varies.
        if key or self._last_key_ns is None or time_ns - self._last_key_ns >= _KEY_EVERY_S * 1e9:
            frame.pict_type = PictureType.I
            self._last_key_ns = time_ns
        encoded = self._stream.encode(frame)
        if len(encoded) != 1:
            raise RuntimeError(f"encoder: {len(encoded)} packets for a frame")
        time_ns = int(pts * 10**9 / self._ticks)
        return Packet(bytes(encoded[0]), time_ns, duration_ns, encoded[0].is_keyframe)

    def create(self, path: Path, *, endless: bool = False) -> LibavFile:
        name, options = _FORMATS[self._suffix]
        return LibavFile(path, self._stream, name, _ENDLESS if endless and options is _FRAGMENTS else options)

    def close(self) -> None:
        self._host.close()


class LibavFile:
    """Video file in a container format of FFmpeg, times counted from its first packet.

    Args:
        path: file to create.
        stream: the encoder's stream.
        format_name: FFmpeg's name of the container.
        options: options of its muxer.

    Raises:
        OSError: the file exists or cannot be created.
    """

    def __init__(self, path: Path, stream: Any, format_name: str, options: dict[str, str]) -> None:
        self.path = path
        self._disk = _Disk(claim(path))
        self._container: Any = av.open(self._disk, "w", format=format_name, options=options)
        self._stream = self._container.add_stream_from_template(stream)
        self._ticks = 1 / Fraction(stream.codec_context.time_base)
        self._first: int | None = None
        self._header = 0
        self._open = True

    def write(self, packet: Packet) -> None:
        pts = round(packet.time_ns * self._ticks / 10**9)
        if self._first is None:
            self._first = pts
            self._container.start_encoding()
            self._header = self._disk.length
        muxed: Any = av.Packet(packet.content)
        muxed.pts = muxed.dts = pts - self._first
        muxed.duration = max(1, round(packet.duration_ns * self._ticks / 10**9))
        muxed.time_base = 1 / self._ticks
        muxed.is_keyframe = packet.key
        muxed.stream = self._stream
        self._container.mux_one(muxed)
        self._disk.check()
        self._disk.whole()

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._container.close()
        empty = self._disk.length <= self._header
        self._disk.close()
        if empty:
            self.path.unlink(missing_ok=True)
        self._disk.check()


class _Nowhere:
    def write(self, content: bytes) -> int:
        return len(content)


class _Disk:
    """File as FFmpeg writes it. After an error, what follows is ignored, so that the part before it stays whole."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0
        self._error: OSError | None = None
        self._told = False
        self._kept = 0
        self.length = 0

    def check(self) -> None:
        """Raise the error, once."""
        if self._error is not None and not self._told:
            self._told = True
            raise self._error

    def whole(self) -> None:
        """Note that the file plays as it is; after an error, it is cut to this length."""
        self._kept = self.length

    def write(self, content: Any) -> int:
        data = memoryview(content)
        if self._error is None:
            try:
                done = 0
                while done < len(data):
                    done += os.pwrite(self._descriptor, data[done:], self._position + done)
            except OSError as error:
                self._error = error
                self.length = self._kept
                os.ftruncate(self._descriptor, self.length)
        self._position += len(data)
        if self._error is None:
            self.length = max(self.length, self._position)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        base = {0: 0, 1: self._position, 2: self.length}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        os.close(self._descriptor)
