"""A moving test card: frames of any size and rate, with ground truth that can be read back from the frame."""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.clip_labels import ClipLabels
from edgeproof_runtime.errors import SourceError
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.opencv import cv2
from edgeproof_runtime.system.text import whole_number

__all__ = ["SHAPES", "Card", "SyntheticSource", "draw_card", "read_card"]

SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond")

_EXPECTED = "synthetic://WIDTHxHEIGHT[@FPS][?frames=N&seed=0..255&hold=N&labels=shapes or NAME,NAME,...]"
_SPEC = re.compile(r"synthetic://(\d+)x(\d+)(?:@(\d+(?:\.\d+)?))?(?:\?(.*))?", re.IGNORECASE)
_MAX_PIXELS = 100_000_000
# BGR; the colour alone identifies a shape, so that a one-layer model can classify it.
_COLORS = ((40, 40, 230), (40, 200, 40), (230, 60, 40), (40, 220, 230), (220, 40, 220), (220, 220, 40))
_INDEX_BITS, _KIND_BITS, _SEED_BITS, _CHECK_BITS = 24, 8, 8, 16
_ROWS = 2
_SHOWN = 60
_COLUMNS = (_INDEX_BITS + _KIND_BITS + _SEED_BITS + _CHECK_BITS) // _ROWS
_STRIP_SHARE = 12  # both rows together take a 12th of the height
_MIN_WIDTH, _MIN_HEIGHT = 2 * _COLUMNS, 48
_BLACK, _WHITE = 16, 235


@dataclass(frozen=True, slots=True)
class Card:
    """Content of a test card.

    Attributes:
        index: index of the frame, modulo 2**24.
        kind: kind of the shape, an index into `SHAPES`.
        seed: seed of the source, 0..255.
    """

    index: int
    kind: int
    seed: int


class SyntheticSource(Source):
    """Source of test cards: live and paced with a frame rate, else read as fast as they are drawn.

    ``decode_ms`` is the drawing time; ``captured_ns`` is its start. Sources of the same address give the same frames,
    bit for bit.

    Args:
        width, height: size, pixels.
        fps: frames per second, or None.
        frames: number of frames; None means endless.
        seed: 0..255; changes colours, order and paths of the shapes.
        hold: number of frames that show the same shape.
        names: label of each shape in use; empty gives frames without labels.
        labels: label of each frame, instead of ``names``.
    """

    def __init__(
        self,
        width: int,
        height: int,
        fps: float | None = None,
        *,
        frames: int | None = None,
        seed: int = 0,
        hold: int = 30,
        names: tuple[str, ...] = (),
        labels: ClipLabels | None = None,
    ) -> None:
        name = f"synthetic://{width}x{height}" + (f"@{fps:g}" if fps is not None else "")
        super().__init__(name, live=fps is not None, fps=fps, frame_count=frames if fps is None else None)
        self._size = width, height
        self._frames = frames
        self._seed = seed
        self._hold = hold
        self._names = names
        self._labels = labels
        self._closed = threading.Event()

    @classmethod
    def of(cls, spec: str, labels: ClipLabels | None = None) -> Self:
        """Open an address such as ``synthetic://1280x720@30?frames=300&seed=1&labels=shapes``.

        Raises:
            SourceError: the address is invalid.
        """
        match = _SPEC.fullmatch(spec)
        if match is None:
            raise SourceError("test card: invalid address", got=spec, expected=_EXPECTED)
        width, height, fps = whole_number(match[1]), whole_number(match[2]), float(match[3]) if match[3] else None
        if not (width and height and width * height <= _MAX_PIXELS):
            got = f"{match[1]}x{match[2]}"[:_SHOWN]
            raise SourceError("test card: invalid size", got=got, expected="1x1 to 100 megapixels")
        if fps is not None and not 0 < fps <= 10_000:
            raise SourceError(
                "test card: invalid frame rate", got=f"{fps:g}", expected="above 0, at most 10000 frames/s"
            )
        query = dict(parse_qsl(match[4] or "", keep_blank_values=True))
        names = query.pop("labels", "")
        numbers = {}
        for key, lowest, highest in (("frames", 1, 2**_INDEX_BITS), ("seed", 0, 2**_SEED_BITS - 1), ("hold", 1, 2**31)):
            text = query.pop(key, None)
            if text is None:
                continue
            number = whole_number(text)
            if number is None or not lowest <= number <= highest:
                raise SourceError(f"test card: invalid {key}", got=text[:_SHOWN], expected=f"{lowest} to {highest}")
            numbers[key] = number
        if query:
            raise SourceError("test card: unknown option", got=next(iter(query)), expected=_EXPECTED)
        chosen = SHAPES if names == "shapes" else tuple(part.strip() for part in names.split(",") if part.strip())
        if len(chosen) > len(SHAPES):
            raise SourceError("test card: too many labels", got=len(chosen), expected=f"at most {len(SHAPES)}")
        return cls(width, height, fps, names=chosen, labels=labels, **numbers)

    def __iter__(self) -> Iterator[Frame]:
        draw = _Drawing(*self._size, self._seed)
        kinds = len(self._names) or len(SHAPES)
        begin = time.monotonic_ns()
        index = 0
        while self._frames is None or index < self._frames:
            waiting = time.monotonic_ns()
            if self.fps is not None:
                due = begin + round(index * 1e9 / self.fps)
                self._closed.wait(max(0, due - waiting) / 1e9)
            if self._closed.is_set():
                return
            captured = time.monotonic_ns()
            kind = (index // self._hold + self._seed) % kinds
            image = draw(Card(index % 2**_INDEX_BITS, kind, self._seed))
            yield Frame(
                image=image,
                index=index,
                name=f"{self.name}#{index}",
                captured_ns=captured,
                capture_ms=(captured - waiting) / 1e6,
                decode_ms=(time.monotonic_ns() - captured) / 1e6,
                label=self._label(index, kind),
            )
            index += 1

    def _label(self, index: int, kind: int) -> str | None:
        if self._labels is not None:
            return self._labels.at(index)
        return self._names[kind] if self._names else None

    def close(self) -> None:
        self._closed.set()


def draw_card(card: Card, width: int, height: int) -> NDArray[np.uint8]:
    """Draw one test card: BGR uint8 ``height x width x 3``."""
    return _Drawing(width, height, card.seed)(card)


def read_card(image: NDArray[np.uint8]) -> Card | None:
    """Read a test card, also after lossy compression or scaling.

    Args:
        image: BGR uint8 ``HxWx3``.

    Returns:
        None if the image is not a test card, smaller than 56x48, or damaged (by its checksum).
    """
    height, width = image.shape[:2]
    if width < _MIN_WIDTH or height < _MIN_HEIGHT:
        return None
    bits = 0
    for x, y, cell_width, cell_height in _cells(width, height):
        # Read the middle of a cell: compression blurs its edges.
        inner = image[
            y + cell_height // 4 : y + max(1, cell_height * 3 // 4),
            x + cell_width // 4 : x + max(1, cell_width * 3 // 4),
        ]
        bits = bits << 1 | int(inner.mean() > 128)
    check = bits & (1 << _CHECK_BITS) - 1
    payload = bits >> _CHECK_BITS
    if check != _check_of(payload):
        return None
    seed = payload & (1 << _SEED_BITS) - 1
    kind = payload >> _SEED_BITS & (1 << _KIND_BITS) - 1
    return Card(payload >> _SEED_BITS + _KIND_BITS, kind, seed)


def _cells(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (x, y, width, height) of the strip's cells, proportional to the size so that scaled cards are readable."""
    strip = height / _STRIP_SHARE
    rows = [round(height - strip + row * strip / _ROWS) for row in range(_ROWS + 1)]
    columns = [round(column * width / _COLUMNS) for column in range(_COLUMNS + 1)]
    for up, down in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            yield left, up, right - left, down - up


def _check_of(payload: int) -> int:
    return zlib.crc32(payload.to_bytes(5, "big")) & (1 << _CHECK_BITS) - 1


class _Drawing:
    """Draw cards of one size; the background is drawn once, to keep the drawing fast."""

    def __init__(self, width: int, height: int, seed: int) -> None:
        self._width, self._height = width, height
        rng = np.random.default_rng(seed)
        coarse = rng.integers(70, 150, (5, 8, 1), dtype=np.uint8).repeat(3, axis=2)
        coarse = np.concatenate([coarse, coarse], axis=1)
        # Twice as wide: a window moves over it.
        wide = cv2.resize(coarse, (2 * width, height), interpolation=cv2.INTER_CUBIC)
        self._background = wide.astype(np.uint8, copy=False)
        self._phase = float(rng.uniform(0, 2 * math.pi))
        self._cells = list(_cells(width, height)) if width >= _MIN_WIDTH and height >= _MIN_HEIGHT else []

    def __call__(self, card: Card) -> NDArray[np.uint8]:
        width, height = self._width, self._height
        shift = card.index * max(1, width // 200) % width
        canvas: NDArray[np.uint8] = self._background[:, shift : shift + width].copy()
        turn = 2 * math.pi * card.index / 120 + self._phase
        center = round(width * (0.5 + 0.22 * math.sin(turn))), round(height * (0.45 + 0.15 * math.sin(2 * turn)))
        _draw_shape(canvas, card.kind, center, max(1, round(min(width, height) * 0.22)))
        if self._cells:
            payload = (card.index << _KIND_BITS | card.kind) << _SEED_BITS | card.seed
            bits = payload << _CHECK_BITS | _check_of(payload)
            for place, (x, y, cell_width, cell_height) in enumerate(reversed(self._cells)):
                canvas[y : y + cell_height, x : x + cell_width] = _WHITE if bits >> place & 1 else _BLACK
        return canvas


def _draw_shape(canvas: NDArray[np.uint8], kind: int, center: tuple[int, int], radius: int) -> None:
    (x, y), color = center, _COLORS[kind % len(_COLORS)]
    name = SHAPES[kind % len(SHAPES)]
    if name == "circle":
        cv2.circle(canvas, center, radius, color, cv2.FILLED)
    elif name == "ring":
        cv2.circle(canvas, center, radius, color, max(1, radius // 3))
    elif name == "cross":
        arm = radius // 3
        cv2.rectangle(canvas, (x - radius, y - arm), (x + radius, y + arm), color, cv2.FILLED)
        cv2.rectangle(canvas, (x - arm, y - radius), (x + arm, y + radius), color, cv2.FILLED)
    else:
        corners = {
            "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
            "triangle": [(0, -1), (1, 1), (-1, 1)],
            "diamond": [(0, -1), (1, 0), (0, 1), (-1, 0)],
        }[name]
        points = np.array([(x + radius * dx, y + radius * dy) for dx, dy in corners], np.int32)
        cv2.fillPoly(canvas, [points], color)
