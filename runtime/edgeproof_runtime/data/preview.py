"""Small JPEGs of frames, for reports and notebooks."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edgeproof_runtime.data.bands import visible
from edgeproof_runtime.system.opencv import cv2

__all__ = ["Preview", "preview"]

_SIDE = 320
_JPEG_QUALITY = 85


class Preview(NamedTuple):
    """A frame as a JPEG of at most 320 pixels a side.

    Attributes:
        jpeg: the bytes of the file.
        width, height: pixels.
    """

    jpeg: bytes
    width: int
    height: int

    @property
    def url(self) -> str:
        """The JPEG as a ``data:`` URL."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode('ascii')}"


def preview(frame: NDArray[Any]) -> Preview:
    """Shrink a frame and encode it.

    Args:
        frame: uint8 ``HxWx3`` BGR or ``HxW`` gray, or any frame that `visible` shows.

    Raises:
        ValueError: OpenCV cannot encode the frame.
    """
    frame = visible(frame)
    height, width = frame.shape[:2]
    shrink = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = frame if shrink == 1.0 else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    encoded, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise ValueError(f"a frame of shape {frame.shape} cannot be encoded as JPEG")
    return Preview(jpeg.tobytes(), *size)
