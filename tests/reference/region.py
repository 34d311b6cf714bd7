"""Which part of a frame the input tensor shows, in plain Python: the oracle of ``geometry.cpp``."""

from __future__ import annotations

from edgeproof_runtime.contract.contract import InputContract


def tensor_region(contract: InputContract, height: int, width: int) -> tuple[float, float, float, float]:
    """Top, left, height and width, in pixels of a ``height`` x ``width`` frame."""
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
    return top, left, tall, wide


def _span(length: int, box: int, resized: int, out: int) -> tuple[float, float]:
    """Start and length, in frame pixels, of what ``out`` pixels of the tensor show along one axis."""
    offset = round((resized - out) / 2) if resized > out else -((out - resized) // 2)
    scale = box / resized
    return (length - box + 1) // 2 + offset * scale, out * scale
