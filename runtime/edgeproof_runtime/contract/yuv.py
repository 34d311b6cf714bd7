"""Frames as cameras and decoders have them: YUV, and the BGR image that they stand for.

BGR is the definition: a YUV frame becomes the tensor of its BGR image. The conversion is in integers of 2^-20, and each
chroma sample counts for its two or four pixels (docs/tensorrt.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.errors import FrameError
from edgeproof_runtime.system.spec import SPEC

__all__ = ["PixelFormat", "YuvFrame", "YuvMatrix", "YuvRange"]

PixelFormat = Literal["bgr", "nv12", "i420", "yuyv"]
YuvMatrix = Literal["bt601", "bt709"]
YuvRange = Literal["limited", "full"]


@dataclass(frozen=True, slots=True)
class YuvFrame:
    """A frame in YUV, laid out as OpenCV has it.

    Attributes:
        pixels: C-contiguous uint8. ``nv12`` and ``i420``: ``(height * 3 / 2) x width``, both even. ``yuyv``:
            ``height x width x 2``, an even width.
        format: ``nv12`` (Y, then UV interleaved), ``i420`` (Y, U, V) or ``yuyv`` (Y U Y V).
        matrix: ``bt601`` or ``bt709``, as the camera or the video flags it.
        range: ``limited`` (luma 16..235) or ``full`` (0..255).

    Raises:
        FrameError: the array does not fit the format, or a name is unknown.
    """

    pixels: NDArray[np.uint8]
    format: PixelFormat
    matrix: YuvMatrix = "bt601"
    range: YuvRange = "limited"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("format", self.format, SPEC["enums"]["pixel_format"][1:]),
            ("matrix", self.matrix, SPEC["enums"]["yuv_matrix"]),
            ("range", self.range, SPEC["enums"]["yuv_range"]),
        ):
            if value not in allowed:
                raise FrameError(f"YUV frame: unknown {name}", got=repr(value), expected=", ".join(allowed))
        packed = self.format == "yuyv"
        expected = "HxWx2, an even width" if packed else "(H*3/2)xW, H and W even"
        if not isinstance(self.pixels, np.ndarray) or self.pixels.dtype != np.uint8:
            got = getattr(self.pixels, "dtype", type(self.pixels).__name__)
            raise FrameError("YUV frame: wrong dtype", got=got, expected="a uint8 array")
        shape = self.pixels.shape
        fits = len(shape) == 3 and shape[2] == 2 if packed else len(shape) == 2 and shape[0] % 3 == 0
        if not fits or shape[1] % 2 != 0 or self.pixels.size == 0:
            raise FrameError(f"YUV frame: wrong shape for {self.format}", got=shape, expected=expected)
        if not self.pixels.flags.c_contiguous:
            raise FrameError("YUV frame: not C-contiguous", got=self.pixels.strides, fix="np.ascontiguousarray(pixels)")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        rows, width = self.pixels.shape[:2]
        return (rows if self.format == "yuyv" else rows // 3 * 2), width

    def to_bgr(self) -> NDArray[np.uint8]:
        """Return the BGR image that the frame stands for, ``HxWx3``.

        For ``bt601`` in limited range it equals ``cv2.cvtColor``'s.
        """
        out = np.empty((*self.size, 3), np.uint8)
        _native.yuv_to_bgr(self.pixels, self.format, self.matrix, self.range, out)
        return out
