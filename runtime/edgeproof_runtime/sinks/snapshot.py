"""Encode a decided frame as a JPEG for people who look at it elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeproof_runtime.data.bands import visible
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.system.opencv import cv2

__all__ = ["snapshot_jpeg"]

_QUALITY = 80


def snapshot_jpeg(decided: Decided[Any], max_side: int = 960) -> bytes:
    """Return the frame under its prediction as JPEG.

    Args:
        decided: the frame and its prediction.
        max_side: most pixels per side; larger frames are reduced.
    """
    image = decided.decision.over(visible(decided.frame.image))
    height, width = image.shape[:2]
    shrink = min(1.0, max_side / max(height, width))
    if shrink < 1.0:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes()
