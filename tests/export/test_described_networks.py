"""Checkpoints of `edgeproof train` describe their network: a description must not read, download or allocate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgeproof_export.checkpoint import KEY, Blueprint, read_checkpoint
from edgeproof_export.networks import build_network
from edgeproof_runtime.errors import InputError


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("timm:resnet18", {"checkpoint_path": "evil.pth"}),
        ("timm:resnet18", {"pretrained_cfg": {"url": "http://127.0.0.1/x"}}),
        ("timm:resnet18", {"num_classes": "3"}),
        ("timm:resnet18", {"norm_layer": "x"}),
        ("timm:hf-hub:somebody/model", {}),
        ("timm:local-dir:/somewhere", {}),
        ("timm:hf_hub:somebody/model@main", {}),
        ("torchvision:resnet18", {"weights_backbone": "DEFAULT"}),
        ("torchvision:resnet18", {"norm_layer": 1}),
    ],
)
def test_descriptions_that_would_read_or_download(architecture: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not a description of a classifier"):
        build_network(architecture, arguments)


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("torchvision:resnet18", {"num_classes": 10**11}),
        ("timm:test_byobnet", {"num_classes": 10**11}),
        ("lenet", {"classes": 10**11}),
        ("resnet20", {"classes": 3, "channels": 10**10}),
        ("generator", {"latent": 10**10, "channels": 3, "size": 32}),
    ],
)
def test_networks_far_larger_than_their_tensors(tmp_path: Path, architecture: str, arguments: dict[str, Any]) -> None:
    blueprint = Blueprint(task="classify", recipe="x", architecture=architecture, arguments=arguments)
    state = {"network.weight": torch.zeros(3)}
    torch.save({KEY: blueprint.to_json(), "state_dict": state}, tmp_path / "best.ckpt")
    with pytest.raises(InputError, match=r"damaged|cannot be built"):
        read_checkpoint(tmp_path / "best.ckpt")
