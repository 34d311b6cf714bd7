"""Real weights: EfficientNet-Lite0 on photographs, and ResNet-20 on all of CIFAR-10's test images."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from bundles import evidence_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.data.dataset import LabelledData

pytestmark = pytest.mark.slow

# Cats have several classes in ImageNet; the missile and the projectile are the same pictures.
SHOWN = {
    "chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
    "coffee.png": {"espresso"},
    "rocket.jpg": {"missile", "projectile"},
}
CIFAR10_CORRECT = 9_173  # 91.73 %, as published with the weights


def test_lite0_names_what_the_photographs_show(lite0: Path) -> None:
    skimage = pytest.importorskip("skimage")
    bundle = Bundle.open(lite0)
    evidence = evidence_of(bundle, "export")
    assert (
        bundle.contract.summary()
        == "rgb 224x224, shortest 256 bicubic, crop 224, (x/255 - [0.5 0.5 0.5]) / [0.5 0.5 0.5]"
    )
    assert any("296 tensors" in warning and "in order" in warning for warning in evidence["warnings"])
    with Classifier(bundle, engine="onnxruntime") as classifier:
        for name, right in SHOWN.items():
            frame = cv2.imread(str(Path(skimage.__file__).parent / "data" / name))
            assert classifier(frame).label in right
    assert all(gate["passed"] for gate in evidence["gates"])
    assert {row["name"] for row in evidence["engines"] if row["passed"]} >= {"onnxruntime", "opencv"}


def test_resnet20_on_cifar10(cifar10_resnet20: Path, data_dir: Path) -> None:
    bundle = Bundle.open(cifar10_resnet20)
    evidence = evidence_of(bundle, "export")
    accuracy = evidence["accuracy"]
    assert (accuracy["torch_correct"], accuracy["n"]) == (CIFAR10_CORRECT, 10_000)
    data = LabelledData.open(data_dir / "cifar10/cifar10.npz", bundle.labels)
    assert data.fingerprint() == accuracy["fingerprint"]
    parities = [gate for gate in evidence["gates"] if gate["name"].startswith("parity")]
    assert len(parities) == len(evidence["engines"]) >= 2
    for gate in parities:
        # Not one first answer differs, so neither can the count of right ones.
        assert gate["measured"]["n"] == 1_500
        assert gate["measured"]["top1_agreement"] == 1.0
        assert gate["measured"]["relative_diff"] < 1e-5
