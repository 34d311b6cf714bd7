"""Frames drawn from a few numbers, the same in NumPy and C++ (`runtime/cpp/tests/core/test_frame_health.cpp`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["drawn"]


def drawn(spec: dict[str, Any]) -> NDArray[np.uint8]:
    """A frame of checks or a ramp with noise and square lights, BGR.

    Args:
        spec: ``width``, ``height``; ``base`` and ``amplitude`` in grey levels; ``period`` in pixels; ``ramp``: whether
            the pattern rises and falls instead of stepping; ``noise``: largest deviation; ``lights``: x, y, side.
    """
    y, x = np.mgrid[: spec["height"], : spec["width"]].astype(np.int64)
    period = spec["period"]
    if spec["ramp"]:
        pattern = np.abs((x + y) % (2 * period) - period) * spec["amplitude"] // period
    else:
        pattern = (x // period + y // period) % 2 * spec["amplitude"]
    channels = []
    for channel in range(3):
        mixed = (x * 73856093 ^ y * 19349663 ^ channel * 83492791) & 0xFFFFFFFF
        mixed = (mixed ^ mixed >> 13) * 1274126177 & 0xFFFFFFFF
        noise = (mixed >> 8) % (2 * spec["noise"] + 1) - spec["noise"]
        channels.append(np.clip(spec["base"] + pattern + noise, 0, 255))
    image = np.stack(channels, axis=2).astype(np.uint8)
    for left, top, side in spec["lights"]:
        image[top : top + side, left : left + side] = 250
    return image
