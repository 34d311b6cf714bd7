"""A frame to look at in a report, and what the model said of it."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Thumbnail"]

_THUMBNAIL_SIDE = 320
_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A frame to look at, and what the model said. Build it with `of`.

    Attributes:
        name: file name or frame number.
        jpeg: a thumbnail.
        width: of the thumbnail, pixels.
        height: of the thumbnail, pixels.
        label: the model's first answer.
        probability: of that answer, 0..1; None where the model gives none.
        truth: the right label, None where nobody gave it.
    """

    name: str
    jpeg: bytes
    width: int
    height: int
    label: str
    probability: float | None = None
    truth: str | None = None

    @classmethod
    def of(
        cls,
        name: str,
        frame: NDArray[np.uint8],
        label: str,
        probability: float | None = None,
        truth: str | None = None,
    ) -> Self:
        """Thumbnail of a frame.

        Args:
            name: file name or frame number.
            frame: uint8 ``HxWx3`` BGR or ``HxW`` gray; shrunk to at most 320 pixels a side.
            label: the model's first answer.
            probability: of that answer.
            truth: the right label, if known.
        """
        height, width = frame.shape[:2]
        shrink = min(1.0, _THUMBNAIL_SIDE / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        small = frame if shrink == 1.0 else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        encoded, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not encoded:
            raise ValueError(f"frame {name} of shape {frame.shape} cannot be encoded")
        return cls(name, jpeg.tobytes(), *size, label, probability, truth)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the thumbnail is base64."""
        return {**asdict(self), "jpeg": base64.b64encode(self.jpeg).decode("ascii")}
