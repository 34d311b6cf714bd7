"""Built-in networks of `edgeproof train`, and the construction of networks from a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeproof_export.patch_network import PatchCore
from edgeproof_export.picture_networks import Autoencoder, Generator
from edgeproof_runtime.errors import InputError

__all__ = ["NETWORKS", "LeNet", "PlainCNN", "ResNet20", "build_network"]


class PlainCNN(nn.Module):
    """CNN of two 3x3 convolutions (32 and 64 channels) with ReLU and 2x2 max-pooling, then 64 hidden units.

    ``N x channels x size x size`` to ``N x classes`` logits; the head applies the softmax.
    """

    def __init__(self, *, classes: int, channels: int = 3, size: int = 32) -> None:
        super().__init__()
        side = ((size - 2) // 2 - 2) // 2
        if side < 1:
            raise InputError("--size: too small for this network", got=f"{size} pixels", expected="10 or more")
        self.features: nn.Sequential = nn.Sequential(
            nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.classifier: nn.Sequential = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * side * side, 64), nn.ReLU(), nn.Linear(64, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(x))
        return scores


class LeNet(nn.Module):
    """LeNet-5 with ReLU and max-pooling instead of sigmoids and averages (LeCun et al., 1998, figure 2).

    ``N x channels x size x size`` to ``N x classes`` logits. 28 pixels are padded to the 32 of the paper.
    """

    def __init__(self, *, classes: int, channels: int = 1, size: int = 28) -> None:
        super().__init__()
        side = (size // 2 - 4) // 2
        if side < 1:
            raise InputError("--size: too small for this network", got=f"{size} pixels", expected="12 or more")
        self.features: nn.Sequential = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
            nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier: nn.Sequential = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * side * side, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(x))
        return scores


class _Block(nn.Module):
    """Two 3x3 convolutions with a parameter-free shortcut (option A: every second pixel, zero-padded channels)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        stride = 1 if channels_in == channels_out else 2
        self.new_channels = channels_out - channels_in
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new_channels:
            half = self.new_channels // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        return F.relu(x + y)


class ResNet20(nn.Module):
    """ResNet-20 for small images (He et al., "Deep Residual Learning", 2016, section 4.2).

    ``N x channels x size x size`` to ``N x classes`` logits; the names are those of the published checkpoints.
    """

    def __init__(self, *, classes: int, channels: int = 3, size: int = 32) -> None:
        super().__init__()
        if size < 8:
            raise InputError("--size: too small for this network", got=f"{size} pixels", expected="8 or more")
        self.conv1: nn.Conv2d = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1: nn.BatchNorm2d = nn.BatchNorm2d(16)
        self.layer1: nn.Sequential = nn.Sequential(_Block(16, 16), _Block(16, 16), _Block(16, 16))
        self.layer2: nn.Sequential = nn.Sequential(_Block(16, 32), _Block(32, 32), _Block(32, 32))
        self.layer3: nn.Sequential = nn.Sequential(_Block(32, 64), _Block(64, 64), _Block(64, 64))
        self.linear: nn.Linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.linear(torch.mean(x, dim=(2, 3)))
        return scores


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "cnn": PlainCNN,
    "lenet": LeNet,
    "resnet20": ResNet20,
    "autoencoder": Autoencoder,
    "generator": Generator,
    "patchcore": PatchCore,
}


# Arguments of a library's classifier. Others would read files, download, or look classes up.
_LIBRARY_ARGUMENTS = frozenset(["num_classes", "in_chans", "aux_logits", "transform_input", "init_weights"])
_NAME = re.compile(r"[\w.]{1,128}", re.ASCII)


def build_network(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network without trained weights. Checkpoints describe theirs this way: nothing is read or downloaded.

    Args:
        architecture: a name of `NETWORKS`, ``torchvision:NAME`` or ``timm:NAME``.
        arguments: keyword arguments of its constructor.

    Raises:
        InputError: the architecture is unknown or does not accept the arguments.
    """
    library, _, name = architecture.partition(":")
    if name:
        _require_plain(architecture, name, arguments)
    try:
        if architecture in NETWORKS:
            return NETWORKS[architecture](**arguments)
        if library == "torchvision" and name:
            from torchvision import models

            module: nn.Module = models.get_model(name, weights=None, **arguments)
            return module
        if library == "timm" and name:
            import timm

            created: nn.Module = timm.create_model(name, pretrained=False, **arguments)
            return created
    except (TypeError, ValueError, RuntimeError, KeyError, ArithmeticError) as error:
        raise InputError(
            f"{architecture}: cannot be built", got=error, expected=f"arguments {dict(arguments)}"
        ) from error
    raise InputError(
        "architecture: unknown", got=architecture, expected=f"{', '.join(NETWORKS)}, torchvision:NAME or timm:NAME"
    )


def _require_plain(architecture: str, name: str, arguments: Mapping[str, Any]) -> None:
    wrong = [key for key, value in arguments.items() if key not in _LIBRARY_ARGUMENTS or not isinstance(value, int)]
    if wrong or not _NAME.fullmatch(name):
        raise InputError(
            f"{architecture[:160]}: not a description of a classifier",
            got=", ".join(map(str, wrong)) or architecture[:160],
            expected=f"a name of the library, with {', '.join(sorted(_LIBRARY_ARGUMENTS))}",
        )
