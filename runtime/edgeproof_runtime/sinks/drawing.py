"""Draw a frame with its decision below it, legible at any resolution."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.bands import visible
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.tasks.decision import Decision, Row

__all__ = ["Annotator"]

_MIN_WIDTH, _MAX_SIDE = 320, 1920
_ROWS = 3
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# BGR
_PANEL, _TEXT, _FAINT = (32, 28, 26), (245, 245, 245), (170, 165, 160)
_BAR, _RIGHT, _WRONG = (110, 84, 52), (72, 112, 40), (48, 48, 150)


class Annotator:
    """Draw frames onto a canvas whose size the first frame sets.

    The frame, blended with its heat map if any, is drawn above a panel with the decision's rows and is not covered.
    Tiny frames are enlarged, huge ones reduced, and frames of another size are fitted in. The panel is green or red if
    the frame's ground truth is known.

    Args:
        height, width: size of the first frame, pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        scale = min(_MAX_SIDE / max(height, width), max(1.0, _MIN_WIDTH / width))
        self._width = _even(max(_MIN_WIDTH, round(width * scale)))
        self._height = _even(max(2, round(height * scale)))
        self._row = max(20, _even(round(self._width * 0.042)))
        self._font_scale = self._row / 36
        self._thickness = max(1, round(self._row / 24))

    @property
    def size(self) -> tuple[int, int]:
        """Return (width, height) of the canvas in pixels, both even, as video codecs require."""
        return self._width, self._height + _ROWS * self._row

    def draw(self, decided: Decided[Decision]) -> NDArray[np.uint8]:
        """Return the annotated frame: BGR uint8 of `size`."""
        width, height = self.size
        canvas = np.full((height, width, 3), _PANEL, np.uint8)
        decision, truth = decided.decision, decided.frame.label
        self._draw_picture(canvas, decision.over(visible(decided.frame.image)))
        first_color = _BAR if truth is None else _RIGHT if decision.is_right(truth) else _WRONG
        for number, row in enumerate(decision.rows(_ROWS)):
            self._draw_row(canvas, number, row, _BAR if number else first_color)
        return canvas

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

    def _draw_row(self, canvas: NDArray[np.uint8], number: int, row: Row, color: tuple[int, int, int]) -> None:
        up = self._height + number * self._row
        baseline = up + round(self._row * 0.72)
        length = round(self._width * min(max(row.bar, 0.0), 1.0))
        cv2.rectangle(canvas, (0, up + 1), (length, up + self._row - 2), color, cv2.FILLED)
        figure_width = self._text_width(row.figure)
        margin = self._row // 4
        text = self._fit(row.label, self._width - figure_width - 3 * margin)
        ink = _FAINT if number else _TEXT
        self._put(canvas, text, margin, baseline, ink)
        self._put(canvas, row.figure, self._width - figure_width - margin, baseline, ink)

    def _fit(self, text: str, width: int) -> str:
        if self._text_width(text) <= width:
            return text
        while text and self._text_width(text + "...") > width:
            text = text[:-1]
        return text + "..."

    def _text_width(self, text: str) -> int:
        (width, _), _ = cv2.getTextSize(text, _FONT, self._font_scale, self._thickness)
        return int(width)

    def _put(self, canvas: NDArray[np.uint8], text: str, x: int, y: int, color: tuple[int, int, int]) -> None:
        cv2.putText(canvas, text, (x, y), _FONT, self._font_scale, color, self._thickness, cv2.LINE_AA)


def _even(pixels: int) -> int:
    return pixels + pixels % 2
