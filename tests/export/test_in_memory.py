"""A module in memory is exported: copied, with its transform as the contract, and it trains on."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import transforms

import factories
from edgeproof_export import ContractFlags, export_bundle
from edgeproof_export.hops import torch_hops
from edgeproof_export.pytorch.in_memory import module_source
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError
from vits import tiny_vit

STEPS = [transforms.Resize(20), transforms.CenterCrop(16), transforms.ToTensor(), transforms.Normalize([0.5], [0.25])]
TRANSFORM = transforms.Compose(STEPS)
NAMES = ["ant", "bee", "cat", "dog", "eel"]


def export(model: Any, out: Path, **options: Any) -> Any:
    pytest.importorskip("skimage")
    return export_bundle(model, out, **{"gate_images": 4, "golden_images": 2, **options})


@pytest.mark.slow
def test_a_model_in_training_becomes_a_bundle_and_trains_on(tmp_path: Path) -> None:
    model = factories.tiny().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = export(model, tmp_path / "tiny.edge", transform=TRANSFORM, labels=NAMES)
    assert done.bundle.labels == tuple(NAMES)
    summary = "rgb 16x16, shortest 20 bilinear, crop 16, (x/255 - [0.5 0.5 0.5]) / [0.25 0.25 0.25]"
    assert done.bundle.contract.summary() == summary
    assert done.bundle.manifest.provenance["model"] == "Tiny in memory"
    assert any("compared on drawn images (7): equal to the bit" in line for line in done.report.warnings)
    assert all(gate.passed for gate in done.report.gates)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    model(torch.randn(4, 3, 16, 16)).sum().backward()
    with pytest.raises(InputError, match="was exported from a module in memory"):
        torch_hops(done.bundle, lambda frames: frames)  # type: ignore[arg-type, return-value]


@pytest.mark.slow
def test_images_without_a_resize(tmp_path: Path) -> None:
    small = transforms.Compose(STEPS[2:])
    flags = ContractFlags(input_size=(16, 16))
    done = export(factories.tiny(), tmp_path / "tiny.edge", transform=small, contract=flags)
    assert done.bundle.contract.summary().startswith("rgb 16x16, squash 16 bilinear")


def test_wrappers_are_taken_off_a_copy() -> None:
    inner = factories.tiny()
    model = nn.DataParallel(nn.Sequential(nn.DataParallel(inner), nn.Identity()))
    source = module_source(model, TRANSFORM, ContractFlags())
    assert source.spec == "Sequential in memory"
    assert type(source.model[0]) is factories.Tiny  # type: ignore[index]
    assert isinstance(model.module[0], nn.DataParallel)  # type: ignore[index]
    assert source.notes[0] == "The wrapper DataParallel was taken off the model."


def test_the_contract_of_the_module_and_none() -> None:
    assert module_source(factories.tiny(), None, ContractFlags()).contract is factories.Tiny.edgeproof_contract
    given = InputContract(resize_size=(64, 64), crop_size=(16, 16))
    assert module_source(factories.tiny(), given, ContractFlags()).contract is given
    assert module_source(nn.Conv2d(3, 2, 16), None, ContractFlags()).contract is None


def test_channels_follow_the_first_convolution() -> None:
    gray = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.LazyLinear(3))
    gray(torch.zeros(1, 1, 28, 28))
    flags = ContractFlags(input_size=(28, 28))
    contract = module_source(gray, transforms.ToTensor(), flags).contract
    assert contract is not None
    assert contract.color == "gray"


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (lambda: "no model", {}, "MODEL: unsupported form"),
        (lambda: 5, {}, "int in memory: does not return a module"),
        (factories.tiny, {"weights": "w.pt", "num_classes": 5}, "a module in memory has its weights and classes"),
        (factories.tiny, {"labels": ["a", "b"]}, "labels: must be one name of one line for each class"),
        (factories.tiny, {"labels": ["a", "b", "c", "d", "e\nf"]}, "labels: must be one name of one line"),
        (factories.tiny, {"transform": transforms.RandomCrop(16)}, "transform: RandomCrop has no input contract"),
        (lambda: "torchvision:resnet18", {"transform": TRANSFORM}, "transform: requires a module in memory"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, model: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        export(model(), tmp_path / "x.edge", **options)
    assert said in caught.value.what
    assert not (tmp_path / "x.edge").exists()


def test_a_module_that_cannot_be_copied() -> None:
    model = factories.tiny()
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(InputError, match="Tiny in memory: cannot be copied") as caught:
        module_source(model, TRANSFORM, ContractFlags())
    assert "state_dict" in str(caught.value.fix)


@pytest.mark.slow
def test_a_processor_and_labels_of_transformers(tmp_path: Path) -> None:
    hf = pytest.importorskip("transformers")
    model, processor = tiny_vit(hf)
    done = export(model, tmp_path / "vit.edge", transform=processor)
    assert done.bundle.labels == ("cat", "dog")
    assert done.bundle.contract.summary() == ("rgb 32x32, squash 32 bilinear, (x/255 - [0.5 0.5 0.5]) / [0.5 0.5 0.5]")
    assert all(gate.passed for gate in done.report.gates)
