"""Which part of a frame the input tensor shows."""

from __future__ import annotations

from dataclasses import dataclass

from edgeproof_runtime.contract.contract import InputContract

__all__ = ["Region", "tensor_region"]


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in a frame, in pixels; it reaches beyond the frame where the tensor was padded."""

    top: float
    left: float
    height: float
    width: float


def tensor_region(contract: InputContract, height: int, width: int) -> Region:
    """The part of a ``height`` x ``width`` frame that becomes the tensor.

    The sides are those of ``geometry.cpp``, so that what is found in the tensor is drawn where it is.
    """
    target_h, target_w = contract.resize_size
    out_h, out_w = contract.tensor_size
    box_h, box_w = height, width
    resized_h, resized_w = target_h, target_w
    if contract.resize == "shortest":
        short = min(height, width)
        resized_h, resized_w = target_h * height // short, target_h * width // short
    elif contract.resize in ("cover", "letterbox"):
        ratios = (height / target_h, width / target_w)
        ratio = min(ratios) if contract.resize == "cover" else max(ratios)
        resized_h, resized_w = max(1, round(height / ratio)), max(1, round(width / ratio))
    elif contract.crop_fraction is not None:
        limit = min(height * target_w, width * target_h)
        box_h = max(1, int(contract.crop_fraction * (limit / target_w)))
        box_w = max(1, int(contract.crop_fraction * (limit / target_h)))
    top, tall = _span(height, box_h, resized_h, out_h)
    left, wide = _span(width, box_w, resized_w, out_w)
    return Region(top, left, tall, wide)


def _span(length: int, box: int, resized: int, out: int) -> tuple[float, float]:
    """Start and length, in frame pixels, of what ``out`` pixels of the tensor show along one axis."""
    offset = round((resized - out) / 2) if resized > out else -((out - resized) // 2)
    scale = box / resized
    return (length - box + 1) // 2 + offset * scale, out * scale
