"""Variation of good images: crop, mirroring, exposure and light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.system.opencv import cv2

__all__ = ["smooth_noise", "vary"]

_LARGEST_CROP = 128  # a part is enough for texture: a quarter of the work, and more variety
_EXPOSURE = 0.5  # largest change either way, as the logarithm of a factor
_LIGHT_SHARE = 0.5  # of the images are lit unevenly
_LIGHT = 0.25  # standard deviation of the logarithm of that light
_LIGHT_CELL = 64.0  # pixels per change of light


def vary(
    pictures: NDArray[np.uint8], border: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Crop, mirror both ways, and change exposure and light, separately for each image.

    Args:
        pictures: images, uint8 ``N x C x H x W``.
        border: float32 ``2 x H x W``, features of each place; cropped and mirrored with the images.
        rng: source of random numbers.

    Returns:
        uint8 ``N x C x crop x crop`` and float32 ``N x 2 x crop x crop``; crop is 128 or the shorter side.
    """
    height, width = pictures.shape[2:]
    crop = min(_LARGEST_CROP, height, width)
    varied, places = [], []
    for picture in pictures:
        top, left = _start(height, crop, rng), _start(width, crop, rng)
        down, across = (int(d) for d in rng.choice([-1, 1], 2))
        part, place = (
            whole[:, top : top + crop, left : left + crop][:, ::down, ::across] for whole in (picture, border)
        )
        light = np.full((crop, crop), rng.uniform(-_EXPOSURE, _EXPOSURE), np.float32)
        if rng.random() < _LIGHT_SHARE:
            light += np.float32(_LIGHT) * smooth_noise(crop, crop, (_LIGHT_CELL, _LIGHT_CELL), rng)
        varied.append(part * np.exp(light))
        places.append(place)
    lit: NDArray[np.uint8] = np.clip(np.rint(np.stack(varied)), 0, 255).astype(np.uint8)
    return lit, np.stack(places)


def smooth_noise(height: int, width: int, cell: tuple[float, float], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return normal noise on a grid of ``cell`` (down, across) pixels, interpolated cubically: float32 ``H x W``."""
    grid = rng.normal(0, 1, [max(2, int(np.ceil(s / c)) + 1) for s, c in zip((height, width), cell, strict=True)])
    noise = cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return noise.astype(np.float32)


def _start(side: int, crop: int, rng: np.random.Generator) -> int:
    # Drawn beyond the image and clipped, so that every other crop has a border, where surfaces differ most.
    return int(np.clip(rng.integers(-(crop // 2), side - crop // 2 + 1), 0, side - crop))
