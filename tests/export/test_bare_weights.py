"""A weights file as MODEL: what else is needed, and the command where the file tells it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeproof_export.models import resolve
from edgeproof_runtime.errors import InputError

TENSORS = {"conv1.weight": torch.zeros(4, 3), "fc.weight": torch.zeros(7, 4), "fc.bias": torch.zeros(7)}


def refused(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        resolve(str(path))
    return caught.value


@pytest.mark.parametrize(
    ("content", "model"),
    [
        # timm's training script
        ({"arch": "convnext_atto", "state_dict": TENSORS, "epoch": 3}, "timm:convnext_atto --num-classes 7"),
        # torchvision's references
        ({"model": TENSORS, "args": argparse.Namespace(model="resnet50")}, "torchvision:resnet50 --num-classes 7"),
        # PyTorch's ImageNet example
        ({"arch": "resnet18", "state_dict": TENSORS}, "torchvision:resnet18 --num-classes 7"),
        # Lightning with recorded hyperparameters
        (
            {"state_dict": TENSORS, "hyper_parameters": {"backbone": "mobilenetv3_small_050", "num_classes": 12}},
            "timm:mobilenetv3_small_050 --num-classes 12",
        ),
        ({"state_dict": TENSORS, "config": {"model_name": "timm:resnet10t"}}, "timm:resnet10t --num-classes 7"),
        ({"state_dict": TENSORS, "arch": "unheard_of"}, "ARCHITECTURE"),
        (TENSORS, "ARCHITECTURE"),
    ],
)
def test_the_command_is_proposed(tmp_path: Path, content: Any, model: str) -> None:
    path = tmp_path / "best.pth"
    torch.save(content, path)
    error = refused(path)
    assert error.what == f"{path}: weights without their architecture"
    name, _, classes = model.partition(" ")
    more = f" {classes}" if classes else ""
    assert error.fix == f"edgeproof export {name} --weights {path}{more} --out NAME.edge"


@pytest.mark.parametrize("name", ["w.pt", "w.th", "w.bin", "w.ckpt", "w.safetensors"])
def test_every_kind_of_weights_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(TENSORS, path)
    else:
        torch.save({"state_dict": TENSORS, "pytorch-lightning_version": "2.5.1"}, path)
    error = refused(path)
    assert error.what == f"{path}: weights without their architecture"
    assert ("a Lightning checkpoint (version 2.5.1)" in str(error.got)) == (path.suffix != ".safetensors")


def test_the_configuration_beside_the_file_is_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    config = {"architecture": "resnet10t", "num_classes": 5}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "edgeproof export timm:resnet10t" in str(refused(tmp_path / "model.safetensors").fix)
    assert "--num-classes 5" in str(refused(tmp_path / "model.safetensors").fix)


def test_what_is_no_weights_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    error = refused(path)
    assert (error.what, error.got) == (f"{path}: not a model", "an HDF5 file (Keras .h5)")
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    assert "a whole pickled module" in refused(tmp_path / "whole.pt").what
    (tmp_path / "lfs.pt2").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert refused(tmp_path / "lfs.pt2").got == "a Git LFS pointer, not the file itself"
    (tmp_path / "lfs.ckpt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert refused(tmp_path / "lfs.ckpt").got == "a Git LFS pointer, not the file itself"


@pytest.mark.parametrize("weights", [None, "random", "pretrained"])
def test_averaged_weights_are_of_a_file(weights: str | None) -> None:
    with pytest.raises(InputError, match="--ema and --no-ema: require --weights FILE"):
        resolve("timm:resnet10t", weights=weights, ema=True)
