"""ResNet-20 and ResNet-56 for CIFAR-10, as models of one's own that edgeproof exports.

He et al., "Deep Residual Learning for Image Recognition" (2016), section 4.2: three stages of 16, 32 and 64
channels, shortcuts without parameters (option A: every second pixel, zeros for the new channels).

From this folder::

    edgeproof export resnet20_cifar:resnet20 --weights resnet20-12fca82f.th --labels cifar10_labels.txt \\
        --data cifar10.npz --out resnet20.edge
    edgeproof evaluate resnet20.edge --data cifar10.npz

The parameters are named as in akamaster/pytorch_resnet_cifar10, whose checkpoints of these networks have 91.73 and
93.39 % on the 10,000 test pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeproof_runtime import InputContract

__all__ = ["ResNet", "resnet20", "resnet56"]


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.stride = 1 if channels_in == channels_out else 2
        self.new_channels = channels_out - channels_in
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.new_channels:
            half = self.new_channels // 2
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
        return F.relu(x + y)


class ResNet(nn.Module):
    """``N x 3 x 32 x 32`` to ``N x 10`` logits; three stages of so many blocks."""

    # What edgeproof reads instead of flags: the training's own preprocessing.
    edgeproof_contract = InputContract(
        resize="squash",
        resize_size=(32, 32),
        crop_size=None,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16) for _ in range(blocks)))
        self.layer2 = nn.Sequential(Block(16, 32), *(Block(32, 32) for _ in range(blocks - 1)))
        self.layer3 = nn.Sequential(Block(32, 64), *(Block(64, 64) for _ in range(blocks - 1)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        scores: Tensor = self.linear(torch.mean(x, dim=(2, 3)))
        return scores


def resnet20() -> ResNet:
    """The network, without trained weights: give them with ``--weights``."""
    return ResNet(3)


def resnet56() -> ResNet:
    """The same with three times as many blocks."""
    return ResNet(9)
