"""Factories that tests export as a person's own models: one sound, the others broken in one way each."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from edgeproof_runtime.contract.contract import InputContract

CLASSES = 5


class Tiny(nn.Module):
    """``N x 3 x 16 x 16`` to ``N x 5`` logits."""

    edgeproof_contract = InputContract(resize_size=(20, 20), crop_size=(16, 16), filter="bicubic")

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        # Where on the picture something is must show in the answer, else planted faults would not.
        features = torch.relu(self.norm(self.conv(x)))
        scores: Tensor = 4 * self.head(features.amax((2, 3)) - features.mean((2, 3)))
        return scores


class DiffersWhenExported(Tiny):
    """The graph that the exporter sees is not the one that runs."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores.flip(1) if torch.compiler.is_exporting() else scores


class Noisy(Tiny):
    """Answers anew each time, as dropout does that was left on."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores if torch.compiler.is_exporting() else scores + torch.randn_like(scores)


class NotANumber(Tiny):
    """Answers with NaN, though its weights are sound."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores * float("nan")


class Map(Tiny):
    """Answers with a map of features instead of scores."""

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv(x)
        return features


class Pair(Tiny):
    """Answers with two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x), x


class Softmax(Tiny):
    """Its last layer is a softmax."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class Constant(Tiny):
    """Answers every picture nearly alike."""

    def forward(self, x: Tensor) -> Tensor:
        return 1e-7 * super().forward(x) + torch.arange(CLASSES)


class Reflecting(Tiny):
    """Pads with reflections."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"))


def _trained_with(top: int, *, antialias: bool) -> Callable[[Image.Image], Tensor]:
    """Tiny's own contract in torchvision's words, but for the crop's place and the antialiasing."""
    recorded = Tiny.edgeproof_contract

    def transform(image: Image.Image) -> Tensor:
        size, mode = list(recorded.resize_size)[:1], InterpolationMode(recorded.filter)
        pixels = F.resize(F.pil_to_tensor(image), size, interpolation=mode, antialias=antialias)
        left = (pixels.shape[2] - 16) // 2
        crop = F.crop(pixels, top + (pixels.shape[1] - 16) // 2, left, 16, 16)
        return F.normalize(crop.to(torch.float32) / 255, list(recorded.mean), list(recorded.std))

    return transform


def tiny() -> Tiny:
    return Tiny()


def without_antialiasing() -> Tiny:
    """Trained on pictures that were resized without antialiasing."""
    model = Tiny()
    model.edgeproof_transform = _trained_with(0, antialias=False)
    return model


def cropped_off_by_one() -> Tiny:
    """Trained on crops that lie a pixel lower."""
    model = Tiny()
    model.edgeproof_transform = _trained_with(1, antialias=True)
    return model


def differs_when_exported() -> Tiny:
    return DiffersWhenExported()


def noisy() -> Tiny:
    return Noisy()


def feature_map() -> Tiny:
    return Map()


def pair() -> Tiny:
    return Pair()


def softmax() -> Tiny:
    return Softmax()


def reflecting() -> Tiny:
    return Reflecting()


def nan_outputs() -> Tiny:
    return NotANumber()


def nan_weights() -> Tiny:
    model = Tiny()
    nn.init.constant_(model.head.weight, float("nan"))
    return model


def infinite_weights() -> Tiny:
    model = Tiny()
    nn.init.constant_(model.head.weight, float("inf"))
    return model


def without_contract() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, CLASSES))


def four_channels() -> nn.Module:
    """Red, green, blue and near infrared, without a contract."""
    torch.manual_seed(0)
    stem = nn.Conv2d(4, 8, 3, stride=2, padding=1)
    return nn.Sequential(stem, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))


def raises() -> nn.Module:
    raise ValueError("the configuration is missing")


def exits() -> nn.Module:
    sys.exit(5)


def prints() -> nn.Module:
    print("Downloading the weights")
    return Tiny()


def constant() -> Tiny:
    return Constant()


def no_module() -> int:
    return 3


not_callable = "text"
