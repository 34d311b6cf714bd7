"""Small networks of the shapes that bundles hold, exported the way edgeproof exports, and bundles of them."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgeproof_export.bundle import new_bundle, seal
from edgeproof_export.precision import to_fp16, to_int8
from edgeproof_runtime.contract import BatchBounds, InputContract
from edgeproof_runtime.manifest import Manifest, OutputEntry


def seed_cnn(size: int = 32) -> nn.Module:
    """Two convolutions with pooling, two dense layers: the architecture that users bring first."""
    side = ((size - 2) // 2 - 2) // 2
    return nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * side * side, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.pad = (channels_out - channels_in) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class ResNet20(nn.Module):
    """ResNet-20 for CIFAR-10 with option A shortcuts (He et al. 2016, section 4.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = (16, 16, 16, 16, 32, 32, 32, 64, 64, 64)
        self.blocks = nn.Sequential(*(_Block(a, b, 1 if a == b else 2) for a, b in pairwise(widths)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(self.blocks(F.relu(self.bn1(self.conv1(x)))).mean((2, 3)))
        return y


def export_onnx(model: nn.Module, size: int, out: Path) -> None:
    """Export with input ``input`` (N, 3, size, size) and output ``logits``, N dynamic."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own dependencies warn
        program = torch.onnx.export(
            model.eval(),
            (torch.zeros(2, 3, size, size),),
            dynamo=True,
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
            verbose=False,
        )
    assert program is not None
    program.save(out, external_data=False)


MODELS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "seed": (seed_cnn, 32, 10),
    "resnet20": (ResNet20, 32, 10),
    "seed224": (lambda: seed_cnn(224), 224, 10),
}


def write_bundle(out: Path, model: Path, size: int, classes: int) -> None:
    """A bundle of an ONNX file in three precisions, with batches of 1 to 32."""
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(2, 3, size, size)).astype(np.float32) for _ in range(2)]
    with new_bundle(out) as folder:
        shutil.copy(model, folder / "model.onnx")
        to_fp16(folder / "model.onnx", folder / "model.fp16.onnx")
        to_int8(folder / "model.onnx", folder / "model.int8.onnx", batches)
        contract = InputContract(resize="squash", resize_size=(size, size), crop_size=None, batch=BatchBounds(1, 8, 32))
        seal(
            folder,
            lambda files: Manifest(
                name=out.stem,
                task="classify",
                contract=contract,
                input_name="input",
                outputs=(OutputEntry("logits", (classes,)),),
                labels=None,
                class_ids=None,
                provenance={},
                models={"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"},
                golden=(),
                files=files,
            ),
        )
