"""Models of other than one or three channels: flags, contracts and the whole export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from bundles import band_frames, tiny_onnx
from edgeproof_export import ContractFlags, Exported, export_bundle
from edgeproof_export.contracts import from_timm
from edgeproof_export.golden import torchvision_tensor
from edgeproof_export.models import resolve
from edgeproof_export.prepared import prepare
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.errors import ContractError, InputError

LABELS = ("ant", "bee", "cow", "doe", "elk")
SIZE: dict[str, Any] = {"input_size": (16, 16)}


@pytest.mark.parametrize(
    ("flags", "color", "channels"),
    [
        ({"channels": 4, "mean": (0.0,), "std": (1.0,)}, "channels", 4),
        ({"mean": (0.0,) * 4, "std": (1.0,) * 4}, "channels", 4),  # row 24: four means are four channels
        ({"mean": (0.0,) * 13, "std": (1.0,)}, "channels", 13),
        ({"mean": (0.0,), "std": (1.0,) * 2}, "channels", 2),
        ({"color": "channels", "mean": (0.0,) * 3, "std": (1.0,) * 3}, "channels", 3),
        ({"color": "channels", "mean": (0.0,), "std": (1.0,)}, "channels", 1),
        ({"channels": 1, "mean": (0.0,), "std": (1.0,)}, "gray", 1),
        ({"channels": 3, "mean": (0.0,), "std": (1.0,)}, "rgb", 3),
        ({"mean": (0.5,), "std": (0.5,)}, "rgb", 3),
        ({"channels": 1, "frame_dtype": "uint16", "scale": 65535.0, "mean": (0.0,), "std": (1.0,)}, "channels", 1),
        ({"channels": 64, "mean": (0.0,), "std": (1.0,)}, "channels", 64),
    ],
)
def test_what_the_flags_say_of_channels(flags: dict[str, Any], color: str, channels: int) -> None:
    contract = ContractFlags(**SIZE, **flags).apply(None)
    assert (contract.color, contract.channels, contract.tensor_shape()) == (color, channels, (1, channels, 16, 16))
    assert len(contract.mean) == len(contract.std) == len(contract.fill) == channels


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"channels": 0}, "out of range"),
        ({"channels": 65}, "out of range"),
        ({"channels": 4, "color": "rgb"}, "does not fit --color"),
        ({"channels": 3, "color": "gray"}, "does not fit --color"),
        ({"channels": 4, "mean": (0.0,) * 3, "std": (1.0,) * 3}, "--mean: wrong number of values"),
        ({"mean": (0.0,) * 4, "std": (1.0,) * 3}, "--std: wrong number of values"),
        ({"color": "rgb", "mean": (0.0,) * 4, "std": (1.0,) * 4}, "--mean: wrong number of values"),
        ({"channels": 4}, "no --mean, no --std"),
        ({"channels": 4, "frame_dtype": "uint16", "mean": (0.0,), "std": (1.0,)}, "--scale missing"),
        ({"channels": 4, "frame_dtype": "int16", "mean": (0.0,), "std": (1.0,)}, "unknown --frame-dtype"),
        ({"color": "rgb", "frame_dtype": "uint16", "scale": 1.0, "mean": (0.0,), "std": (1.0,)}, "frame_dtype"),
    ],
)
def test_flags_that_contradict_each_other(flags: dict[str, Any], words: str) -> None:
    with pytest.raises((InputError, ContractError)) as caught:
        ContractFlags(**SIZE, **flags).apply(None)
    assert words in str(caught.value)


def test_the_models_own_contract_changes_its_channels_only_with_mean_and_std() -> None:
    base = InputContract()
    with pytest.raises(InputError, match="--mean and --std missing for 4 channels"):
        ContractFlags(channels=4).apply(base)
    changed = ContractFlags(channels=4, mean=(0.5,), std=(0.25,)).apply(base)
    assert (changed.color, changed.mean, changed.crop_size) == ("channels", (0.5,) * 4, (224, 224))
    assert ContractFlags(channels=4).apply(changed) == changed
    assert ContractFlags(color="channels", mean=(0.0,), std=(1.0,)).apply(base).channels == 3
    assert ContractFlags().apply(changed) == changed


def test_timm_configurations_of_many_channels() -> None:
    config = {
        "input_size": (4, 28, 28),
        "interpolation": "bilinear",
        "mean": (0.1, 0.2, 0.3, 0.4),
        "std": (0.5,) * 4,
        "crop_pct": 1.0,
        "crop_mode": "border",
    }
    contract = from_timm(config)
    assert (contract.color, contract.tensor_shape(), len(contract.fill)) == ("channels", (1, 4, 28, 28), 4)


def test_timm_builds_the_channels_that_are_asked_for() -> None:
    source = resolve("timm:test_byobnet", weights="random", channels=4)
    assert next(source.model.parameters()).shape[1] == 4  # type: ignore[union-attr]
    assert (source.contract, source.transform) == (None, None)  # timm's mean and std are of three channels
    with pytest.raises(InputError, match="pretrained weights take 3 channels"):
        resolve("timm:test_byobnet", channels=4)


def test_a_model_of_other_channels_than_the_contract_names_the_flag(tmp_path: Path) -> None:
    flags = ContractFlags(**SIZE, mean=(0.0,), std=(1.0,))
    with pytest.raises(InputError, match="first convolution takes 4 channels") as caught:
        prepare(resolve("factories:four_channels"), flags, tmp_path)
    assert "--channels 4" in str(caught.value.fix)
    onnx.save(tiny_onnx(ContractFlags(**SIZE, channels=5, mean=(0.0,), std=(1.0,)).apply(None)), tmp_path / "five.onnx")
    with pytest.raises(InputError, match="tensor does not fit") as caught:
        prepare(resolve(str(tmp_path / "five.onnx")), flags, tmp_path)
    assert "--channels 5" in str(caught.value.fix)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("resize", ["squash", "letterbox"])
def test_the_gate_against_torchvision_takes_each_band_by_itself(resize: str, dtype: str) -> None:
    flags = ContractFlags(
        resize=resize,  # type: ignore[arg-type]
        resize_size=(16, 20),
        channels=5,
        frame_dtype=dtype,  # type: ignore[arg-type]
        scale=7.0,
        mean=(0.1, 0.2, 0.3, 0.4, 0.5),
        std=(0.5,),
        fill=(1, 2, 3, 4, 5),
    )
    contract = flags.apply(None)
    for frame in band_frames(5, dtype):
        np.testing.assert_array_equal(torchvision_tensor(frame, contract), Preprocessor(contract)(frame))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    root = tmp_path_factory.mktemp("four")
    for number, frame in enumerate(band_frames(4, "uint8", 10)):
        folder = root / "data" / LABELS[number % len(LABELS)]
        folder.mkdir(parents=True, exist_ok=True)
        if number % 2:
            cv2.imwrite(str(folder / f"{number}.png"), frame[:, :, [2, 1, 0, 3]])
        else:
            np.save(folder / f"{number}.npy", frame)
    (root / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    flags = ContractFlags(**SIZE, mean=(0.0,) * 4, std=(1.0,) * 4)
    data = str(root / "data")
    return export_bundle(
        "factories:four_channels", root / "four.edge", labels=root / "labels.txt", data=data, contract=flags
    )


@pytest.mark.slow
def test_four_channels_export_with_gates_accuracy_and_golden_cases(exported: Exported) -> None:
    assert exported.report.sections["accuracy"]["n"] == 10
    assert "preprocessing vs torchvision" in [gate.name for gate in exported.report.gates]
    assert all(gate.passed for gate in exported.report.gates)
    bundle = Bundle.open(exported.bundle.path)
    raw = json.loads((bundle.path / "bundle.json").read_text(encoding="utf-8"))
    assert raw["input"]["contract"]["color"] == "channels"
    assert {Path(case["frame"]).suffix for case in raw["golden"]} == {".npy"}
    with Classifier(bundle, engine="onnxruntime") as classifier:
        for case in load_golden(bundle):
            assert classifier(case.frame).label == case.label


@pytest.mark.slow
def test_without_data_the_gates_take_drawn_frames_of_the_models_channels(exported: Exported, tmp_path: Path) -> None:
    flags = ContractFlags(frame_dtype="uint16", scale=65535.0)
    model = exported.bundle.path / "model.onnx"
    again = export_bundle(str(model), tmp_path / "drawn.edge", contract=flags)
    assert again.bundle.contract.frame_dtype == "uint16"
    assert any("drawn images of 4 channels" in warning for warning in again.report.warnings)
    assert load_golden(again.bundle)[0].frame.dtype == np.uint16
