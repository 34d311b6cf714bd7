"""Networks that output images: an autoencoder with an anomaly score, and a GAN's generator."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeproof_runtime.errors import InputError

__all__ = ["Autoencoder", "Generator"]

_DEPTH = 4  # halvings of the image by an encoder
_CELL = 4  # pixels per side of a cell of the heat map
_MEAN_OVER = 5  # cells per side of the averaging window
_BORDER = 32  # pixels from the border beyond which positions are equal
_DARKEST = 0.02  # smallest brightness to divide by


class Autoencoder(nn.Module):
    """A convolutional autoencoder, and a second network that detects defects in its residual.

    Image and residual, divided by the image's mean brightness to cancel exposure, go into a smaller encoder and decoder
    that outputs the probability of a defect per cell of 4x4 pixels. It is trained on defects drawn onto good images.
    The method is that of Zavrtanik et al., "DRAEM: A discriminatively trained reconstruction embedding for surface
    anomaly detection" (2021). The distance to the border is a further input, because the edge of a good part looks like
    a defect.

    The score is part of the network, so that every engine and program computes the same one.

    With skips every detail of good texture is reconstructed, so training must remove something (drawn defects, noise).
    Without skips, a bottleneck of ``2 * width`` channels at a sixteenth of the size limits the reconstruction.

    Args:
        channels: channels of image and reconstruction.
        size: pixels per side; a multiple of 16, at least 32.
        width: channels of the first layers; deeper ones have 2, 4 and 5 times as many.
        skips: whether the reconstructing decoder gets its encoder's features.
    """

    score_text: str = (
        f"-ln(1 - p), p the probability of a defect by image and residual, averaged over {_MEAN_OVER}x{_MEAN_OVER} "
        f"cells of {_CELL}x{_CELL} pixels; the largest"
    )
    border: Tensor

    def __init__(self, *, channels: int = 1, size: int = 256, width: int = 12, skips: bool = True) -> None:
        super().__init__()
        if size % 2**_DEPTH or size < 32:
            raise InputError(
                "--size: unsupported by this network",
                got=f"{size} pixels",
                expected=f"a multiple of {2**_DEPTH}, 32 or more",
            )
        self.rebuild: _Hourglass = _Hourglass(channels, channels, width, narrow=None if skips else 2 * width)
        self.judge: _Hourglass = _Hourglass(2 * channels + 2, 1, width, cell=_CELL)
        steps = torch.arange(size, dtype=torch.float32)
        near = (1 - torch.minimum(steps, steps.flip(0)) / _BORDER).clamp(min=0)
        grid = torch.stack([near[:, None].expand(size, size), near[None].expand(size, size)])
        self.register_buffer("border", grid.clone(), persistent=False)

    def logits(self, x: Tensor) -> Tensor:
        """Return `reconstruct` before its sigmoid."""
        logits: Tensor = self.rebuild(x)
        return logits

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the reconstruction: ``N x C x H x W`` of 0..1, with sides that are multiples of 16."""
        return torch.sigmoid(self.logits(x))

    def doubt(self, x: Tensor, reconstruction: Tensor, border: Tensor) -> Tensor:
        """Return the logits of a defect, ``N x 1 x H/4 x W/4``.

        Args:
            x, reconstruction: image and reconstruction, ``N x C x H x W``.
            border: nearness to the vertical and the horizontal border, 1 at it and 0 from 32 pixels on: ``N x 2 x H x
                W``; for whole images the buffer of that name.
        """
        brightness = x.mean(dim=(1, 2, 3), keepdim=True) + _DARKEST
        logits: Tensor = self.judge(torch.cat([x / brightness - 1, (x - reconstruction) / brightness, border], dim=1))
        return logits

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return reconstruction ``N x C x H x W``, heat map ``N x H/4 x W/4`` and score ``N x 1``."""
        reconstruction = self.reconstruct(x)
        # Broadcast by a sum: the export would fix a batch size read from a shape.
        border = self.border + 0 * x[:, :1]
        surprise = F.softplus(self.doubt(x, reconstruction, border))
        heat = F.avg_pool2d(surprise, _MEAN_OVER, 1, _MEAN_OVER // 2)
        return reconstruction, heat.squeeze(1), heat.amax(dim=(2, 3))


class _Hourglass(nn.Module):
    """Encoder and decoder: ``N x channels_in x H x W`` to ``N x channels_out x H/cell x W/cell``.

    Args:
        channels_in, channels_out: channels of input and output.
        width: number of channels of the first layer.
        cell: pixels per side of a cell of the output; a power of two below 16.
        narrow: channels of a bottleneck without skips; None gives the decoder the encoder's features.
    """

    def __init__(
        self, channels_in: int, channels_out: int, width: int, *, cell: int = 1, narrow: int | None = None
    ) -> None:
        super().__init__()
        self.skips: bool = narrow is None
        widths = [channels_in, width, 2 * width, 4 * width, 5 * width]
        self.down: nn.ModuleList = nn.ModuleList(
            nn.Sequential(_layer(a, b, 2), _layer(b, b)) for a, b in pairwise(widths)
        )
        inner = narrow or widths[-1]
        self.middle: nn.Sequential = _layer(widths[-1], inner)
        self.up: nn.ModuleList = nn.ModuleList()
        self.join: nn.ModuleList = nn.ModuleList()
        for level in reversed(range(cell.bit_length() - 1, _DEPTH)):
            out = widths[level] if level else max(4, 2 * width // 3)
            self.up.append(_layer(inner, out))
            self.join.append(_layer(out + (widths[level] if self.skips and level else 0), out))
            inner = out
        self.last: nn.Conv2d = nn.Conv2d(inner, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features: list[Tensor] = []
        for block in self.down:
            x = block(x)
            features.append(x)
        x = self.middle(x)
        for index, (up, join) in enumerate(zip(self.up, self.join, strict=True)):
            x = F.interpolate(up(x), scale_factor=2.0, mode="nearest")
            if self.skips and index < _DEPTH - 1:
                x = torch.cat([x, features[_DEPTH - 2 - index]], dim=1)
            x = join(x)
        answer: Tensor = self.last(x)
        return answer


class Generator(nn.Module):
    """A GAN's generator: a dense layer and two doublings, each with a 3x3 convolution.

    ``N x latent`` normal numbers to ``N x channels x size x size`` of 0..1.

    Args:
        latent: numbers per image.
        channels: channels of the image.
        size: pixels per side; a multiple of 4.
        width: channels of the last hidden layer; the one before has twice as many, the first four times.
    """

    def __init__(self, *, latent: int = 64, channels: int = 1, size: int = 28, width: int = 16) -> None:
        super().__init__()
        if size % 4 or size < 8:
            raise InputError("--size: must be a multiple of 4 for a generator", got=f"{size}", expected="8, 12, ...")
        side = size // 4
        self.layers: nn.Sequential = nn.Sequential(
            nn.Linear(latent, 4 * width * side * side, bias=False),
            nn.Unflatten(1, (4 * width, side, side)),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.Upsample(scale_factor=2.0),
            *_layer(4 * width, 2 * width),
            nn.Upsample(scale_factor=2.0),
            *_layer(2 * width, width),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        pictures: Tensor = self.layers(z)
        return pictures


def _layer(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
    )
