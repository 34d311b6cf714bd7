"""A network that compares patches of an image with a memory bank of good patches (PatchCore)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeproof_runtime.errors import InputError

__all__ = ["PatchCore", "feature_network"]

_MAP_STRIDE = 4  # pixels per side of a cell of the heat map
_SMALLEST = 1e-12  # squared distance whose root still has a value


class PatchCore(nn.Module):
    """Anomaly score of an image: how far its strangest patches are from every patch in a bank of good ones.

    A patch is a place of the feature maps of a pretrained backbone, averaged over its neighbours. The maps of several
    strides are brought to the size of the finest and concatenated; each channel is standardised. The method is that of
    Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (2022), with another score of the image: the
    mean over a few patches instead of one, reweighted.

    Everything is part of the network, so that every engine and program computes the same score. The squared distances
    |a|² - 2 a·b + |b|² are one 1x1 convolution, whose weights are the bank.

    Args:
        backbone: ``timm:NAME`` or ``torchvision:NAME``, built without weights.
        strides: pixels per feature of the maps to use, finest first.
        size: height and width of the input, pixels.
        neighbourhood: features per side over which each map is averaged first; 1 or another odd number.
        share: share of the patches, those with the largest distances, whose mean distance is the score.
        bank: number of patches in the bank.
        mean, std: normalisation that the backbone was trained with, of RGB values 0..1. A grey input is repeated.
    """

    mean: Tensor
    std: Tensor
    center: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        backbone: str,
        strides: Sequence[int],
        size: Sequence[int],
        neighbourhood: int,
        share: float,
        bank: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        found, widths, (height, width) = feature_network(backbone, strides, size)
        self.backbone: nn.Module = found
        features = sum(widths)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self.grid: tuple[int, int] = (height, width)
        self.neighbourhood: int = neighbourhood
        self.strangest: int = max(1, round(share * height * width))
        self.score_text: str = (
            "distance of a patch to the nearest of a bank of good patches, in standardised features; "
            f"mean of the {self.strangest} largest"
        )
        self.map_size: tuple[int, int] = (max(height, size[0] // _MAP_STRIDE), max(width, size[1] // _MAP_STRIDE))
        self.register_buffer("center", torch.zeros(1, features, 1, 1))
        self.register_buffer("scale", torch.ones(1, features, 1, 1))
        self.compare: nn.Conv2d = nn.Conv2d(features, bank, 1)

    def patches(self, x: Tensor) -> Tensor:
        """Return the features of all patches, ``N x features x height x width``, before they are standardised."""
        maps: Sequence[Tensor] = self.backbone((x - self.mean) / self.std)
        around = self.neighbourhood
        if around > 1:
            maps = [F.avg_pool2d(one, around, 1, around // 2, count_include_pad=False) for one in maps]
        same = [
            one if one.shape[2:] == self.grid else F.interpolate(one, size=self.grid, mode="bilinear") for one in maps
        ]
        return torch.cat(same, dim=1)

    def take_weights(self, classifier: nn.Module) -> None:
        """Set the backbone's weights to those of a classifier of the same architecture."""
        model: Any = self.backbone.model
        own = model.state_dict()
        given = classifier.state_dict()
        model.load_state_dict({name: given[name] for name in own})

    def remember(self, center: Tensor, scale: Tensor, bank: Tensor) -> None:
        """Set what good patches are like.

        Args:
            center: subtracted from patches, ``features``.
            scale: centred patches are multiplied by it, ``features``.
            bank: standardised good patches, as many as the network was built for, ``bank x features``.
        """
        with torch.no_grad():
            self.center.copy_(center.view(1, -1, 1, 1))
            self.scale.copy_(scale.view(1, -1, 1, 1))
            self.compare.weight.copy_(-2 * bank[:, :, None, None])
            if self.compare.bias is not None:
                self.compare.bias.copy_(bank.square().sum(dim=1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return heat map ``N x H/4 x W/4`` and score ``N x 1``."""
        patches = (self.patches(x) - self.center) * self.scale
        squared = patches.square().sum(dim=1, keepdim=True) + self.compare(patches).amin(dim=1, keepdim=True)
        distance = squared.clamp(min=_SMALLEST).sqrt()
        heat = F.interpolate(distance, size=self.map_size, mode="bilinear")
        strangest = distance.flatten(1).topk(self.strangest, dim=1).values
        return heat.squeeze(1), strangest.mean(dim=1, keepdim=True)


def feature_network(
    architecture: str, strides: Sequence[int], size: Sequence[int]
) -> tuple[nn.Module, tuple[int, ...], tuple[int, int]]:
    """Build the part of a classifier that computes its feature maps, without weights.

    Args:
        architecture: ``timm:NAME`` or ``torchvision:NAME``.
        strides: pixels per feature of the wanted maps, finest first; of several maps the deepest is taken.
        size: height and width of the input, pixels.

    Returns:
        The network, from ``N x 3 x H x W`` to one map per stride; the channels of each map; and height and width of the
        first map.

    Raises:
        InputError: the architecture is unknown, or has no maps of these strides.
    """
    # `networks` registers this module's network.
    from edgeproof_export.networks import build_network

    library = architecture.partition(":")[0]
    if library not in _EXTRACTORS:
        raise InputError(
            "--backbone: not a classifier of a library", got=architecture, expected="timm:NAME, torchvision:NAME"
        )
    classifier = build_network(architecture, {}).eval()
    network, found = _EXTRACTORS[library](classifier, architecture, tuple(strides), (int(size[0]), int(size[1])))
    return network, tuple(shape[0] for shape in found), (found[0][1], found[0][2])


class _Intermediates(nn.Module):
    """The feature maps of a timm model."""

    def __init__(self, model: Any, indices: Sequence[int]) -> None:
        super().__init__()
        self.model, self.indices = model, list(indices)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.model.forward_intermediates(x, indices=self.indices, intermediates_only=True)
        return maps


class _Nodes(nn.Module):
    """The feature maps of a torchvision model."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        from torchvision.models.feature_extraction import create_feature_extractor

        self.model = create_feature_extractor(model, {name: str(number) for number, name in enumerate(names)})

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.model(x).values())


_Shape = tuple[int, int, int]


def _timm(model: Any, name: str, strides: tuple[int, ...], size: tuple[int, int]) -> tuple[nn.Module, list[_Shape]]:
    if not hasattr(model, "forward_intermediates"):
        raise InputError(f"--backbone: {name} gives no feature maps", fix="--backbone timm:resnet18")
    maps = _run(lambda x: model.forward_intermediates(x, intermediates_only=True), name, size)
    indices = _pick([tuple(one.shape[1:]) for one in maps], strides, size, name)
    model.prune_intermediate_layers(indices, prune_norm=False, prune_head=True)
    return _Intermediates(model, indices), [_chw(maps[index]) for index in indices]


def _torchvision(
    model: nn.Module, name: str, strides: tuple[int, ...], size: tuple[int, int]
) -> tuple[nn.Module, list[_Shape]]:
    seen: list[tuple[str, Any]] = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, output, where=where: seen.append((where, output)))
        for where, module in model.named_modules()
        if where and where.count(".") <= 1
    ]
    _run(model, name, size)
    for hook in hooks:
        hook.remove()
    maps = [(where, output) for where, output in seen if isinstance(output, Tensor) and output.ndim == 4]
    indices = _pick([tuple(one.shape[1:]) for _, one in maps], strides, size, name)
    return _Nodes(model, [maps[index][0] for index in indices]), [_chw(maps[index][1]) for index in indices]


_EXTRACTORS: dict[str, Any] = {"timm": _timm, "torchvision": _torchvision}


def _run(model: Any, name: str, size: tuple[int, int]) -> Any:
    try:
        with torch.inference_mode():
            return model(torch.zeros(1, 3, *size))
    except Exception as error:  # a library's model may raise anything
        raise InputError(
            f"--backbone: {name} fails on {size[1]}x{size[0]} pixels",
            got=next(iter(str(error).splitlines()), type(error).__name__),
            fix="--size N, a size that the backbone supports",
        ) from error


def _pick(shapes: list[tuple[int, ...]], strides: tuple[int, ...], size: tuple[int, int], name: str) -> list[int]:
    """Return the last map of each stride.

    Raises:
        InputError: a stride is missing.
    """
    # Some architectures round their maps up, others down.
    places = {
        stride: [
            i
            for i, s in enumerate(shapes)
            if len(s) == 3 and all(abs(n - m / stride) < 1 for n, m in zip(s[1:], size, strict=True))
        ]
        for stride in strides
    }
    if not all(places.values()):
        found = sorted({round(size[0] / s[1]) for s in shapes if len(s) == 3 and s[1] * size[1] == s[2] * size[0]})
        raise InputError(
            f"--backbone: {name} has no feature maps of strides {', '.join(map(str, strides))}",
            got=f"strides {', '.join(map(str, found)) or 'none'}",
            expected="a network with a map for each of these",
            fix="--backbone timm:resnet18",
        )
    return [places[stride][-1] for stride in strides]


def _chw(one: Tensor) -> _Shape:
    return int(one.shape[1]), int(one.shape[2]), int(one.shape[3])
