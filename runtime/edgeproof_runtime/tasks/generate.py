"""The task ``generate``: images of a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.task_settings import LatentInput
from edgeproof_runtime.bundle.task_shapes import SHAPES
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.tasks.golden_inputs import SeedInputs
from edgeproof_runtime.tasks.record import Task

__all__ = ["TASK", "contact_sheet", "to_pictures"]

_GAP = 2
_BACKGROUND = 40


def to_pictures(output: Tensor, latent: LatentInput) -> NDArray[np.uint8]:
    """Convert a generator's output to images: ``round((x - low) / (high - low) * 255)``, halves to even, within 0..255.

    Args:
        output: ``N x C x H x W``.
        latent: range and channel order of the output.

    Returns:
        uint8 ``N x H x W`` grey, or ``N x H x W x 3`` BGR.

    Raises:
        InputError: a value is not finite.
    """
    values = output.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("generator output: values are not finite", fix="edgeproof verify BUNDLE")
    levels = (values - np.float32(latent.low)) / np.float32(latent.high - latent.low) * np.float32(255)
    pixels: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    if latent.color == "gray":
        gray: NDArray[np.uint8] = pixels[:, 0]
        return gray
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)[..., ::-1])


def contact_sheet(images: list[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Arrange images of one size side by side, ``columns`` a row.

    Args:
        images: uint8 ``HxW`` or ``HxWx3``, at least one.
        columns: images per row, at least 1.

    Returns:
        uint8 of the same number of channels.
    """
    height, width = images[0].shape[:2]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, *images[0].shape[2:])
    sheet = np.full(shape, _BACKGROUND, np.uint8)
    for number, image in enumerate(images):
        top = _GAP + number // columns * (height + _GAP)
        left = _GAP + number % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = image
    return sheet


TASK = Task(
    name="generate",
    summary="generates images",
    shape=SHAPES["generate"],
    ranked=False,
    golden_inputs=SeedInputs,
    metric=None,
    head=None,
    judge=None,
    open_dataset=None,
    first_use="sample {bundle} --grid grid.png",
    cpp="generate",
)
