"""Reference preprocessing in NumPy: bit for bit Pillow's resize and torchvision's ToTensor + Normalize.

The native core is held against this, and this against Pillow and torchvision themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.contract.contract import Color, Filter, InputContract
from edgeproof_runtime.contract.preprocess import check_frame
from edgeproof_runtime.errors import FrameError
from reference.geometry import Axis, Geometry, plan

__all__ = ["ReferencePreprocessor"]

PRECISION_BITS = 32 - 8 - 2  # Pillow's fixed point for 8-bit channels (src/libImaging/Resample.c)


def _sinc(x: float) -> float:
    if x == 0.0:
        return 1.0
    x *= math.pi
    return math.sin(x) / x


def _box(x: float) -> float:
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x: float) -> float:
    x = abs(x)
    return 1.0 - x if x < 1.0 else 0.0


def _bicubic(x: float) -> float:
    a = -0.5  # Keys' cubic convolution
    x = abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / 3) if -3.0 <= x < 3.0 else 0.0


_KERNELS: dict[Filter, tuple[Callable[[float], float], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}


class ReferencePreprocessor:
    """Turns frames into input tensors as an `InputContract` says."""

    def __init__(self, contract: InputContract) -> None:
        self.contract = contract

    def __call__(
        self, frame: NDArray[Any], out: NDArray[np.generic] | None = None, *, color: Color = "bgr"
    ) -> NDArray[np.generic]:
        """Preprocess one frame.

        Args:
            frame: uint8 ``HxWx3`` in the order ``color``, or ``HxW`` / ``HxWx1`` gray; for color ``channels``
                ``HxWxC`` of the contract's ``frame_dtype``. Any strides.
            out: where to write: one batch slot, ``CxHxW`` or ``HxWxC`` of the contract's dtype.
            color: channel order of a three-channel frame; OpenCV's is ``bgr``.

        Returns:
            The tensor of one frame (without batch dimension): ``out`` where it was given.

        Raises:
            FrameError: the frame or ``out`` is of a wrong dtype or shape.
        """
        check_frame(frame, self.contract)
        pixels = self._pixels(frame, color)
        tensor = self._float_stage(pixels)
        if out is None:
            return tensor
        if out.shape != tensor.shape or out.dtype != tensor.dtype:
            raise FrameError(
                "out: does not match the contract",
                got=f"{out.dtype} {out.shape}",
                expected=f"{tensor.dtype} {tensor.shape}",
            )
        out[...] = tensor
        return out

    def uint8_stage(self, frame: NDArray[np.uint8], *, color: Color = "bgr") -> NDArray[np.uint8]:
        """The resized, cropped, padded picture: uint8 ``HxWxC`` in the contract's channel order."""
        return self._pixels(frame, color)

    def _pixels(self, frame: NDArray[Any], color: Color) -> NDArray[Any]:
        """The picture of uint8, or of float32 where the frame is not uint8."""
        contract = self.contract
        pixels = _to_color(frame, color, contract.color)
        geometry = plan(contract, pixels.shape[0], pixels.shape[1])
        resized = _resample(pixels, geometry, contract.filter)
        height, width = contract.tensor_size
        if resized.shape[:2] == (height, width):
            return resized
        canvas = np.empty((height, width, contract.channels), resized.dtype)
        canvas[...] = np.asarray(contract.fill, resized.dtype)
        top, left = geometry.y.pad_start, geometry.x.pad_start
        canvas[top : top + resized.shape[0], left : left + resized.shape[1]] = resized
        return canvas

    def _float_stage(self, pixels: NDArray[Any]) -> NDArray[np.generic]:
        contract = self.contract
        if contract.layout == "NCHW":
            pixels = pixels.transpose(2, 0, 1)
            shape = (-1, 1, 1)
        else:
            shape = (1, 1, -1)
        if contract.dtype == "uint8":
            return np.ascontiguousarray(pixels)
        tensor = np.ascontiguousarray(pixels).astype(np.float32)
        tensor /= np.float32(contract.scale)
        tensor -= np.asarray(contract.mean, np.float32).reshape(shape)
        tensor /= np.asarray(contract.std, np.float32).reshape(shape)
        return tensor.astype(np.float16) if contract.dtype == "float16" else tensor


def _to_color(frame: NDArray[Any], source: Color, target: Color) -> NDArray[Any]:
    if frame.ndim == 2:
        frame = frame[:, :, None]
    if target == "channels":
        return frame if frame.dtype == np.uint8 else frame.astype(np.float32)
    if target == "gray":
        if frame.shape[2] == 1:
            return frame
        wide = frame.astype(np.uint32)
        blue, green, red = (wide[:, :, i] for i in ((0, 1, 2) if source == "bgr" else (2, 1, 0)))
        # Pillow's fixed-point ITU-R 601-2 luma (src/libImaging/Convert.c, L24)
        luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        return luma.astype(np.uint8)[:, :, None]
    if frame.shape[2] == 1:
        return np.repeat(frame, 3, axis=2)
    return frame if source == target else frame[:, :, ::-1]


def _resample(pixels: NDArray[Any], geometry: Geometry, name: Filter) -> NDArray[Any]:
    if name == "nearest":
        return pixels[_nearest(geometry.y)][:, _nearest(geometry.x)]
    if pixels.dtype != np.uint8:
        for axis in (0, 1) if geometry.vertical_first else (1, 0):
            pixels = _convolve_exactly(pixels, geometry.y if axis == 0 else geometry.x, name, axis)
        return pixels
    passes = {0: _coefficients(geometry.y, name), 1: _coefficients(geometry.x, name)}
    for axis in (0, 1) if geometry.vertical_first else (1, 0):
        pixels = _convolve(pixels, passes[axis], axis)
    return pixels


def _nearest(axis: Axis) -> NDArray[np.intp]:
    step = axis.box / axis.resized
    # Pillow adds the step up instead of multiplying (src/libImaging/Geometry.c, ImagingScaleAffine).
    positions = np.full(axis.resized, step)
    positions[0] = step * 0.5
    index = np.minimum(np.add.accumulate(positions).astype(np.intp), axis.box - 1) + axis.box_start
    return index[axis.keep_start : axis.keep_start + axis.keep]


_Coefficients = tuple[NDArray[np.intp], NDArray[np.int32]]


def _coefficients(axis: Axis, name: Filter) -> _Coefficients:
    """First tap and fixed-point weights of each kept output pixel; follows Pillow's ``normalize_coeffs_8bpc``."""
    starts, exact = _exact_coefficients(axis, name)
    return starts, np.trunc(np.copysign(0.5, exact) + exact * (1 << PRECISION_BITS)).astype(np.int32)


def _exact_coefficients(axis: Axis, name: Filter) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """First tap and weights (zero beyond the last tap) of each kept output pixel; Pillow's ``precompute_coeffs``."""
    kernel, base_support = _KERNELS[name]
    scale = axis.box / axis.resized
    filter_scale = max(scale, 1.0)
    support = base_support * filter_scale
    taps = math.ceil(support) * 2 + 1
    starts = np.zeros(axis.keep, np.intp)
    weights = np.zeros((axis.keep, taps))
    inverse = 1.0 / filter_scale
    for i in range(axis.keep):
        center = (axis.keep_start + i + 0.5) * scale
        start = max(int(center - support + 0.5), 0)
        stop = min(int(center + support + 0.5), axis.box)
        raw = [kernel((j + start - center + 0.5) * inverse) for j in range(stop - start)]
        total = 0.0
        for value in raw:
            total += value
        for j, value in enumerate(raw):
            weights[i, j] = value / total if total != 0.0 else value
        starts[i] = axis.box_start + start
    return starts, weights


def _convolve(pixels: NDArray[np.uint8], coefficients: _Coefficients, axis: int) -> NDArray[np.uint8]:
    starts, weights = coefficients
    length = pixels.shape[axis]
    shape = (1, -1, 1) if axis == 1 else (-1, 1, 1)
    total: NDArray[np.int32] | None = None
    for tap in range(weights.shape[1]):
        weight = weights[:, tap]
        if not weight.any():
            continue
        index = np.minimum(starts + tap, length - 1)
        part = np.take(pixels, index, axis=axis).astype(np.int32) * weight.reshape(shape)
        total = part if total is None else total + part
    if total is None:
        raise AssertionError("a resampling filter with no weights")
    total += 1 << (PRECISION_BITS - 1)
    return np.clip(total >> PRECISION_BITS, 0, 255).astype(np.uint8)


def _convolve_exactly(pixels: NDArray[Any], axis: Axis, name: Filter, dimension: int) -> NDArray[Any]:
    """One pass as Pillow makes it for mode F: sums in double, the result rounded to float32."""
    if axis.box == axis.resized:  # Pillow leaves this pass out
        begin = axis.box_start + axis.keep_start
        return pixels.take(range(begin, begin + axis.keep), axis=dimension)
    starts, weights = _exact_coefficients(axis, name)
    shape = (1, -1, 1) if dimension == 1 else (-1, 1, 1)
    total: Any = 0.0
    for tap in range(weights.shape[1]):
        index = np.minimum(starts + tap, pixels.shape[dimension] - 1)
        total = total + pixels.take(index, axis=dimension).astype(np.float64) * weights[:, tap].reshape(shape)
    return np.asarray(total).astype(np.float32)
