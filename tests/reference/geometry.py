"""Where the pixels of a frame go: the integer geometry of a contract, before any filter runs. geometry.cpp's twin."""

from __future__ import annotations

from dataclasses import dataclass

from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import FrameError

__all__ = ["MAX_FRAME_SIDE", "Axis", "Geometry", "plan"]

MAX_FRAME_SIDE = 1 << 20


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the way from the frame to the tensor; all lengths in pixels.

    Frame pixels ``[box_start, box_start + box)`` are resampled to ``resized`` pixels, of which
    ``keep`` pixels from ``keep_start`` on land at ``pad_start`` of the tensor's axis.
    """

    box_start: int
    box: int
    resized: int
    keep_start: int
    keep: int
    pad_start: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """Both axes of a frame under a contract, and which is resampled first."""

    y: Axis
    x: Axis
    vertical_first: bool


def plan(contract: InputContract, height: int, width: int) -> Geometry:
    """Geometry of a frame of ``height`` x ``width`` pixels under ``contract``.

    Rounding follows torchvision (``_compute_resized_output_size``, ``center_crop``), timm
    (``ResizeKeepRatio``, ``center_crop_or_pad``) and EfficientNet's ``crop_fraction`` reference.

    Raises:
        FrameError: the frame is empty, or a side of it, before or after the resize, passes `MAX_FRAME_SIDE`.
    """
    if height < 1 or width < 1:
        raise FrameError("frame: empty", got=f"{width}x{height} pixels", expected="at least 1x1")
    if max(height, width) > MAX_FRAME_SIDE:
        raise FrameError(
            "frame: too large",
            got=f"{width}x{height} pixels",
            expected=f"sides of at most {MAX_FRAME_SIDE} pixels",
        )
    target_h, target_w = contract.resize_size
    box_h, box_w = height, width
    if contract.resize == "shortest":
        short = target_h
        if width <= height:
            new_h, new_w = short * height // width, short
        else:
            new_h, new_w = short, short * width // height
    elif contract.resize in ("cover", "letterbox"):
        ratios = (height / target_h, width / target_w)
        ratio = min(ratios) if contract.resize == "cover" else max(ratios)
        new_h, new_w = max(1, round(height / ratio)), max(1, round(width / ratio))
    else:
        new_h, new_w = target_h, target_w
        if contract.crop_fraction is not None:
            limit = min(height * target_w, width * target_h)
            box_h = max(1, int(contract.crop_fraction * (limit / target_w)))
            box_w = max(1, int(contract.crop_fraction * (limit / target_h)))
    if max(new_h, new_w) > MAX_FRAME_SIDE:
        raise FrameError(
            "frame: too long and thin for this contract",
            got=f"{width}x{height} pixels, which would be resized to {new_w}x{new_h}",
            expected=f"a resized side of at most {MAX_FRAME_SIDE} pixels",
        )
    out_h, out_w = contract.tensor_size
    return Geometry(
        y=_axis(height, box_h, new_h, out_h),
        x=_axis(width, box_w, new_w, out_w),
        # Pillow 13's ImagingResampleInner; found by experiment on 13.0.0, held by tests against Pillow
        vertical_first=contract.resampler == "pillow-13" and box_h > new_h and box_h - new_h > 2 * (box_w - new_w),
    )


def _axis(length: int, box: int, resized: int, out: int) -> Axis:
    keep = min(resized, out)
    return Axis(
        box_start=(length - box + 1) // 2,
        box=box,
        resized=resized,
        keep_start=round((resized - out) / 2) if resized > out else 0,
        keep=keep,
        pad_start=(out - resized) // 2 if resized < out else 0,
    )
