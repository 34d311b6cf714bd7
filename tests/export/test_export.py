"""`export_bundle`: what passes becomes a bundle, what does not leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch.export import Dim

import factories
from bundles import evidence_of, frames
from edgeproof_export import ContractFlags, Exported, export_bundle
from edgeproof_export import images as images_module
from edgeproof_export.images import evenly
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.errors import GateError, InputError, UnavailableError
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.verify.golden import frame_gates, output_gate

LABELS = ("ant", "bee", "cow", "doe", "elk")
FLAT = ContractFlags(input_size=(8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with small pictures, one of them damaged."""
    root = tmp_path_factory.mktemp("export") / "data"
    for number, frame in enumerate(frames(24)):
        folder = root / LABELS[number % len(LABELS)]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number:02}.png"), frame)
    damaged = root / "bee" / "01.png"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    return root


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, data: Path, labels: Path) -> Exported:
    torch.manual_seed(0)
    out = tmp_path_factory.mktemp("exported") / "tiny.edge"
    return export_bundle("factories:tiny", out, labels=labels, data=str(data))


@pytest.fixture(scope="module")
def byobnet(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Exported:
    """A model of ImageNet's classes, exported with images of other classes."""
    out = tmp_path_factory.mktemp("byobnet") / "byobnet.edge"
    return export_bundle("timm:test_byobnet", out, weights="random", data=str(data))


def test_the_bundle_verifies_on_every_engine(exported: Exported) -> None:
    bundle = Bundle.open(exported.bundle.path)
    cases = load_golden(bundle)
    assert len(cases) == 8
    assert bundle.labels == LABELS
    tensors, gate = frame_gates(bundle, cases)
    assert tensors.passed
    assert gate is not None
    assert gate.passed
    for row in exported.report.engines:
        assert row.passed, row
        with load_engine(bundle, row.name) as engine:
            assert output_gate(bundle, engine, cases).passed
    assert {row.name for row in exported.report.engines} >= {"onnxruntime", "opencv"}


def test_the_evidence_holds_every_gate_and_pytorchs_own_accuracy(exported: Exported) -> None:
    evidence = evidence_of(exported.bundle, "export")
    assert evidence["passed"] is True
    names = [gate["name"] for gate in evidence["gates"]]
    assert names[:3] == ["preprocessing vs torchvision", "PyTorch itself", "parity onnxruntime fp32"]
    accuracy = evidence["accuracy"]
    assert accuracy["n"] == 23
    assert 0 <= accuracy["torch_correct"] <= 23
    assert accuracy["top1"] == accuracy["torch_correct"] / 23
    assert len(accuracy["fingerprint"]) == 64
    assert any("bee/01.png" in warning for warning in evidence["warnings"])
    assert all(sample["truth"] in LABELS for sample in evidence["samples"])


def test_the_model_is_one_file_that_says_what_it_is(exported: Exported) -> None:
    bundle = exported.bundle
    model = onnx.load(bundle.path / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    metadata = {item.key: item.value for item in model.metadata_props}
    assert InputContract.from_json(json.loads(metadata["edgeproof.contract"])) == bundle.contract
    assert metadata["edgeproof.classes"] == "5"
    assert metadata["edgeproof.weights_sha256"] == bundle.manifest.provenance["weights_sha256"]
    assert model.opset_import[0].version == 18
    # Nothing of the machine that exported it: no folders, no source lines.
    assert str(Path.cwd()).encode() not in model.SerializeToString()
    assert b"stack_trace" not in model.SerializeToString()


def test_the_batch_really_varies(exported: Exported) -> None:
    session = ort.InferenceSession(str(exported.bundle.path / "model.onnx"), providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
    (together,) = session.run(None, {"input": batch})
    alone = np.concatenate([session.run(None, {"input": one[None]})[0] for one in batch])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_same_model_gives_the_same_file(tmp_path: Path, data: Path, byobnet: Exported) -> None:
    again = export_bundle("timm:test_byobnet", tmp_path / "again.edge", weights="random", data=str(data)).bundle
    assert again.sha256("model.onnx") == byobnet.bundle.sha256("model.onnx")


@pytest.mark.slow
def test_an_older_opset_for_tensorrt_8(tmp_path: Path, data: Path) -> None:
    bundle = export_bundle("factories:tiny", tmp_path / "t.edge", data=str(data), opset=17).bundle
    model = onnx.load(bundle.path / "model.onnx")
    assert [item.version for item in model.opset_import if item.domain == ""] == [17]
    assert bundle.manifest.provenance["opset"] == 17
    # Convolutions over reflected borders need operators that came later.
    with pytest.raises(InputError, match="cannot be converted to ONNX opset 13"):
        export_bundle("factories:reflecting", tmp_path / "u.edge", data=str(data), opset=13, exporter="dynamo")
    assert [path.name for path in tmp_path.iterdir()] == ["t.edge"]
    # The other exporter writes them itself.
    assert export_bundle("factories:reflecting", tmp_path / "u.edge", data=str(data), opset=13).report.passed


def assert_nothing_left(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == []


@pytest.mark.parametrize(
    ("factory", "gate"),
    [
        ("differs_when_exported", "parity onnxruntime fp32: "),
        ("noisy", "PyTorch itself: repeat_relative_diff"),
        ("nan_outputs", "PyTorch itself: values_not_finite"),
        ("infinite_weights", "PyTorch itself: values_not_finite"),
    ],
)
@pytest.mark.slow
def test_planted_faults_fail_a_gate_and_leave_nothing(tmp_path: Path, data: Path, factory: str, gate: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(GateError) as caught:
        export_bundle(f"factories:{factory}", tmp_path / "bad.edge", data=str(data), exporter="dynamo")
    assert gate in str(caught.value.got)
    assert caught.value.exit_code == 1
    assert_nothing_left(tmp_path)


def test_a_gate_names_the_engine_the_amount_and_the_worst_picture(tmp_path: Path, data: Path) -> None:
    torch.manual_seed(0)
    with pytest.raises(GateError) as caught:
        export_bundle("factories:differs_when_exported", tmp_path / "bad.edge", data=str(data), exporter="dynamo")
    text = str(caught.value)
    assert "parity openvino fp32" in text
    assert "max_abs_diff" in text
    assert ".png" in text
    assert "relative_diff at most 0.001" in text


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("feature_map", "not a classifier"),
        ("without_contract", "input contract: unknown"),
    ],
)
def test_models_that_are_no_classifiers_leave_nothing(tmp_path: Path, data: Path, factory: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export_bundle(f"factories:{factory}", tmp_path / "bad.edge", data=str(data))
    assert_nothing_left(tmp_path)


def test_a_contract_that_makes_another_tensor_than_the_model_takes(tmp_path: Path) -> None:
    flags = ContractFlags(input_size=(9, 8), mean=(0.5,) * 3, std=(0.25,) * 3)
    with pytest.raises(InputError, match="fails on the contract's tensor"):
        export_bundle("factories:without_contract", tmp_path / "bad.edge", contract=flags)


def test_a_preprocessing_fault_fails_the_export(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(frame: Any, contract: InputContract) -> Any:
        from edgeproof_runtime.contract.preprocess import Preprocessor

        return Preprocessor(contract)(frame)[::-1]

    monkeypatch.setattr("edgeproof_export.golden.torchvision_tensor", swapped)
    with pytest.raises(GateError, match="preprocessing vs torchvision: differing_values"):
        export_bundle("factories:tiny", tmp_path / "bad.edge", data=str(data))
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("count", [4, 6])
def test_labels_whose_number_differs(tmp_path: Path, data: Path, count: int) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"label {i}\n" for i in range(count)), encoding="utf-8")
    with pytest.raises(InputError, match="does not fit the model") as caught:
        export_bundle("factories:tiny", tmp_path / "out" / "bad.edge", labels=path, data=str(data))
    assert caught.value.got == f"{count} lines"
    assert_nothing_left(tmp_path / "out")
    with pytest.raises(InputError, match="does not fit the model"):
        export_bundle("factories:tiny", tmp_path / "out" / "bad.edge", class_ids=path, data=str(data))


@pytest.mark.parametrize("content", ["", "a\n\nb\nc\nd\n"])
def test_label_files_with_gaps(tmp_path: Path, data: Path, content: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="does not name every class"):
        export_bundle("factories:tiny", tmp_path / "out" / "bad.edge", labels=path, data=str(data))


def test_a_softmax_in_the_graph_is_noticed(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    done = export_bundle("factories:softmax", tmp_path / "s.edge")
    assert done.bundle.manifest.outputs[0].activation == "softmax"
    assert done.bundle.labels == ("0", "1", "2", "3", "4")
    # Without data the gates take scikit-image's photographs.
    assert {"chelsea.png", "coffee.png", "rocket.jpg"} <= {sample.name for sample in done.report.samples}


@pytest.mark.slow
def test_a_model_that_hardly_looks_at_the_picture_is_noted(tmp_path: Path, data: Path, exported: Exported) -> None:
    done = export_bundle("factories:constant", tmp_path / "c.edge", data=str(data))
    assert done.report.passed
    note = "PyTorch's outputs hardly depend on the image"
    assert [warning for warning in done.report.warnings if note in warning]
    assert not [warning for warning in exported.report.warnings if note in warning]


def test_class_folders_named_by_ids(tmp_path: Path, data: Path) -> None:
    names = tmp_path / "labels.txt"
    names.write_text("".join(f"the {name}\n" for name in LABELS), encoding="utf-8")
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(LABELS), encoding="utf-8")
    done = export_bundle("factories:tiny", tmp_path / "i.edge", labels=names, class_ids=ids, data=str(data))
    assert done.bundle.class_ids == LABELS
    assert done.report.counts["labelled"] == 23


@pytest.mark.slow
def test_folders_that_match_no_class_are_used_without_labels(byobnet: Exported) -> None:
    assert "accuracy" not in byobnet.report.sections
    assert any("used without labels" in warning for warning in byobnet.report.warnings)
    assert len(byobnet.bundle.class_ids) == 1000
    assert byobnet.bundle.class_ids[0] == "n01440764"


def test_without_photographs_the_report_says_that_they_were_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images_module.util, "find_spec", lambda _name: None)
    drawn = images_module.embedded_images()
    assert "drawn images, not photographs" in drawn.notes[0]
    first, second = (next(iter(images_module.embedded_images().images)).frame for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_data_without_a_readable_picture(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="no image could be read"):
        export_bundle("factories:tiny", tmp_path / "out" / "a.edge", data=str(tmp_path / "data"))
    with pytest.raises(InputError, match="not a dataset"):
        export_bundle("factories:tiny", tmp_path / "out" / "a.edge", data=str(tmp_path / "absent"))
    assert_nothing_left(tmp_path / "out")


@pytest.mark.slow
def test_an_exported_program_and_its_batch(tmp_path: Path, data: Path) -> None:
    model = factories.without_contract().eval()
    example = (torch.zeros(2, 3, 8, 8),)
    torch.export.save(
        torch.export.export(model, example, dynamic_shapes=({0: Dim("batch")},)), tmp_path / "dynamic.pt2"
    )
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 8, 8),)), tmp_path / "single.pt2")
    torch.export.save(torch.export.export(model, example), tmp_path / "pairs.pt2")
    done = export_bundle(str(tmp_path / "dynamic.pt2"), tmp_path / "d.edge", contract=FLAT, data=str(data))
    assert done.bundle.contract.batch == BatchBounds()
    done = export_bundle(str(tmp_path / "single.pt2"), tmp_path / "s.edge", contract=FLAT, data=str(data))
    assert done.bundle.contract.batch == BatchBounds(1, 1, 1)
    assert any("fixed at 1" in warning for warning in done.report.warnings)
    with pytest.raises(InputError, match="the batch is fixed"):
        export_bundle(str(tmp_path / "pairs.pt2"), tmp_path / "p.edge", contract=FLAT, data=str(data))


def test_an_onnx_file_brings_its_contract_and_is_its_own_reference(
    tmp_path: Path, exported: Exported, data: Path, labels: Path
) -> None:
    source = exported.bundle.path / "model.onnx"
    done = export_bundle(str(source), tmp_path / "o.edge", labels=labels, data=str(data))
    assert done.bundle.contract == exported.bundle.contract
    assert done.bundle.manifest.provenance["reference"] == "ONNX Runtime"
    assert any("no PyTorch model" in warning for warning in done.report.warnings)
    assert "parity onnxruntime fp32" not in [gate.name for gate in done.report.gates]
    before = exported.report.sections["accuracy"]
    assert before is not None
    assert done.report.sections["accuracy"]["fingerprint"] == before["fingerprint"]


@pytest.mark.slow
def test_a_bundle_that_is_there_is_replaced_only_when_asked(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "tiny.edge"
    first = export_bundle("factories:tiny", out, data=str(data)).bundle
    with pytest.raises(InputError, match="exists"):
        export_bundle("factories:tiny", out, data=str(data))
    with pytest.raises(GateError):
        export_bundle("factories:nan_outputs", out, data=str(data), force=True)
    assert Bundle.open(out).manifest == Bundle.open(first.path).manifest
    export_bundle("factories:softmax", out, data=str(data), force=True)
    assert Bundle.open(out).manifest.outputs[0].activation == "softmax"


@pytest.mark.slow
def test_an_engine_that_cannot_load_the_model_is_left_out_and_said(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeproof_runtime.engines import onnxruntime as onnxruntime_engine
    from edgeproof_runtime.engines import opencv

    def refuse(*_arguments: object, **_options: object) -> None:
        raise InputError("cannot load this", got="an operator")

    monkeypatch.setattr(opencv.OpenCvEngine, "__init__", refuse)
    done = export_bundle("factories:tiny", tmp_path / "t.edge", data=str(data))
    assert next(row for row in done.report.engines if row.name == "opencv").passed is None
    assert any("opencv: cannot run this model" in warning for warning in done.report.warnings)
    monkeypatch.setattr(onnxruntime_engine.OnnxRuntimeEngine, "__init__", refuse)
    with pytest.raises(GateError, match="ONNX Runtime cannot run"):
        export_bundle("factories:tiny", tmp_path / "u.edge", data=str(data))
    assert [path.name for path in tmp_path.iterdir()] == ["t.edge"]


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import edgeproof_export

    monkeypatch.setattr(
        edgeproof_export.util, "find_spec", lambda name: None if name in ("torch", "timm") else object()
    )
    with pytest.raises(UnavailableError, match="no torch, timm") as caught:
        edgeproof_export.require_export_packages()
    assert caught.value.fix == 'pip install "edgeproof[export]"'


@pytest.mark.parametrize(("length", "count"), [(1, 8), (7, 8), (8, 8), (10_000, 200), (5, 1)])
def test_pictures_are_evenly_spread(length: int, count: int) -> None:
    positions = evenly(length, count)
    assert len(positions) == min(length, count)
    assert positions == sorted(set(positions))
    assert positions[0] == 0
    if count > 1:
        assert positions[-1] == length - 1
