"""Defects drawn onto good pictures, for an autoencoder to learn what to remove: spots, lines, shades, patches, frays.

The idea of learning from drawn defects is that of Zavrtanik et al., "DRAEM: A discriminatively trained reconstruction
embedding for surface anomaly detection" (2021), section 3.3; the shapes here are plain geometry, not their noise masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFECTS", "draw_defects"]

Picture = NDArray[np.float32]

_DARK_SHARE = 0.65  # of all defects; holes and cracks are darker than the surface
_WEAKEST, _STRONGEST = 0.15, 0.8  # of the picture's mean brightness
_DARKEST_MEAN = 30.0  # brightness below which a defect is not made fainter still


def draw_defects(
    picture: NDArray[np.uint8], rng: np.random.Generator, kinds: tuple[str, ...] | None = None, count: int | None = None
) -> NDArray[np.uint8]:
    """A picture with defects.

    Args:
        picture: uint8 ``C x H x W``.
        rng: draws kind, place, size and strength.
        kinds: names of `DEFECTS`; None means all.
        count: how many; None means 1 to 3.
    """
    names = kinds or tuple(DEFECTS)
    drawn = picture.astype(np.float32)
    brightness = max(float(drawn.mean()), _DARKEST_MEAN)
    for _ in range(count or int(rng.integers(1, 4))):
        sign = -1 if rng.random() < _DARK_SHARE else 1
        strength = sign * rng.uniform(_WEAKEST, _STRONGEST) * brightness
        drawn = DEFECTS[names[int(rng.integers(len(names)))]](drawn, strength, rng)
    marked: NDArray[np.uint8] = np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
    return marked


def _spot(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    mask, (x, y) = _empty(picture, rng)
    axes = (2 * rng.uniform(2, 12), 2 * rng.uniform(2, 12))
    cv2.ellipse(mask, ((x, y), axes, float(rng.uniform(0, 180))), 1, -1)
    return picture + strength * _soft(mask, rng.uniform(0.5, 2))


def _line(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    mask, point = _empty(picture, rng)
    points, angle, step = [point], rng.uniform(0, 2 * np.pi), rng.uniform(4, 10)
    for _ in range(int(rng.integers(4, 16))):
        angle += rng.normal(0, 0.35)
        points.append((points[-1][0] + step * np.cos(angle), points[-1][1] + step * np.sin(angle)))
    cv2.polylines(mask, [np.array(points, np.int32)], False, 1, int(rng.integers(1, 4)), cv2.LINE_AA)
    return picture + strength * _soft(mask, rng.uniform(0.4, 1.2))


def _shade(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    factor = 1 + 0.8 * strength / max(float(picture.mean()), _DARKEST_MEAN) * _bell(picture, 12, 60, rng)
    shaded: Picture = (picture * factor).astype(np.float32)
    return shaded


def _patch(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    """Texture of another place, perhaps turned, in a ragged polygon."""
    mask, (x, y) = _empty(picture, rng)
    height, width = picture.shape[1:]
    corners = int(rng.integers(5, 9))
    angles, radii = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(0.5, 1, corners)
    wide, tall = rng.uniform(6, 30), rng.uniform(6, 30)
    polygon = np.stack([x + radii * np.cos(angles) * wide, y + radii * np.sin(angles) * tall], axis=1)
    cv2.fillPoly(mask, [polygon.astype(np.int32)], 1)
    other = np.roll(picture, [int(rng.integers(s // 4, max(s // 4 + 1, 3 * s // 4))) for s in (height, width)], (1, 2))
    if height == width and rng.random() < 0.5:
        other = other.transpose(0, 2, 1)
    mask = _soft(mask, 1.0)
    patched: Picture = (picture * (1 - mask) + mask * (other + strength * rng.uniform(0, 1))).astype(np.float32)
    return patched


def _fray(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    """Roughness: noise of one grain, fading out, with some shade."""
    mask = _bell(picture, 6, 40, rng)
    noise = _soft(rng.normal(0, 1, picture.shape[1:]).astype(np.float32), rng.uniform(0.8, 3))
    rough = noise / noise.std() * abs(strength) * 0.5 + strength * rng.uniform(0, 0.6)
    frayed: Picture = (picture + mask * rough).astype(np.float32)
    return frayed


DEFECTS: dict[str, Callable[[Picture, float, np.random.Generator], Picture]] = {
    "spot": _spot,
    "line": _line,
    "shade": _shade,
    "patch": _patch,
    "fray": _fray,
}


def _empty(picture: Picture, rng: np.random.Generator) -> tuple[Any, tuple[float, float]]:
    """A mask and a place (x, y) in it."""
    height, width = picture.shape[1:]
    return np.zeros((height, width), np.float32), (float(rng.integers(width)), float(rng.integers(height)))


def _bell(picture: Picture, least: float, most: float, rng: np.random.Generator) -> Picture:
    """A Gaussian hill of 1 with deviations of ``least`` to ``most`` pixels."""
    height, width = picture.shape[1:]
    row = np.exp(-0.5 * ((np.arange(width) - rng.integers(width)) / rng.uniform(least, most)) ** 2)
    column = np.exp(-0.5 * ((np.arange(height) - rng.integers(height)) / rng.uniform(least, most)) ** 2)
    return np.outer(column, row).astype(np.float32)


def _soft(mask: Any, deviation: float) -> Picture:
    soft: Picture = cv2.GaussianBlur(mask, (0, 0), deviation)
    return soft
