"""Augmentation of a whole batch at once, each picture by its own draw.

torchvision's transforms draw once per call: a batch would vary as one, and a call per picture costs a
millisecond, more than the training step. One affine map and one resampling do all four.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeproof.training.options import Augmentation

__all__ = ["augment", "default_augmentation"]


def default_augmentation(channels: int, size: tuple[int, int]) -> Augmentation:
    """Photographs are mirrored and moved; grey pictures, often signs and digits, are never mirrored."""
    shorter = min(size)
    if channels == 1:
        return Augmentation(rotation_deg=8.0, crop=max(1, shorter // 16), scale=0.1)
    return Augmentation(flip=True, crop=max(1, shorter // 8))


def augment(pictures: Tensor, how: Augmentation) -> Tensor:
    """Vary each picture by itself.

    Args:
        pictures: float, ``N x C x H x W``.
        how: by how much.

    Returns:
        Of the same shape and dtype. What enters at the border is 0. Without rotation and scale every value
        is one of the input's, to float rounding.
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
    # affine_grid measures both axes from -1 to 1, so a turn of a picture that is not square needs their ratio.
    ratio = height / width
    rows = torch.stack([sign * cos, -sign * sin * ratio, across, sin / ratio, cos, down], dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
