"""Bundles that the export layer's tests share: each is exported once per run, whichever worker needs it first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgeproof_export import export_bundle
from networks import MODELS, export_onnx, write_bundle
from run_wide import once

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="session")
def bundles() -> Callable[[str], Path]:
    """Path of a bundle by the model's name; tests that change one copy it."""

    def get(name: str) -> Path:
        make, size, classes = MODELS[name]

        def write(out: Path) -> None:
            torch.manual_seed(0)
            export_onnx(make(), size, out.with_suffix(".onnx"))
            write_bundle(out, out.with_suffix(".onnx"), size, classes)

        return once(f"{name}.edge", write)

    return get


@pytest.fixture(scope="session")
def cifar10_resnet20(data_dir: Path) -> Path:
    """ResNet-20 with its published weights, gated on all of CIFAR-10's test images; tests that change it copy it."""

    def export(out: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(EXAMPLES)
            export_bundle(
                "resnet20_cifar:resnet20",
                out,
                weights=str(data_dir / "weights/resnet20-12fca82f.th"),
                labels=EXAMPLES / "cifar10_labels.txt",
                data=str(data_dir / "cifar10/cifar10.npz"),
                gate_images=1_500,  # all 10,000 on every engine take minutes: `edgeproof evaluate` does that
            )

    return once("cifar10-resnet20.edge", export)
