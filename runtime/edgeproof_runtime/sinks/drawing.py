"""Draw a frame with its prediction below it, legible at any resolution."""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.bands import visible
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sinks.lettering import Lettering, drawable
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.tasks.decision import Decision, Row

__all__ = ["Annotator"]

_MIN_WIDTH, _MAX_SIDE = 320, 1920
_ROWS = 3
# BGR
_PANEL, _TEXT, _FAINT = (32, 28, 26), (245, 245, 245), (170, 165, 160)
_BAR, _RIGHT, _WRONG, _UNSURE = (110, 84, 52), (72, 112, 40), (48, 48, 150), (60, 56, 52)


class Annotator:
    """Draw frames onto a canvas whose size the first frame sets.

    The frame, blended with its heat map if any, is drawn above a panel and is not covered. The panel has a row with the
    stream and the time, and the prediction's rows. Tiny frames are enlarged, huge ones reduced, and frames of another
    size are fitted in. The first row is green or red if the frame's ground truth is known, and grey if the prediction
    is unsure.

    Args:
        height, width: size of the first frame, pixels.
        live: whether the time is that of the capture (UTC), instead of the position in the file.
        events: thresholds below which a prediction is unsure; None: none is.
    """

    def __init__(self, height: int, width: int, *, live: bool = False, events: EventSettings | None = None) -> None:
        scale = min(_MAX_SIDE / max(height, width), max(1.0, _MIN_WIDTH / width))
        self._width = _even(max(_MIN_WIDTH, round(width * scale)))
        self._height = _even(max(2, round(height * scale)))
        self._live = live
        self._events = events
        self._row = max(20, _even(round(self._width * 0.042)))
        self._lettering = Lettering(self._row)

    @property
    def size(self) -> tuple[int, int]:
        """Return (width, height) of the canvas in pixels, both even, as video codecs require."""
        return self._width, self._height + (1 + _ROWS) * self._row

    def draw(self, decided: Decided[Decision]) -> NDArray[np.uint8]:
        """Return the annotated frame: BGR uint8 of `size`."""
        canvas = self._canvas()
        decision, truth = decided.decision, decided.frame.label
        self._draw_picture(canvas, decision.over(visible(decided.frame.image)))
        self._draw_line(canvas, self._height, decided.stream, self._time_of(decided), _FAINT)
        unsure = self._events is not None and not self._events.is_sure(decision)
        bar = _UNSURE if unsure else _BAR
        first = bar if truth is None else _RIGHT if decision.is_right(truth) else _WRONG
        for number, row in enumerate(decision.rows(_ROWS)):
            label = f"unsure: {row.label}" if unsure and not number and not decision.unknown else row.label
            ink = _FAINT if number or unsure else _TEXT
            self._draw_row(canvas, number, row._replace(label=label), bar if number else first, ink)
        return canvas

    def draw_gap(self, stream: str, what: str, seconds: float) -> NDArray[np.uint8]:
        """Return a card for a time without frames, such as ``no signal 00:00:12``: BGR uint8 of `size`."""
        canvas = self._canvas()
        text = f"{what} {_clock(seconds)}"
        large = self._lettering
        while large.row < self._height // 3 and Lettering(large.row + 4).width(text) < self._width * 0.8:
            large = Lettering(large.row + 4)
        text = large.fit(text, self._width)
        large.put(canvas, text, (self._width - large.width(text)) // 2, (self._height - large.row) // 2, _TEXT)
        self._draw_line(canvas, self._height, stream, "", _FAINT)
        return canvas

    def _canvas(self) -> NDArray[np.uint8]:
        width, height = self.size
        return np.full((height, width, 3), _PANEL, np.uint8)

    def _time_of(self, decided: Decided[Decision]) -> str:
        frame = decided.frame
        if self._live:
            time = f"{datetime.fromtimestamp(frame.captured_unix_s, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
            both = self._lettering.width(f"{drawable(decided.stream)} {time}")
            return time if both < self._width - self._row else time[11:]
        return frame.name if frame.media_ns is None else _clock(frame.media_ns / 1e9, 3)

    def _draw_picture(self, canvas: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
        height, width = image.shape[:2]
        scale = min(self._width / width, self._height / height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        if size != (width, height):
            # Keep the pixels of a tiny frame visible.
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale >= 3 else cv2.INTER_LINEAR
            image = cv2.resize(image, size, interpolation=how).astype(np.uint8, copy=False)
        left, up = (self._width - size[0]) // 2, (self._height - size[1]) // 2
        canvas[up : up + size[1], left : left + size[0]] = image

    def _draw_row(
        self, canvas: NDArray[np.uint8], number: int, row: Row, color: tuple[int, int, int], ink: tuple[int, int, int]
    ) -> None:
        up = self._height + (1 + number) * self._row
        length = round(self._width * min(max(row.bar, 0.0), 1.0))
        cv2.rectangle(canvas, (0, up + 1), (length, up + self._row - 2), color, cv2.FILLED)
        self._draw_line(canvas, up, row.label, row.figure, ink)

    def _draw_line(self, canvas: NDArray[np.uint8], up: int, left: str, right: str, ink: tuple[int, int, int]) -> None:
        letters, margin = self._lettering, self._row // 4
        right = letters.fit(drawable(right), self._width * 2 // 3)
        right_width = letters.width(right) if right else 0
        left = letters.fit(drawable(left), self._width - right_width - 3 * margin)
        letters.put(canvas, left, margin, up, ink)
        letters.put(canvas, right, self._width - right_width - margin, up, ink)


def _clock(seconds: float, digits: int = 0) -> str:
    """Return a time as ``HH:MM:SS``, with ``digits`` digits of a fraction."""
    unit = 10**digits
    whole, part = divmod(int(seconds * unit), unit)
    text = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{text}.{part:0{digits}d}" if digits else text


def _even(pixels: int) -> int:
    return pixels + pixels % 2
