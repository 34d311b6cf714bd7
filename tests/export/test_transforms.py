"""Evaluation transforms of trainings as input contracts: exact, or refused by the step that has none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

from edgeproof_export.transforms import contract_of_transform
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AS_IMAGENET = "(x/255 - [0.485 0.456 0.406]) / [0.229 0.224 0.225]"
FLOAT = v2.ToDtype(torch.float32, scale=True)

EXACT: dict[str, tuple[Any, str]] = {
    "v1": (
        v1.Compose([v1.Resize(256), v1.CenterCrop(224), v1.ToTensor(), v1.Normalize(*IMAGENET)]),
        f"rgb 224x224, shortest 256 bilinear, crop 224, {AS_IMAGENET}",
    ),
    "v1, squashed, one mean": (
        v1.Compose([v1.Resize((64, 48), InterpolationMode.BICUBIC), v1.ToTensor(), v1.Normalize([0.5], [0.25])]),
        "rgb 48x64, squash 64x48 bicubic, (x/255 - [0.5 0.5 0.5]) / [0.25 0.25 0.25]",
    ),
    "v2": (
        v2.Compose([v2.Resize(256), v2.CenterCrop((224, 200)), v2.ToImage(), FLOAT, v2.Normalize(*IMAGENET)]),
        f"rgb 200x224, shortest 256 bilinear, crop 224x200, {AS_IMAGENET}",
    ),
    "v2, nested": (
        v2.Compose([v2.Compose([v2.RGB(), v2.Resize((32, 32))]), nn.Sequential(v2.PILToTensor(), FLOAT)]),
        "rgb 32x32, squash 32 bilinear, (x/255 - [0 0 0]) / [1 1 1]",
    ),
    "gray": (
        v2.Compose([v2.Grayscale(), v2.Resize((28, 28)), v2.ToImage(), FLOAT]),
        "gray 28x28, squash 28 bilinear, (x/255 - [0]) / [1]",
    ),
    "uint8": (
        v2.Compose([v2.Resize((28, 28)), v2.PILToTensor()]),
        "rgb 28x28, squash 28 bilinear, (x/1 - [0 0 0]) / [1 1 1]",
    ),
    "0 to 255": (
        v2.Compose(
            [v2.Resize((9, 9)), v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize([127.5] * 3, [127.5] * 3)]
        ),
        "rgb 9x9, squash 9 bilinear, (x/1 - [127.5 127.5 127.5]) / [127.5 127.5 127.5]",
    ),
    "preset": (
        models.ResNet18_Weights.DEFAULT.transforms(),
        f"rgb 224x224, shortest 256 bilinear, crop 224, {AS_IMAGENET}",
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_transform_becomes_its_contract(name: str) -> None:
    transform, summary = EXACT[name]
    found = contract_of_transform(transform)
    assert found.contract.summary() == summary
    assert "equal to the bit" in found.notes[0] or "but for float32 rounding" in found.notes[0]
    assert found.transform is transform


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_timm_by_its_configuration_and_by_its_transform(crop_mode: str, size: tuple[int, int]) -> None:
    config = {
        "input_size": (3, *size),
        "interpolation": "bicubic",
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
        "crop_pct": 0.875,
        "crop_mode": crop_mode,
    }
    by_config = contract_of_transform(config)
    by_transform = contract_of_transform(timm.data.create_transform(**config))
    single = (np.float32(by_config.contract.mean), np.float32(by_config.contract.std))  # timm keeps tensors
    assert np.array_equal(single, np.float32([by_transform.contract.mean, by_transform.contract.std]))
    exact = {"mean": by_config.contract.mean, "std": by_config.contract.std}
    assert by_config.contract == dataclasses.replace(by_transform.contract, **exact)
    assert "equal to the bit" in by_config.notes[0]


def test_without_a_resize_the_size_is_asked_for() -> None:
    transform = v1.Compose([v1.ToTensor(), v1.Normalize((0.1307,), (0.3081,))])
    with pytest.raises(InputError, match="has no resize") as caught:
        contract_of_transform(transform)
    assert caught.value.fix == "contract=ContractFlags(input_size=(HEIGHT, WIDTH))"
    gray = contract_of_transform(transform, size=(28, 28), channels=1)
    assert gray.contract.summary() == "gray 28x28, squash 28 bilinear, (x/255 - [0.1307]) / [0.3081]"
    assert contract_of_transform(transform, size=(28, 28)).contract.color == "rgb"
    assert "images that are not 28x28 are squashed" in gray.notes[1]


def test_a_contract_is_taken_as_it_is() -> None:
    contract = InputContract(resize_size=(40, 40), crop_size=(32, 32))
    assert contract_of_transform(contract).contract is contract


def _doubled(tensor: torch.Tensor) -> torch.Tensor:
    return 2 * tensor


class _Brighter(v1.Resize):
    """A resize of another: named like one, and with other pixels."""

    def forward(self, img: Any) -> Any:
        return super().forward(img).point(lambda value: min(255, value + 3))


_Brighter.__name__ = "Resize"
REFUSED: dict[str, tuple[Any, str]] = {
    "a resize of tensors": (v2.Compose([v2.ToImage(), v2.Resize(9), v2.CenterCrop(9), FLOAT]), "Resize has no input"),
    "a random crop": (v1.Compose([v1.RandomResizedCrop(9), v1.ToTensor()]), "RandomResizedCrop has no input contract"),
    "a random flip": (v2.Compose([v2.Resize((9, 9)), v2.RandomHorizontalFlip(), v2.PILToTensor()]), "RandomHorizontal"),
    "random order": (v1.RandomApply([v1.ToTensor()]), "RandomApply has no input contract"),
    "a size that depends on the image": (v1.Compose([v1.Resize(9), v1.ToTensor()]), "Resize has no input contract"),
    "a longest side": (v1.Compose([v1.Resize(9, max_size=12), v1.CenterCrop(9), v1.ToTensor()]), "Resize has no"),
    "a crop alone": (v1.Compose([v1.CenterCrop(9), v1.ToTensor()]), "CenterCrop has no input contract"),
    "a crop that pads": (v1.Compose([v1.Resize(9), v1.CenterCrop(12), v1.ToTensor()]), "has no input contract"),
    "two resizes": (v1.Compose([v1.Resize(20), v1.Resize(9), v1.ToTensor()]), "Resize has no input contract"),
    "gray in three channels": (v1.Compose([v1.Grayscale(3), v1.ToTensor()]), "Grayscale has no input contract"),
    "two normalisations": (
        v1.Compose([v1.Resize((9, 9)), v1.ToTensor(), v1.Normalize([0.5], [0.5]), v1.Normalize([0.5], [0.5])]),
        "Normalize has no input contract",
    ),
    "a function": (v1.Compose([v1.Resize((9, 9)), v1.ToTensor(), v1.Lambda(_doubled)]), "Lambda has no input contract"),
    "half precision": (
        v2.Compose([v2.Resize((9, 9)), v2.ToImage(), v2.ToDtype(torch.float16, scale=True)]),
        "ToDtype has no input contract",
    ),
    "a filter": (v1.Compose([v1.Resize((9, 9), InterpolationMode.NEAREST_EXACT), v1.ToTensor()]), "interpolation"),
    "no tensor": (v1.Compose([v1.Resize((9, 9))]), "makes no tensor"),
    "no steps": (v1.Compose([]), "makes no tensor"),
    "another mapping": ({"mean": (0.5,)}, "not a data configuration of timm"),
    "a number": (5, "unsupported"),
    "another class of that name": (v1.Compose([_Brighter((9, 9)), v1.ToTensor()]), "computes other tensors"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_step_without_a_contract_is_named(name: str) -> None:
    transform, said = REFUSED[name]
    with pytest.raises(InputError) as caught:
        contract_of_transform(transform)
    assert said in caught.value.what
    assert caught.value.fix or caught.value.expected


def test_a_transform_that_fails_or_gives_no_tensor() -> None:
    step: Callable[..., Any] = v1.ToTensor()

    class Twice(v1.Compose):
        def __call__(self, img: Any) -> Any:
            return np.asarray(super().__call__(img))

    Twice.__name__ = "Compose"
    with pytest.raises(InputError, match="returns no tensor"):
        contract_of_transform(Twice([v1.Resize((9, 9)), step]))
    with pytest.raises(InputError, match="fails on a PIL image of 97x97"):
        contract_of_transform(v1.Compose([v1.Resize((9, 9)), step, step]))
