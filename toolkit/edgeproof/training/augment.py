"""Augmentation of a whole batch at once, with separate random parameters per image.

torchvision's transforms draw once per call: one call per batch varies every image alike, and one call per image
takes a millisecond, more than the training step. One affine map and one resampling do flip, rotation, crop and scale.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeproof.training.options import Augmentation

__all__ = ["augment", "default_augmentation"]


def default_augmentation(channels: int, size: tuple[int, int]) -> Augmentation:
    """Return the default augmentation: colour is flipped and moved; grey, often signs and digits, is never flipped."""
    shorter = min(size)
    if channels == 1:
        return Augmentation(rotation_deg=8.0, crop=max(1, shorter // 16), scale=0.1)
    return Augmentation(flip=True, crop=max(1, shorter // 8))


def augment(pictures: Tensor, how: Augmentation) -> Tensor:
    """Augment each image separately.

    Args:
        pictures: float, ``N x C x H x W``.
        how: ranges of the augmentation.

    Returns:
        A tensor of the same shape and dtype. Pixels from outside the image are 0. Without rotation and scale,
        every value is one of the input's, up to float rounding.
    """
    count, _, height, width = pictures.shape
    device = pictures.device
    mirrored = torch.rand(count, device=device) < 0.5 if how.flip else None
    if not (how.rotation_deg or how.crop or how.scale):
        if mirrored is None:
            return pictures
        return torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)

    def spread(limit: float) -> Tensor:
        return limit * (2 * torch.rand(count, device=device) - 1)

    angle = spread(math.radians(how.rotation_deg))
    zoom = 1 / (1 + spread(how.scale))
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    sign = torch.ones(count, device=device) if mirrored is None else 1 - 2 * mirrored.float()
    across = torch.randint(-how.crop, how.crop + 1, (count,), device=device) * (2 / width)
    down = torch.randint(-how.crop, how.crop + 1, (count,), device=device) * (2 / height)
    # affine_grid measures both axes from -1 to 1, so rotating an image that is not square requires their ratio.
    ratio = height / width
    rows = torch.stack([sign * cos, -sign * sin * ratio, across, sin / ratio, cos, down], dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
