"""MODEL as people type it: what is found, and what is said where nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import factories
from edgeproof_export.models import resolve
from edgeproof_export.quietly import quiet
from edgeproof_runtime.errors import InputError


def test_torchvision_with_weights_of_a_file(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    torch.save(squeezenet1_1().state_dict(), tmp_path / "w.pth")
    source = resolve("torchvision:squeezenet1_1", weights=str(tmp_path / "w.pth"))
    assert isinstance(source.model, nn.Module)
    assert not source.model.training
    assert source.contract is not None
    assert source.contract.summary().startswith("rgb 224x224, shortest 256 bilinear, crop 224")
    assert source.labels is not None
    assert source.labels.ids is not None
    assert (source.labels.names[0], source.labels.ids[0], len(source.labels.ids)) == ("tench", "n01440764", 1000)


def test_googlenet_is_built_as_its_published_weights_want_it(tmp_path: Path) -> None:
    from torchvision.models import googlenet

    with quiet():
        published = googlenet(aux_logits=True, transform_input=True, init_weights=False)
    torch.save(published.state_dict(), tmp_path / "w.pth")
    source = resolve("torchvision:googlenet", weights=str(tmp_path / "w.pth"))
    assert isinstance(source.model, nn.Module)
    assert source.model.transform_input is True


def test_timm_labels_are_short_and_tell_all_classes_apart() -> None:
    source = resolve("timm:test_vit", weights="random")
    assert source.labels is not None
    names, ids = source.labels.names, source.labels.ids
    assert ids is not None
    assert len(set(names)) == len(names) == 1000
    assert (names[967], ids[967], names[134], names[517]) == (
        "espresso",
        "n07920052",
        "crane (n02012849)",
        "crane (n03126707)",
    )
    assert any("random" in note for note in source.notes)


def test_random_weights_are_the_same_each_time() -> None:
    first, second = (resolve("timm:test_byobnet", weights="random").model for _ in range(2))
    assert isinstance(first, nn.Module)
    assert isinstance(second, nn.Module)
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_other_classes_have_no_imagenet_labels() -> None:
    assert resolve("timm:test_byobnet", weights="random", num_classes=7).labels is None
    assert resolve("torchvision:squeezenet1_1", weights="random", num_classes=7).labels is None


def test_a_factory_brings_its_contract(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(
        "from factories import Tiny\n\ndef build():\n    return Tiny()\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    source = resolve("my_models:build")
    assert source.contract == factories.Tiny.edgeproof_contract
    assert source.labels is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18", "MODEL: unsupported form"),
        ("torchvision:", "MODEL: unsupported form"),
        ("torchvision:resnet19", "did you mean resnet1"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision: has no model fasterrcnn"),
        ("timm:efficientnet_lite", "timm: has no model efficientnet_lite"),
        ("no_such_module:build", "cannot be imported"),
        ("factories:tinny", "did you mean tiny"),
        ("factories:raises", "ValueError: the configuration is missing"),
        ("factories:exits", "SystemExit: 5"),
        ("factories:no_module", "does not return a module"),
        ("factories:not_callable", "not a function"),
        ("absent.onnx", "file not found"),
        ("absent.pt2", "file not found"),
    ],
)
def test_what_cannot_be_resolved_says_why(spec: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(spec, weights=None)
    assert message in str(caught.value)


def test_a_module_that_fails_when_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0\n", encoding="utf-8")
    (tmp_path / "exiting_module.py").write_text("import sys\n\nsys.exit(5)\n", encoding="utf-8")
    (tmp_path / "needs_more.py").write_text("import a_package_nobody_has\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="ZeroDivisionError"):
        resolve("broken_module:build")
    with pytest.raises(InputError, match="SystemExit: 5"):
        resolve("exiting_module:build")
    with pytest.raises(InputError, match="a_package_nobody_has"):
        resolve("needs_more:build")


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_arguments: object, **_options: object) -> nn.Module:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("torchvision.models.get_model", offline)
    with pytest.raises(InputError, match="download failed") as caught:
        resolve("torchvision:resnet18")
    assert caught.value.fix == "--weights FILE"


def test_what_downloads_print_stays_off_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torchvision.models.get_model", lambda *_arguments, **_options: factories.prints())
    resolve("torchvision:resnet18")
    resolve("factories:prints")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("Downloading the weights") == 2


def test_options_that_contradict_the_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    for spec, weights, classes, message in (
        (str(tmp_path / "m.onnx"), "w.pth", None, "contains its weights"),
        ("timm:test_byobnet", None, 7, "pretrained weights have fixed classes"),
        ("factories:tiny", None, 7, "--num-classes: requires"),
        ("factories:tiny", "pretrained", None, "no pretrained weights"),
    ):
        with pytest.raises(InputError, match=message):
            resolve(spec, weights=weights, num_classes=classes)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind"])
def test_damaged_model_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=": not a"):
        resolve(str(path))
