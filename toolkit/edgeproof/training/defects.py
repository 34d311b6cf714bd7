"""Defects drawn onto good images, to train an autoencoder to remove and report them.

A defect is a shape filled with a material. Training on drawn defects, and shapes cut out of noise, follow
Zavrtanik et al., "DRAEM: A discriminatively trained reconstruction embedding for surface anomaly detection" (2021),
section 3.3. Material taken from the same image follows Li et al., "CutPaste: Self-supervised learning for anomaly
detection and localization" (2021).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof.training.variation import smooth_noise
from edgeproof_runtime.system.opencv import cv2

__all__ = ["MATERIALS", "SHAPES", "draw_defect", "draw_defects"]

Picture = NDArray[np.float32]

_DARK_SHARE = 0.65  # of all defects are darker than the surface, as holes and cracks are
_WEAKEST, _STRONGEST = 0.15, 0.8  # of the brightness


def draw_defects(picture: NDArray[np.uint8], rng: np.random.Generator, count: int | None = None) -> NDArray[np.uint8]:
    """Draw defects onto an image.

    Args:
        picture: image, uint8 ``C x H x W``.
        rng: source of shape, material, place, size and strength.
        count: number of defects; None draws 1 to 3.

    Returns:
        A new image of the same shape, uint8.
    """
    drawn = picture.astype(np.float32)
    shapes, materials = list(SHAPES), list(MATERIALS)
    for _ in range(count or int(rng.integers(1, 4))):
        shape = shapes[int(rng.integers(len(shapes)))]
        # A spot or a crack is too thin to show a texture.
        material = "tone" if shape in _THIN else materials[int(rng.integers(len(materials)))]
        drawn = draw_defect(drawn, shape, material, rng)
    marked: NDArray[np.uint8] = np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
    return marked


def draw_defect(picture: Picture, shape: str, material: str, rng: np.random.Generator) -> Picture:
    """Draw one defect onto a float32 ``C x H x W`` image of 0..255; the result is not clipped.

    Args:
        picture: image.
        shape: name in `SHAPES`.
        material: name in `MATERIALS`.
        rng: source of place, size and strength.
    """
    mask = _soft(SHAPES[shape](picture.shape[1], picture.shape[2], rng), rng.uniform(0.5, 1.5))
    inside = MATERIALS[material](picture, rng)
    if material == "tone" or rng.random() < 0.5:
        strength = rng.uniform(_WEAKEST, _STRONGEST) * (-1 if rng.random() < _DARK_SHARE else 1)
        # Half by the brightness of the place, half by that of the image, so that spots show on black too.
        inside = inside + strength * (inside + picture.mean()) / 2
    mixed: Picture = (picture * (1 - mask) + mask * inside).astype(np.float32)
    return mixed


def _spot(height: int, width: int, rng: np.random.Generator) -> Picture:
    mask, place = _empty(height, width, rng)
    axes = (2 * rng.uniform(2, 12), 2 * rng.uniform(2, 12))
    cv2.ellipse(mask, (place, axes, float(rng.uniform(0, 180))), 1, -1)
    return mask


def _line(height: int, width: int, rng: np.random.Generator) -> Picture:
    mask, place = _empty(height, width, rng)
    points, angle, step = [place], rng.uniform(0, 2 * np.pi), rng.uniform(4, 10)
    for _ in range(int(rng.integers(4, 16))):
        angle += rng.normal(0, 0.35)
        points.append((points[-1][0] + step * np.cos(angle), points[-1][1] + step * np.sin(angle)))
    cv2.polylines(mask, [np.array(points, np.int32)], False, 1, int(rng.integers(1, 4)), cv2.LINE_AA)
    return mask


def _polygon(height: int, width: int, rng: np.random.Generator) -> Picture:
    mask, (x, y) = _empty(height, width, rng)
    corners = int(rng.integers(3, 9))
    angles, radii = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(0.4, 1, corners)
    wide, tall = rng.uniform(8, 80, 2)
    points = np.stack([x + radii * np.cos(angles) * wide, y + radii * np.sin(angles) * tall], axis=1)
    cv2.fillPoly(mask, [points.astype(np.int32)], 1)
    return mask


def _islands(height: int, width: int, rng: np.random.Generator) -> Picture:
    """Return the mask where smooth noise is high: all such places, or one of them."""
    noise = smooth_noise(height, width, tuple(2.0 ** rng.uniform(2.5, 6.5, 2)), rng)
    mask = (noise > rng.uniform(0.6, 1.4) * noise.std()).astype(np.uint8)
    if rng.random() < 0.5:
        count, labels = cv2.connectedComponents(mask)
        mask = (labels == rng.integers(1, max(count, 2))).astype(np.uint8)
    islands: Picture = mask.astype(np.float32)
    return islands


def _tone(picture: Picture, rng: np.random.Generator) -> Picture:  # noqa: ARG001 - `draw_defect` adds the strength
    return picture


def _elsewhere(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the texture of another place, sometimes transposed or enlarged, at the brightness of the image."""
    height, width = picture.shape[1:]
    other = np.roll(picture, [int(rng.integers(s // 4, max(s // 4 + 1, 3 * s // 4))) for s in (height, width)], (1, 2))
    if height == width and rng.random() < 0.5:
        other = other.transpose(0, 2, 1)
    if rng.random() < 0.5:
        other = np.stack([cv2.resize(c, (2 * width, 2 * height))[:height, :width] for c in other])
    lit: Picture = other * (picture.mean() / max(float(other.mean()), 1.0))
    return lit


def _smooth(picture: Picture, rng: np.random.Generator) -> Picture:
    deviation = rng.uniform(1, 6)
    return np.stack([_soft(channel, deviation) for channel in picture])


def _rough(picture: Picture, rng: np.random.Generator) -> Picture:
    noise = _soft(rng.normal(0, 1, picture.shape[1:]).astype(np.float32), rng.uniform(0.6, 3))
    rough: Picture = picture * (1 + rng.uniform(0.1, 0.4) * noise / noise.std())
    return rough


SHAPES: dict[str, Callable[[int, int, np.random.Generator], Picture]] = {
    "islands": _islands,
    "spot": _spot,
    "line": _line,
    "polygon": _polygon,
}
_THIN = ("spot", "line")
MATERIALS: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "tone": _tone,
    "elsewhere": _elsewhere,
    "smooth": _smooth,
    "rough": _rough,
}


def _empty(height: int, width: int, rng: np.random.Generator) -> tuple[Picture, tuple[float, float]]:
    """Return an empty mask and a random place (x, y) in it."""
    return np.zeros((height, width), np.float32), (float(rng.integers(width)), float(rng.integers(height)))


def _soft(mask: Any, deviation: float) -> Picture:
    soft: Picture = cv2.GaussianBlur(mask, (0, 0), deviation)
    return soft
