"""Small networks of the shapes that bundles hold, exported the way edgeproof exports, and bundles of them."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeproof_export.bundle import new_bundle, seal
from edgeproof_export.networks import PlainCNN, ResNet20
from edgeproof_export.precision import to_fp16, to_int8
from edgeproof_runtime.bundle.manifest import Manifest, OutputEntry
from edgeproof_runtime.contract.contract import BatchBounds, InputContract


def seed_cnn(size: int = 32) -> nn.Module:
    """The architecture that users bring first."""
    return PlainCNN(classes=10, size=size)


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
    "resnet20": (lambda: ResNet20(classes=10), 32, 10),
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
