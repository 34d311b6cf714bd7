"""Checkpoints that others trained and ship, exported: the same answers as their own pipelines."""

from __future__ import annotations

import runpy
from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch

import factories
from edgeproof.chain import preparation
from edgeproof_export.contracts import ContractFlags
from edgeproof_export.hops import torch_hops
from edgeproof_export.pipeline import export_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier

pytestmark = pytest.mark.slow

IMAGES = 200


def test_digit_recognizer_answers_as_its_own_pipeline(tmp_path: Path, data_dir: Path) -> None:
    if util.find_spec("digit_recognizer") is None:
        pytest.skip("digit-recognizer-py is not installed")
    import digit_recognizer

    weights = Path(digit_recognizer.__file__).parent / "models/handwriting_model.pth"
    with np.load(data_dir / "mnist/mnist.npz") as arrays:
        images, labels = arrays["x_test"][:IMAGES], arrays["y_test"][:IMAGES].reshape(-1)
    np.savez(tmp_path / "digits.npz", x_test=images, y_test=labels)
    (tmp_path / "labels.txt").write_text("\n".join("0123456789"), encoding="utf-8")
    exported = export_bundle(
        "digit_recognizer:CNN",
        tmp_path / "digits.edge",
        weights=str(weights),
        labels=tmp_path / "labels.txt",
        data=str(tmp_path / "digits.npz"),
        contract=ContractFlags(input_size=(28, 28), color="gray", mean=(0.1307,), std=(0.3081,)),
    )
    recognizer = digit_recognizer.DigitRecognizer(weights, device="cpu")
    theirs = [recognizer.predict(image.reshape(28, 28), detailed=True, invert=False) for image in images]
    right = sum(answer.digit == label for answer, label in zip(theirs, labels, strict=True))
    assert exported.report.sections["accuracy"]["torch_correct"] == right
    assert right > 0.9 * IMAGES
    with Classifier(Bundle.open(tmp_path / "digits.edge"), engine="onnxruntime") as classifier:
        for image, answer in list(zip(images, theirs, strict=True))[:50]:
            ours = classifier(image.reshape(28, 28))
            assert ours.label == str(answer.digit)
            assert ours.probability == pytest.approx(answer.confidence, abs=1e-5)


def test_resnet56_of_cifar10(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file holds ``state_dict`` with names of DataParallel, and ``best_prec1``."""
    examples = Path(__file__).parents[2] / "examples"
    monkeypatch.chdir(examples)
    with np.load(data_dir / "cifar10/cifar10.npz") as arrays:
        images, labels = arrays["x_test"][:50], arrays["y_test"][:50].reshape(-1)
    np.savez(tmp_path / "some.npz", x_test=images, y_test=labels)
    weights = data_dir / "weights/resnet56-4bfd9763.th"
    exported = export_bundle(
        "resnet20_cifar:resnet56",
        tmp_path / "resnet56.edge",
        weights=str(weights),
        labels=examples / "cifar10_labels.txt",
        data=str(tmp_path / "some.npz"),
        gate_images=50,
    )
    # The publisher's pipeline: ToTensor, Normalize.
    network = runpy.run_path("resnet20_cifar.py")["resnet56"]().eval()
    content = torch.load(weights, map_location="cpu", weights_only=True)
    network.load_state_dict({name.removeprefix("module."): t for name, t in content["state_dict"].items()})
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    batch = torch.from_numpy(images).float() / 255
    with torch.no_grad():
        answers = network(((batch - mean) / std).permute(0, 3, 1, 2)).argmax(1).numpy()
    right = int((answers == labels).sum())
    assert exported.report.sections["accuracy"]["torch_correct"] == right
    assert right > 0.9 * 50


def test_the_choice_of_averaged_weights_is_recorded_and_repeated(tmp_path: Path) -> None:
    raw = factories.tiny()
    average = {name: t + 0.5 if t.is_floating_point() else t for name, t in raw.state_dict().items()}
    weights = tmp_path / "last.ckpt"
    torch.save({"state_dict": raw.state_dict(), "state_dict_ema": average}, weights)
    exported = export_bundle("factories:tiny", tmp_path / "raw.edge", weights=str(weights), ema=False)
    provenance = exported.bundle.manifest.provenance
    assert provenance["weights_ema"] is False
    assert provenance["weights"] == "last.ckpt, raw weights under 'state_dict.'"
    assert any("--ema takes those under 'state_dict_ema.'" in note for note in exported.report.warnings)
    # Without a word, evaluate takes the same ones: others would be refused.
    prepare = preparation(exported.bundle.contract)
    assert [hop.name for hop in torch_hops(exported.bundle, prepare, weights=str(weights)).hops]
