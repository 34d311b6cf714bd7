"""Contracts of torchvision and timm give those libraries' own tensors, to the bit, on real photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torchvision
from PIL import Image

from edgeproof_export.contracts import ContractFlags, from_timm, from_torchvision
from edgeproof_export.golden import torchvision_tensor
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.images import read_image
from edgeproof_runtime.errors import ContractError, InputError

NAMES = torchvision.models.list_models(module=torchvision.models)
PRESETS = [weights.transforms() for name in NAMES for weights in torchvision.models.get_model_weights(name)]


def photographs() -> list[Path]:
    skimage = pytest.importorskip("skimage")
    folder = Path(skimage.__file__).parent / "data"
    return [folder / name for name in ("chelsea.png", "rocket.jpg", "camera.png")]


def assert_same(contract: InputContract, transform: Any) -> None:
    preprocess = Preprocessor(contract)
    for path in photographs():
        frame = read_image(path, apply_orientation=False)
        image = Image.open(path).convert("RGB")
        tall_frame, tall = np.ascontiguousarray(frame[:, :97]), image.crop((0, 0, 97, image.height))
        for pixels, picture in ((frame, image), (tall_frame, tall)):
            expected = transform(picture).numpy()
            np.testing.assert_array_equal(preprocess(pixels), expected)
            np.testing.assert_array_equal(torchvision_tensor(pixels, contract), expected)


def test_every_torchvision_preset_maps() -> None:
    assert len(PRESETS) > 100
    for preset in PRESETS:
        contract = from_torchvision(preset)
        assert contract.tensor_size == (preset.crop_size[0], preset.crop_size[0])


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "efficientnet_b0", "efficientnet_v2_l", "vit_b_16"])
def test_torchvision_presets_to_the_bit(name: str) -> None:
    preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    assert_same(from_torchvision(preset), preset)


def test_every_timm_configuration_maps_unless_it_pads_with_black() -> None:
    names = timm.list_models(pretrained=True)
    assert len(names) > 1000
    for name in names:
        config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        if config["crop_pct"] > 1:
            with pytest.raises(ContractError, match="crop_size: larger than the resized image"):
                from_timm(config)
        else:
            assert from_timm(config).tensor_size == config["input_size"][1:]


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0])
def test_timm_crop_modes_to_the_bit(crop_mode: str, size: tuple[int, int], crop_pct: float) -> None:
    config = {
        "input_size": (3, *size),
        "interpolation": "bicubic",
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
        "crop_pct": crop_pct,
        "crop_mode": crop_mode,
    }
    assert_same(from_timm(config), timm.data.create_transform(**config))


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos", "nearest", "box"])
def test_timm_filters_to_the_bit(interpolation: str) -> None:
    config = {
        "input_size": (3, 72, 72),
        "interpolation": interpolation,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "crop_pct": 0.9,
        "crop_mode": "center",
    }
    assert_same(from_timm(config), timm.data.create_transform(**config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interpolation": "hamming"}, "interpolation of the model: unsupported"),
        ({"crop_mode": "corner"}, "crop mode: unsupported"),
        ({"input_size": (4, 8, 8)}, "number of channels"),
    ],
)
def test_timm_configurations_that_no_contract_has(change: dict[str, Any], message: str) -> None:
    config = {
        "input_size": (3, 8, 8),
        "interpolation": "bilinear",
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    with pytest.raises(InputError, match=message):
        from_timm(config | change)


def test_gray_timm_models_have_gray_contracts() -> None:
    config = {
        "input_size": (1, 28, 28),
        "interpolation": "bilinear",
        "mean": (0.1307,),
        "std": (0.3081,),
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    contract = from_timm(config)
    assert contract.tensor_shape() == (1, 1, 28, 28)
    tensor = Preprocessor(contract)(read_image(photographs()[0], apply_orientation=False))
    assert tensor.shape == (1, 28, 28)


IMAGENET = ContractFlags(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        (ContractFlags(), "--input-size"),
        (ContractFlags(input_size=(32, 32)), "--mean, no --std"),
        (ContractFlags(input_size=(32, 32), mean=(0.5,) * 3), "--std"),
        (IMAGENET, "--input-size"),
        (ContractFlags(resize_size=(32, 32), mean=(0.5,) * 3, std=(0.5,) * 3), "--resize"),
    ],
)
def test_nothing_is_guessed_silently(flags: ContractFlags, missing: str) -> None:
    with pytest.raises(InputError, match="input contract: unknown") as caught:
        flags.apply(None)
    assert missing in str(caught.value.got)


def test_input_size_is_a_whole_contract_with_mean_and_std() -> None:
    flags = ContractFlags(input_size=(32, 48), mean=(0.5,), std=(0.25,), color="gray")
    contract = flags.apply(None)
    assert (contract.resize, contract.tensor_shape(), contract.fill) == ("squash", (1, 1, 32, 48), (0,))


def test_flags_replace_single_fields_of_the_models_contract() -> None:
    base = InputContract(resize_size=(256, 256), crop_size=(224, 224))
    changed = ContractFlags(filter="lanczos", batch=BatchBounds(1, 4, 8)).apply(base)
    assert changed == InputContract(filter="lanczos", batch=BatchBounds(1, 4, 8))
    assert ContractFlags(input_size=(64, 64)).apply(base).crop_size is None
    fraction = ContractFlags(crop_fraction=0.875).apply(base)
    assert (fraction.resize, fraction.resize_size, fraction.crop_size) == ("crop_fraction", (224, 224), None)
    back = ContractFlags(resize="squash", resize_size=(224, 224)).apply(fraction)
    assert (back.resize, back.crop_fraction) == ("squash", None)


def test_flags_that_contradict_each_other() -> None:
    with pytest.raises(InputError, match="excludes the other size flags"):
        ContractFlags(input_size=(32, 32), crop_size=(32, 32))
    with pytest.raises(InputError, match="unknown --filter"):
        ContractFlags(filter="bicubc")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="--mean and --std missing for 1 channels"):
        ContractFlags(color="gray").apply(InputContract())
