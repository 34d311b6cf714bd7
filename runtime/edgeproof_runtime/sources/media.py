"""Video files, pipes and network streams through FFmpeg (PyAV)."""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.data.images import decode_image
from edgeproof_runtime.errors import Skipped, SourceError
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.camera_clock import CameraClock
from edgeproof_runtime.sources.media_opening import MISSING_SEGMENT, Media, log_lines, open_media
from edgeproof_runtime.sources.media_times import MediaClock, declared_count, declared_fps, is_endless
from edgeproof_runtime.sources.options import SourceOptions
from edgeproof_runtime.sources.pipe import PipeReader
from edgeproof_runtime.sources.upright import Converter, Deinterlacer, orientation_of, turned
from edgeproof_runtime.system.spec import SPEC

if TYPE_CHECKING:
    import av

__all__ = ["MediaSource"]

_CLOSE_TIMEOUT_S = 2.0
_VIDEO = SPEC["video"]
_DAMAGE = {
    "corrupt": "the decoder reported errors, or data is missing",
    "reference": "predicted from a damaged frame",
}
# Each frame is decoded by itself. All others are taken to predict frames from others.
_INTRA_ONLY = frozenset(SPEC["sources"]["intra_codecs"])
# Their decoders give a frame for every packet that holds one, so that a packet without a frame is a loss.
_ONE_FRAME_A_PACKET = tuple(SPEC["sources"]["steady_codecs"])


_PREDICTED = 2  # AV_PICTURE_TYPE_P: of a key packet where an encoder refreshes the image column by column
_CUT = re.compile(f"prematurely|partial file|truncat|{MISSING_SEGMENT}", re.IGNORECASE)
_UNKNOWN_LENGTH = f"should be {2**64 - 1}"  # FFmpeg's message at the end of an HTTP response without a length
_FRAME_THREADS = 1 << 12  # AV_CODEC_CAP_FRAME_THREADS


@dataclass(slots=True, eq=False)
class _Packet:
    """What is known of a packet until its frame is given."""

    number: int
    begin_ns: int
    arrived_ns: int
    key: bool = False
    decode_ns: int = 0
    pts_s: float | None = None
    damage: str = ""


class MediaSource(Source):
    """Source that FFmpeg opens.

    ``captured_ns`` is the arrival of the frame's packet, before decoding; with ``camera_clock`` an RTSP camera's
    capture time. ``capture_ms`` is the wait for the packet, ``decode_ms`` decoding, conversion to BGR, deinterlacing
    and rotation to upright.

    A frame that the decoder had to conceal, and those predicted from it up to the next key frame, have `Frame.damage`
    set. Packets that give no frame are counted, and reported at the end. Motion JPEG is decoded frame by frame like
    image files.

    A ``stream`` is always live, a ``file`` or ``pipe`` never, an ``address`` if its end is not known.

    Args:
        target: address (``file:`` for files), or a function that opens a pipe.
        name: name without credentials.
        kind: ``file``, ``pipe``, ``stream`` or ``address``.
        options: options of the decoder.
        label_of: returns the label of the frame at a position.
        fix: fix for the error message.

    Raises:
        SourceError: it cannot be opened; the message names the cause.
    """

    def __init__(
        self,
        target: str | Callable[[], PipeReader],
        name: str,
        *,
        kind: Literal["file", "pipe", "stream", "address"],
        options: SourceOptions | None = None,
        label_of: Callable[[int], str | None] = lambda _: None,
        fix: str,
    ) -> None:
        self._options = options or SourceOptions()
        self._open: Callable[[], Media] = functools.partial(
            open_media, target, name, network=kind in ("stream", "address"), options=self._options, fix=fix
        )
        self._media = self._open()
        live = kind == "stream" or (kind == "address" and is_endless(self._media))
        super().__init__(
            name,
            live=live,
            fps=declared_fps(self._media.stream),
            frame_count=None if live else declared_count(self._media.stream),
        )
        self.notes.extend(self._media.notes)
        self._label_of = label_of
        self._lock = threading.Lock()
        self._closed = False
        self._begun = False
        self._kind = kind

    def __iter__(self) -> Iterator[Frame]:
        if not self._rewind():
            return
        reading = _Reading(self)
        while True:
            with self._lock:
                if self._closed:
                    self._media.close()
                    return
                frames = reading.step()
            if frames is None:
                break
            yield from frames
        if self.fps is None:
            self.fps = reading.clock.measured_fps
        self.skipped.extend(Skipped(self.name, loss) for loss in reading.losses())

    def _rewind(self) -> bool:
        """Rewind if possible; a live source continues. Return whether there is something to read."""
        if self._begun and not self.live:
            if self._kind == "pipe":
                return False
            with self._lock:
                self._media.close()
                if not self._closed:
                    self._media = self._open()
            self.skipped.clear()
        self._begun = True
        return True

    def close(self) -> None:
        self._closed = True
        if self._media.reader is not None:
            self._media.reader.stop()
        # A read may wait for its time limit: do not block the caller; the iterating thread releases it.
        if self._lock.acquire(timeout=_CLOSE_TIMEOUT_S):
            self._media.close()
            self._lock.release()


class _Reading:
    """One pass over an opened video."""

    def __init__(self, source: MediaSource) -> None:
        import av

        self._av = av
        self._source = source
        self._media = source._media
        self._stream = self._media.stream
        self._context = self._stream.codec_context
        self._tick_s = float(self._stream.time_base or 0)
        self._packets = self._media.container.demux()
        self._jpeg = self._context.name == "mjpeg"
        self._trace = _native.DamageTrace(self._context.name in _INTRA_ONLY)
        self._waiting: dict[int, tuple[_Packet, av.VideoFrame]] = {}
        self._deinterlacer = Deinterlacer()
        self._convert = Converter()
        self._by_frame_threads = bool(self._context.codec.capabilities & _FRAME_THREADS)
        self._damaged_before = False
        self._corrupt_before = False
        self._refreshed_by_parts = False
        self._damaged_since_key = False
        self._parsed = self._media.container.format.name in ("mpegts", "mpeg", "rtsp", "rtp")
        self._turn: tuple[int, bool] | None = None
        self._rotation = 0
        self.clock = MediaClock(self._media, source.live)
        self._given = 0
        self._frames_decoded = 0
        self._lost = 0
        self._sent = 0
        self._errors_in_a_row = 0
        self._cause = ""
        self._cut = self._media.cut
        self._ended = False
        self._network = source._kind in ("stream", "address")
        self._video_ns = time.monotonic_ns()
        self._undecoded_since_ns: int | None = None
        self._silent: dict[int, float | None] = {}
        self._newest_frame_s: float | None = None
        self._interlaced = False
        self._camera_clock = CameraClock(source.notes)
        if source._options.camera_clock and not self.clock.reads_camera_clock:
            source.notes.append("camera clock: requires PyAV 18 (Python 3.11 or later); using the arrival time")

    def step(self) -> list[Frame] | None:
        """Read one packet; return the frames that are ready, or None after the last."""
        if self._ended:
            return None
        begin_ns = time.monotonic_ns()
        try:
            with log_lines() as lines:
                packet = next(self._packets, None)
        except self._av.FFmpegError as error:
            return self._failed(error, [text for _, _, text in lines])
        except OSError as error:
            self._cause = str(error)
            packet = None
        arrived_ns = time.monotonic_ns()
        for _, _, text in lines:
            if text.startswith("RTP: missed"):
                self._trace.lost()
            elif _CUT.search(text) and _UNKNOWN_LENGTH not in text:
                self._cut = True
        if packet is None:
            self._ended = True
            return list(self._finish())
        if packet.size == 0 and packet.dts is None and packet.pts is None:  # the demuxer's end: flush the decoder
            return []
        if packet.stream_index != self._stream.index:
            return self._beside(arrived_ns)
        self._errors_in_a_row = 0
        self._video_ns = arrived_ns
        if self._is_undecodable(arrived_ns):
            self._ended = True
            return list(self._finish())
        return list(self._take(packet, begin_ns, arrived_ns))

    def _is_undecodable(self, arrived_ns: int) -> bool:
        """Return whether packets give no frame any more: a camera that was set to another codec goes on sending."""
        if not self._given or not self._network:
            return False
        self._undecoded_since_ns = self._undecoded_since_ns or arrived_ns
        limit_s = self._source._options.read_timeout_s
        if arrived_ns - self._undecoded_since_ns <= limit_s * 1e9:
            return False
        self._cause = f"no frame could be decoded for {limit_s:g} s"
        return True

    def _beside(self, arrived_ns: int) -> list[Frame]:
        """Handle a packet of another stream, such as sound, which may go on when the video has stopped."""
        limit_s = self._source._options.read_timeout_s
        if self._network and arrived_ns - self._video_ns > limit_s * 1e9:
            self._cause = f"no video for {limit_s:g} s, while other data arrives"
            self._ended = True
            return list(self._finish())
        return []

    def losses(self) -> list[str]:
        """Return what was lost, for the report."""
        lost, read = self._lost, self._given + self._lost
        declared = self._source.frame_count
        reasons = []
        if lost:
            total = read if declared is None else max(read, declared)
            reasons.append(f"{lost} of {total} frames could not be decoded")
        elif self._sent and not self._given:
            advice = "; FFmpeg reads no animated WebP: save it as a file" if self._context.name == "webp" else ""
            reasons.append(f"no frame could be decoded ({self._context.name}{advice})")
        if self._source.live:
            why = f": {self._cause}" if self._cause else ""
            reasons.append(f"stopped giving frames after {read}{why}")
        elif declared is not None and self._missing(declared):
            reasons.append(f"gave {read} of {declared} frames; it is cut off or damaged")
        elif self._cut and declared is None:
            reasons.append(f"gave {read} frames; it is cut off or damaged")
        return reasons

    def _missing(self, declared: int) -> bool:
        missing = declared - self._sent
        tolerated = max(_VIDEO["missing_frames_tolerated"], int(declared * _VIDEO["missing_share_tolerated"]))
        if missing <= 0:
            return False
        return self._cut or (missing > tolerated and self.clock.ends_early(self._stream))

    def _failed(self, error: av.FFmpegError, said: list[str]) -> list[Frame]:
        """Continue after a damaged packet; end after many in a row, or when the connection is gone."""
        self._errors_in_a_row += 1
        self._packets = self._media.container.demux()
        invalid = isinstance(error, self._av.InvalidDataError | self._av.BlockingIOError)
        limit = _VIDEO["broken_in_a_row_live" if self._source.live else "broken_in_a_row"]
        if invalid:
            self._trace.lost()
            self._cut = True
        if invalid and self._errors_in_a_row < limit:
            return []
        if isinstance(error, self._av.ExitError):
            self._cause = f"no data for {self._source._options.read_timeout_s:g} s"
        elif any(_UNKNOWN_LENGTH in text for text in said):
            self._cause = "the connection was closed"
        elif not invalid:
            self._cause = error.strerror or type(error).__name__
        self._ended = True
        return list(self._finish())

    def _take(self, packet: av.Packet[Any], begin_ns: int, arrived_ns: int) -> Iterator[Frame]:
        self._sent += 1
        pts = packet.pts
        # FFmpeg's parser flags the frame before the one whose data is missing.
        corrupt = packet.is_corrupt or self._corrupt_before
        self._corrupt_before = packet.is_corrupt and self._parsed
        key = packet.is_keyframe
        if key and self._refreshed_by_parts:
            # A refresh begins here. What was damaged before is whole again when the next one begins.
            key, self._damaged_since_key = not self._damaged_since_key, False
        self._damaged_since_key = self._damaged_since_key or corrupt
        number = self._trace.sent(pts, key, corrupt)
        info = _Packet(number, begin_ns, arrived_ns, key=packet.is_keyframe)
        if self._jpeg:
            yield from self._decode_jpeg(packet, info)
            return
        counted = self._context.name in _ONE_FRAME_A_PACKET and pts is not None
        if counted and not packet.is_discard:
            self._silent[number] = self._seconds(pts)
        packet.opaque = info
        decode_ns = time.monotonic_ns()
        try:
            decoded = self._context.decode(packet)
        except self._av.FFmpegError:
            # A decoder with threads reports the error of the packet that it was given first.
            delay = self._context.thread_count - 1 if self._by_frame_threads else 0
            self._trace.undecodable(max(0, number - delay))
            self._damaged_since_key = True
            if self._given and not counted:
                self._lost += 1
            decoded = []
        yield from self._decoded(decoded, info, (time.monotonic_ns() - decode_ns) // max(1, len(decoded)))

    def _decoded(self, decoded: list[av.VideoFrame], newest: _Packet, decode_ns: int) -> Iterator[Frame]:
        for frame in decoded:
            info = frame.opaque if isinstance(frame.opaque, _Packet) else newest
            info.decode_ns = decode_ns
            if frame.time_base is None and self._stream.time_base is not None:  # from the decoder's end
                frame.time_base = self._stream.time_base
            info.pts_s = self._seconds(frame.pts)
            self._interlaced = self._interlaced or frame.interlaced_frame
            self._count_silent(info)
            self._trace.decoded(info.number, frame.is_corrupt)
            self._damaged_since_key = self._damaged_since_key or frame.is_corrupt
            self._refreshed_by_parts = self._refreshed_by_parts or (info.key and frame.pict_type == _PREDICTED)
            self._waiting[info.number] = info, frame
        while (ready := self._trace.next()) is not None:
            number, damage = ready
            info, frame = self._waiting.pop(number)
            info.damage = damage
            if bool(damage) != self._damaged_before:
                # Deinterlacing mixes neighbours: a damaged frame must not reach a whole one.
                self._damaged_before = bool(damage)
                yield from self._shown(self._deinterlacer.flush(), info)
            yield from self._shown(self._deinterlacer.push(frame), info)

    def _count_silent(self, info: _Packet) -> None:
        """Count packets whose frame should have come before this one, and did not."""
        self._silent.pop(info.number, None)
        for number, pts_s in list(self._silent.items()):
            if number < info.number and pts_s is not None and info.pts_s is not None and pts_s < info.pts_s:
                del self._silent[number]
                # Before the first frame, a stream was joined; interlaced, two packets may hold one frame's fields.
                if self._frames_decoded and not self._interlaced:
                    self._lost += 1
                    self._trace.undecodable(number)
        self._frames_decoded += 1

    def _shown(self, frames: Iterator[av.VideoFrame], newest: _Packet) -> Iterator[Frame]:
        for frame in frames:
            info = frame.opaque if isinstance(frame.opaque, _Packet) else newest
            begin_ns = time.monotonic_ns()
            image = self._convert(frame)
            image = turned(image, *self._orientation(frame))
            info.decode_ns += time.monotonic_ns() - begin_ns
            yield self._frame(image, info)

    def _orientation(self, frame: av.VideoFrame) -> tuple[int, bool]:
        # Whoever looks at a frame's side data leaves the frame, with its pixels, to the garbage collector.
        if self._turn is None or (frame.key_frame and frame.rotation != self._rotation):
            self._turn, self._rotation = orientation_of(frame), frame.rotation
        return self._turn

    def _seconds(self, ticks: int | None) -> float | None:
        return None if ticks is None else ticks * self._tick_s

    def _decode_jpeg(self, packet: av.Packet[Any], info: _Packet) -> Iterator[Frame]:
        begin_ns = time.monotonic_ns()
        info.pts_s = self._seconds(packet.pts)
        info.damage = "corrupt" if packet.is_corrupt else ""
        try:
            image = decode_image(bytes(packet), self._source.name, apply_orientation=False)
        except SourceError:
            self._lost += 1
            return
        if self._turn is None:
            with suppress(self._av.FFmpegError):
                self._turn = next(map(orientation_of, self._context.decode(packet)), None)
            self._turn = self._turn or (0, False)
        image = turned(image, *self._turn)
        info.decode_ns = time.monotonic_ns() - begin_ns
        yield self._frame(image, info)

    def _frame(self, image: NDArray[np.uint8], info: _Packet) -> Frame:
        index = self._given + self._lost
        self._given += 1
        self._undecoded_since_ns = None
        captured_ns = self._captured_ns(info)
        return Frame(
            image=image,
            index=index,
            name=f"{self._source.name}#{index}",
            captured_ns=captured_ns,
            capture_ms=max(0, captured_ns - info.begin_ns) / 1e6,
            decode_ms=info.decode_ns / 1e6,
            label=self._source._label_of(index),
            media_ns=self.clock.media_ns(info.pts_s, info.arrived_ns),
            damage=_DAMAGE[info.damage] if info.damage else None,
        )

    def _captured_ns(self, info: _Packet) -> int:
        if not self._source._options.camera_clock:
            return info.arrived_ns
        age_ns = self.clock.camera_age_ns(info.pts_s, info.arrived_ns)
        return self._camera_clock.captured_ns(age_ns, info.arrived_ns)

    def _finish(self) -> Iterator[Frame]:
        """Yield what decoder and deinterlacer still hold."""
        newest = _Packet(-1, now := time.monotonic_ns(), now)
        decoded: list[av.VideoFrame] = []
        if not self._jpeg and self._sent:
            try:
                decoded = self._context.decode(None)
            except self._av.FFmpegError:
                decoded = []
        self._trace.finish()
        yield from self._decoded(decoded, newest, 0)
        if self._frames_decoded and not self._interlaced:
            self._lost += len(self._silent)
        yield from self._shown(self._deinterlacer.flush(), newest)
