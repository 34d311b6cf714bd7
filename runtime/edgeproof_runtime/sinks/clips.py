"""Keep the newest packets of a recording, and write clips that begin before an event is known."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from edgeproof_runtime.sinks.encoding import Encoder, Packet, VideoFile

__all__ = ["Clips"]

_RING_BYTES = 64 << 20
_SLACK_NS = 10 * 10**9  # an event is known only after its stable frames, and a clip begins with a key frame


@dataclass(frozen=True, slots=True)
class _Kept:
    packet: Packet
    index: int


class Clips:
    """Writer of one clip at a time from the packets of a stream.

    Holds the packets of the last ``pre_s`` + 10 seconds, at most 64 MB.

    Args:
        pre_s: seconds before an event that its clip holds.
    """

    def __init__(self, pre_s: float) -> None:
        self._pre_ns = int(pre_s * 1e9)
        self._ring: deque[_Kept] = deque()
        self._bytes = 0
        self._file: VideoFile | None = None

    def add(self, packet: Packet, index: int) -> None:
        """Keep a packet, and write it to the open clip.

        Args:
            packet: next packet of the stream.
            index: index of its frame.

        Raises:
            OSError: the clip cannot be written; it ends here.
        """
        self._ring.append(_Kept(packet, index))
        self._bytes += packet.size
        oldest_ns = packet.time_ns - self._pre_ns - _SLACK_NS
        while self._ring[0].packet.time_ns < oldest_ns or self._bytes > _RING_BYTES:
            self._bytes -= self._ring.popleft().packet.size
            if not self._ring:
                break
        if self._file is not None:
            self._write(packet)

    def begin(self, encoder: Encoder, path: Path, index: int) -> None:
        """Begin a clip ``pre_s`` before a frame, or at the oldest packet kept.

        Raises:
            OSError: the clip cannot be written.
        """
        self.end()
        kept = list(self._ring)
        from_ns = next((k.packet.time_ns for k in kept if k.index >= index), 0) - self._pre_ns
        keys = [number for number, k in enumerate(kept) if k.packet.key]
        first = max((n for n in keys if kept[n].packet.time_ns <= from_ns), default=keys[0] if keys else len(kept))
        self._file = encoder.create(path)
        for k in kept[first:]:
            self._write(k.packet)

    def end(self) -> None:
        """End the open clip, if any.

        Raises:
            OSError: its end cannot be written.
        """
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, packet: Packet) -> None:
        file = self._file
        if file is None:
            return
        try:
            file.write(packet)
        except OSError:
            self.end()
            raise
