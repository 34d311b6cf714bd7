"""Times of frames in a recording: those of the media, with long gaps cut short."""

from __future__ import annotations

from dataclasses import dataclass

from edgeproof_runtime.sources.base import Frame

__all__ = ["Gap", "Moment", "Pacing"]

_SIGNAL_LOST_NS = 10**9  # shorter outages are only a frame that is shown longer
_NO_FRAMES_NS = 10 * 10**9
_NO_FRAMES_TIMES = 5
_CARD_NS = 2 * 10**9
_FIRST_FPS = 25.0
_MOST_FPS = 240.0  # files without a frame rate may declare their clock's


@dataclass(frozen=True, slots=True)
class Gap:
    """Time without frames in a live stream.

    Attributes:
        what: ``no signal`` if the stream was stalled or disconnected, else ``not classified``.
        seconds: its length.
        time_ns: when its card is shown.
        length_ns: how long its card is shown.
    """

    what: str
    seconds: float
    time_ns: int
    length_ns: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Place of a frame in a recording.

    Attributes:
        time_ns: when it is shown, from the beginning.
        usual_ns: how long it is shown if no other frame follows.
        gap: gap before it, if any.
    """

    time_ns: int
    usual_ns: int
    gap: Gap | None = None


class Pacing:
    """Assign times to the frames of one stream, in order.

    Live frames keep the times of their capture. Frames of a file keep its presentation times or, without such times,
    follow each other at a constant rate.

    Args:
        fps: declared frames per second, or None.
        live: whether the source is live.
    """

    def __init__(self, fps: float | None, *, live: bool) -> None:
        self._live = live
        self._usual_ns = round(1e9 / (fps or _FIRST_FPS))
        # The last frame of a file of variable frame rate: containers say it of the rate that they declare.
        self._last_ns = self._usual_ns if fps is not None and fps <= _MOST_FPS and not live else None
        self._known = False
        self._first = True
        self._raw_ns: int | None = None
        self._time_ns = 0
        self._away_ns = 0

    def at(self, frame: Frame) -> Moment:
        """Return the place of the next frame."""
        raw_ns = frame.captured_ns if self._live else frame.media_ns
        before, self._raw_ns = self._raw_ns, raw_ns
        away_ns, self._away_ns = frame.away_ns - self._away_ns, frame.away_ns
        if self._first:
            self._first = False
            return Moment(0, self._last_ns or self._usual_ns)
        # Without times, or when a file begins again or is followed by another one, at the usual rate.
        known = raw_ns is not None and before is not None and raw_ns >= before
        passed_ns = raw_ns - before if known else self._usual_ns  # type: ignore[operator]  # checked above
        gap = self._gap(passed_ns, away_ns) if self._live else None
        if gap is not None:
            self._time_ns = gap.time_ns + gap.length_ns
        else:
            self._time_ns += passed_ns
            if known:
                self._usual_ns = (3 * self._usual_ns + passed_ns) // 4 if self._known else passed_ns
                self._known = True
        return Moment(self._time_ns, self._last_ns or self._usual_ns, gap)

    def _gap(self, passed_ns: int, away_ns: int) -> Gap | None:
        lost = away_ns >= _SIGNAL_LOST_NS
        late = self._known and passed_ns > max(_NO_FRAMES_NS, _NO_FRAMES_TIMES * self._usual_ns)
        if not lost and not late:
            return None
        length_ns = away_ns if lost else passed_ns
        card_ns = self._time_ns + min(self._usual_ns, _SIGNAL_LOST_NS)
        return Gap("no signal" if lost else "not classified", length_ns / 1e9, card_ns, min(length_ns, _CARD_NS))
