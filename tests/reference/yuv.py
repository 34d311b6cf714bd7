"""YUV to BGR in NumPy, by the definition in docs/tensorrt.md."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FORMATS = ("nv12", "i420", "yuyv")

_BITS = 20


def factors(matrix: str, range_: str) -> tuple[int, int, int, int, int, int]:
    """Luma of black; 2^20 times the factors of luma, V in red, U and V in green (subtracted), U in blue."""
    if (matrix, range_) == ("bt601", "limited"):  # OpenCV's
        luma, red, green_u, green_v, blue = 1.164, 1.596, 0.391, 0.813, 2.018
        return 16, *(int(value * 2**_BITS) for value in (luma, red, green_u, green_v, blue))  # cut, not rounded
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    kg = 1 - kr - kb
    luma, chroma = (255 / 219, 255 / 224) if range_ == "limited" else (1.0, 1.0)
    exact = (luma, *(chroma * 2 * f for f in (1 - kr, kb * (1 - kb) / kg, kr * (1 - kr) / kg, 1 - kb)))
    return 16 if range_ == "limited" else 0, *(round(value * 2**_BITS) for value in exact)


def planes(frame: NDArray[np.uint8], format_: str) -> tuple[NDArray[np.int64], ...]:
    """Y, U and V of every pixel."""
    if format_ == "yuyv":
        luma, u, v = frame[:, :, 0], frame[:, 0::2, 1], frame[:, 1::2, 1]
        rows = 1
    else:
        height, width = frame.shape[0] // 3 * 2, frame.shape[1]
        luma, chroma = frame[:height], frame[height:].reshape(-1)
        pairs = chroma.reshape(2, -1) if format_ == "i420" else chroma.reshape(-1, 2).T
        u, v = (half.reshape(height // 2, width // 2) for half in pairs)
        rows = 2
    wide = (part.repeat(rows, axis=0).repeat(2, axis=1) for part in (u, v))
    return tuple(part.astype(np.int64) for part in (luma, *wide))


def bgr_of(frame: NDArray[np.uint8], format_: str, matrix: str, range_: str) -> NDArray[np.uint8]:
    """The BGR image that a YUV frame stands for."""
    black, luma, red_v, green_u, green_v, blue_u = factors(matrix, range_)
    y, u, v = planes(frame, format_)
    base = np.maximum(y - black, 0) * luma + (1 << (_BITS - 1))
    u, v = u - 128, v - 128
    channels = (base + blue_u * u, base - green_u * u - green_v * v, base + red_v * v)
    return np.stack([np.clip(channel >> _BITS, 0, 255).astype(np.uint8) for channel in channels], axis=2)


def noise(format_: str, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A frame of noise, as `edgeproof_runtime.contract.yuv.YuvFrame` takes it."""
    shape = (height, width, 2) if format_ == "yuyv" else (height * 3 // 2, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
