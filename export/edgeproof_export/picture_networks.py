"""Networks whose answer is a picture: an autoencoder that scores what it cannot rebuild, and a GAN's generator."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeproof_runtime.errors import InputError

__all__ = ["Autoencoder", "Generator"]

_DEPTH = 4  # times that the encoder halves the picture
_SCORE = (
    "residual{grain} averaged over {scales} pixels, each scale's size normalised per position by its mean and "
    "deviation on good pictures; heat map: largest scale per position; score: its maximum"
)
_DARKEST = 0.05  # brightness that a share is taken of at least
_GRAIN = {"none": None, "columns": 2, "rows": 3}  # name -> axis along which the residual's mean is taken off


class Autoencoder(nn.Module):
    """A convolutional encoder and decoder, and the anomaly score of what they leave over.

    The score is part of the network, so that every engine and program computes one and the same. The signed residual
    is averaged over squares of several sizes: texture, which the decoder never rebuilds exactly, averages out, and
    what is coherent stays. How much stays on good pictures differs by size and place, so each average counts in
    standard deviations above its mean on good pictures, as `fit_score` was told.

    Args:
        channels: of picture and reconstruction.
        size: pixels a side; a multiple of 32.
        width: channels of the first layer; deeper ones have 2, 4 and 5 times as many.
        skips: whether the decoder sees the encoder's features. With them every detail of good texture comes back, so
            that it only makes sense where training removes something (drawn defects, noise); without, a bottleneck
            of ``2 * width`` channels at a sixteenth of the size is all that passes.
        scales: sides of the squares, powers of two of at least 4.
        grain: ``columns`` or ``rows`` takes the residual's mean along each column or row off first, where the surface
            is ground or woven in that direction and its stripes would count as residual; ``none`` does not.
        relative: whether the residual is a share of the reconstruction's brightness, as light makes it.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        size: int = 256,
        width: int = 12,
        skips: bool = True,
        scales: Sequence[int] = (4, 8, 16, 32),
        grain: str = "none",
        relative: bool = False,
    ) -> None:
        super().__init__()
        if grain not in _GRAIN:
            raise InputError("unknown grain", got=grain, expected=", ".join(_GRAIN))
        if size % 32 or size < 2 * max(scales):
            raise InputError(
                "the pictures do not fit this network",
                got=f"{size} pixels",
                expected=f"a multiple of 32, {2 * max(scales)} or more",
            )
        self.skips, self.scales, self.grain, self.relative = skips, tuple(scales), grain, relative
        widths = [channels, width, 2 * width, 4 * width, 5 * width]
        self.down = nn.ModuleList(nn.Sequential(_layer(a, b, 2), _layer(b, b)) for a, b in pairwise(widths))
        inner = widths[-1] if skips else 2 * width
        self.middle = _layer(widths[-1], inner)
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(_DEPTH)):
            out = widths[level] if level else max(4, 2 * width // 3)
            self.up.append(_layer(inner, out))
            self.join.append(_layer(out + (widths[level] if skips and level else 0), out))
            inner = out
        self.last = nn.Conv2d(inner, channels, 3, padding=1)
        self.heat_size = size // 4
        for scale in self.scales:
            side = 2 * size // scale
            self.register_buffer(f"good_mean_{scale}", torch.zeros(1, side, side))
            self.register_buffer(f"good_deviation_{scale}", torch.ones(1, side, side))

    @property
    def score_text(self) -> str:
        """The score's definition for people."""
        grain = "" if self.grain == "none" else f" less its mean along {self.grain}"
        unit = " as a share of brightness" if self.relative else ""
        return _SCORE.format(scales=", ".join(map(str, self.scales)), grain=unit + grain)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The picture as the decoder sees it: ``N x C x H x W`` of 0..1, any sides that are multiples of 16."""
        return torch.sigmoid(self.logits(x))

    def logits(self, x: Tensor) -> Tensor:
        """`reconstruct` before its sigmoid."""
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
        logits: Tensor = self.last(x)
        return logits

    def residuals(self, x: Tensor, reconstruction: Tensor) -> list[Tensor]:
        """Size of the averaged residual per scale: ``N x 1 x 2H/scale x 2W/scale``, squares overlapping by half."""
        difference, axis = x - reconstruction, _GRAIN[self.grain]
        if self.relative:
            difference = difference / (reconstruction + _DARKEST)
        if axis is not None:
            difference = difference - difference.mean(dim=axis, keepdim=True)
        averages = [F.avg_pool2d(difference, scale, scale // 2, scale // 4) for scale in self.scales]
        return [average.abs().mean(dim=1, keepdim=True) for average in averages]

    def fit_score(self, means: Sequence[Tensor], deviations: Sequence[Tensor]) -> None:
        """Take what is usual on good pictures, per scale ``1 x 2H/scale x 2W/scale``."""
        for scale, mean, deviation in zip(self.scales, means, deviations, strict=True):
            self.get_buffer(f"good_mean_{scale}").copy_(mean)
            self.get_buffer(f"good_deviation_{scale}").copy_(deviation)

    def unusual(self, x: Tensor, reconstruction: Tensor) -> list[Tensor]:
        """`residuals` in standard deviations above the mean of good pictures, 0 below it."""
        return [
            F.relu((residual - self.get_buffer(f"good_mean_{scale}")) / self.get_buffer(f"good_deviation_{scale}"))
            for scale, residual in zip(self.scales, self.residuals(x, reconstruction), strict=True)
        ]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction ``N x C x H x W``, heat map ``N x H/4 x W/4`` and score ``N x 1``."""
        reconstruction = self.reconstruct(x)
        heat: Tensor | None = None
        for unusual in self.unusual(x, reconstruction):
            side = unusual.shape[-1]
            if side > self.heat_size:
                unusual = F.max_pool2d(unusual, side // self.heat_size)
            elif side < self.heat_size:
                unusual = F.interpolate(unusual, scale_factor=float(self.heat_size // side), mode="nearest")
            heat = unusual if heat is None else torch.maximum(heat, unusual)
        if heat is None:
            raise TypeError("an autoencoder without scales")
        return reconstruction, heat.squeeze(1), heat.amax(dim=(2, 3))


class Generator(nn.Module):
    """A GAN's generator: a dense layer and two doublings, each with a 3x3 convolution.

    ``N x latent`` normal numbers to ``N x channels x size x size`` of 0..1.

    Args:
        latent: numbers per picture.
        channels: of the picture.
        size: pixels a side; a multiple of 4.
        width: channels of the last hidden layer; the one before has twice as many, the first four times.
    """

    def __init__(self, *, latent: int = 64, channels: int = 1, size: int = 28, width: int = 16) -> None:
        super().__init__()
        if size % 4 or size < 8:
            raise InputError("a generator's pictures are a multiple of 4 pixels", got=f"{size}", expected="8, 12, ...")
        side = size // 4
        self.layers = nn.Sequential(
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
