"""The fault table of docs/faults.md: each fault is planted, and each is caught by a report that names the hop."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

import factories
from bundles import LABELS, frames, rewrite
from command_line import Cli
from edgeproof_export import export_bundle
from edgeproof_export.precision import to_int8
from edgeproof_runtime.bundle.engine_record import EngineRecord
from edgeproof_runtime.bundle.manifest import SCHEMA_1, EngineEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.engines.onnxruntime import OnnxRuntimeEngine
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.selection.auto import load_engine
from fake_tensorrt import plan_record

PICTURES = 40


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle of ``factories:tiny``, exported from PyTorch."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    export_bundle("factories:tiny", folder / "tiny.edge", labels=folder / "labels.txt")
    torch.set_num_threads(before)
    return folder / "tiny.edge"


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Bundle:
    shutil.copytree(exported, tmp_path / "tiny.edge")
    return Bundle.open(tmp_path / "tiny.edge")


@pytest.fixture(scope="module")
def data(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in the folders of the classes that the sound model takes them for."""
    root = tmp_path_factory.mktemp("data")
    bundle = Bundle.open(exported)
    preprocess = Preprocessor(bundle.contract)
    for label in LABELS:
        (root / label).mkdir()
    with load_engine(bundle, "onnxruntime", "fp32") as engine:
        for number, frame in enumerate(frames(PICTURES, seed=7)):
            answer = int(engine.run(preprocess(frame)[None])[0].argmax())
            cv2.imwrite(str(root / LABELS[answer] / f"{number:02}.png"), frame)
    return root


@pytest.fixture
def hops(cli: Cli, bundle: Bundle, data: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """`evaluate --hops`; the report's section, after exit code 1."""

    def call(*arguments: object) -> dict[str, Any]:
        report = tmp_path / "hops.json"
        command = ("evaluate", bundle.path, "--data", data, "--engine", "onnxruntime", "--batch", 8, "--hops")
        code, out, err = cli(*command, "--camera", "none", "--json", report, *arguments)
        found: dict[str, Any] = json.loads(report.read_text())["hops"]
        assert code == (1 if found["culprit"] else 0), err
        assert found["verdict"] in " ".join(out.split())
        return found

    return call


def lost(walk: dict[str, Any]) -> list[str]:
    return [hop["name"] for hop in walk["hops"] if hop["lost"]]


def planted(bundle: Bundle, files: dict[str, bytes], **changes: Any) -> Bundle:
    return rewrite(bundle, files, lambda manifest, table: replace(manifest, **changes, files=table))


def array_bytes(values: NDArray[np.generic], folder: Path) -> bytes:
    np.save(folder / "array.npy", values)
    return (folder / "array.npy").read_bytes()


def exported_with(bundle: Bundle, folder: Path, **changes: Any) -> Bundle:
    """As if the export had been told this contract: the golden cases agree with it, so that `verify` passes."""
    contract = replace(bundle.contract, **changes)
    preprocess = Preprocessor(contract)
    files = {}
    with load_engine(bundle, "onnxruntime", "fp32") as engine:
        for entry, case in zip(bundle.manifest.golden, bundle.golden(), strict=True):
            tensor = preprocess(case.frame)
            files[entry.tensor] = array_bytes(tensor, folder)
            files[entry.outputs[0]] = array_bytes(engine.run(tensor[None])[0][0], folder)
    golden = tuple(replace(entry, top1=None, label=None) for entry in bundle.manifest.golden)
    return planted(bundle, files, contract=contract, golden=golden)


def edited(path: Path, change: Callable[[dict[str, NDArray[np.float32]]], None]) -> bytes:
    """An ONNX file with other weights."""
    model = onnx.load(str(path))
    values = {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}
    change(values)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    content: bytes = model.SerializeToString()
    return content


def convolution(values: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    return next(array for array in values.values() if array.ndim == 4)


def test_a_sound_bundle_loses_nothing(cli: Cli, bundle: Bundle, hops: Any) -> None:
    assert cli("verify", bundle.path)[0] == 0
    walk = hops()
    assert [hop["name"] for hop in walk["hops"]] == ["training", "contract", "onnx"]
    assert walk["culprit"] is None
    assert walk["total"]["n"] == PICTURES == walk["hops"][0]["correct"]
    assert walk["flips"] == []
    assert Bundle.open(bundle.path).evidence == ("evidence/evaluate.json", "evidence/export.json")


@pytest.mark.parametrize(
    "changes",
    [{"color": "bgr"}, {"mean": (0.5, 0.5, 0.5)}, {"std": (0.2, 0.2, 0.2)}, {"filter": "bilinear"}],
    ids=["channels swapped", "mean wrong", "std wrong", "filter wrong"],
)
def test_a_wrong_contract_at_the_export_is_lost_at_the_contract(
    cli: Cli, bundle: Bundle, hops: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    exported_with(bundle, tmp_path, **changes)
    assert cli("verify", bundle.path)[0] == 0
    assert lost(hops()) == ["contract"]


@pytest.mark.parametrize("model", ["without_antialiasing", "cropped_off_by_one"])
def test_transforms_that_no_contract_says_are_lost_at_the_contract(hops: Any, model: str) -> None:
    assert lost(hops("--model", f"factories:{model}")) == ["contract"]
    # A camera may lose more, or the fault gain by chance: the hop whose gate failed is the one to mend.
    found = hops("--model", f"factories:{model}", "--camera", "mjpeg")
    assert found["culprit"] == "contract"
    assert "top-1 drop -" not in found["verdict"]


@pytest.mark.parametrize("fault", ["channels swapped", "antialias off", "crop off by one"])
def test_a_device_that_preprocesses_otherwise_fails_the_preprocessing(
    cli: Cli, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    honest = Preprocessor.__call__

    def faulty(self: Preprocessor, frame: Any, out: Any = None, *, color: Any = "bgr") -> Any:
        if fault == "channels swapped":
            return honest(self, frame, out, color="rgb")
        if fault == "crop off by one":
            return honest(self, np.roll(frame, 1, axis=0), out, color=color)
        shrink = 20 / min(frame.shape[:2])
        resized = cv2.resize(frame, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_CUBIC)
        return honest(self, resized.astype(np.uint8), out, color=color)

    monkeypatch.setattr(Preprocessor, "__call__", faulty)
    code, _, err = cli("verify", bundle.path, "--engine", "onnxruntime")
    assert code == 1
    assert "preprocessing: differing_rows" in err


def test_permuted_labels_fail_the_labels(cli: Cli, bundle: Bundle) -> None:
    planted(bundle, {"labels.txt": "".join(f"{label}\n" for label in (*LABELS[1:], LABELS[0])).encode()})
    code, _, err = cli("verify", bundle.path)
    assert code == 1
    assert "labels: differing" in err
    assert "parity" not in err


def test_one_nan_weight_is_lost_at_the_onnx_model(cli: Cli, bundle: Bundle, hops: Any) -> None:
    def change(values: dict[str, NDArray[np.float32]]) -> None:
        convolution(values)[0, 0, 0, 0] = np.nan

    planted(bundle, {"model.onnx": edited(bundle.path / "model.onnx", change)})
    code, _, err = cli("verify", bundle.path, "--engine", "onnxruntime")
    assert code == 1
    assert "parity onnxruntime fp32" in err
    walk = hops()
    assert lost(walk) == ["onnx"]
    assert "not finite" in walk["verdict"]


@pytest.mark.slow
def test_an_fp16_overflow_is_kept_in_fp32_and_named_by_optimize(cli: Cli, bundle: Bundle, data: Path) -> None:
    """CPU engines without fp16 arithmetic compute an fp16 graph in fp32, so that no answer of theirs could show it."""

    def change(values: dict[str, NDArray[np.float32]]) -> None:
        # The same function, by powers of two: in fp32 nothing changes, in fp16 the activations overflow.
        convolution(values)[:] *= 2.0**17
        next(a for a in values.values() if a.ndim == 1 and a.shape == (8,))[:] *= 2.0**17
        next(a for a in values.values() if a.ndim == 2)[:] *= 2.0**-17

    model = bundle.path / "model.onnx"
    planted(bundle, {"model.onnx": edited(model, change)})
    assert cli("verify", bundle.path, "--engine", "onnxruntime")[0] == 0
    arguments = ("--data", data, "--precision", "fp16", "--max-drop", 1, "--force", "--engine", "onnxruntime")
    code, out, err = cli("optimize", bundle.path, *arguments)
    assert code == 0, err
    assert re.search(r"fp16: \S*conv\S* \(Conv\) stays fp32: overflows", out, flags=re.IGNORECASE)


@pytest.fixture
def as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ONNX Runtime compute Q/DQ in float32: its int8 kernels saturate on CPUs without VNNI."""
    monkeypatch.setattr(OnnxRuntimeEngine, "__init__", partialmethod(OnnxRuntimeEngine.__init__, int8_kernels=False))


@pytest.mark.usefixtures("as_written")
def test_int8_scales_of_another_model_are_lost_at_the_precision(
    cli: Cli, bundle: Bundle, hops: Any, data: Path, tmp_path: Path
) -> None:
    preprocess = Preprocessor(bundle.contract)
    batches = [preprocess(cv2.imread(str(path)))[None].astype(np.float32) for path in sorted(data.rglob("*.png"))]

    def smaller(values: dict[str, NDArray[np.float32]]) -> None:
        convolution(values)[:] *= 0.05

    (tmp_path / "other.onnx").write_bytes(edited(bundle.path / "model.onnx", smaller))
    to_int8(bundle.path / "model.onnx", tmp_path / "own.int8.onnx", batches)
    to_int8(tmp_path / "other.onnx", tmp_path / "other.int8.onnx", batches)
    other = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(tmp_path / "other.int8.onnx")).graph.initializer}

    def take_scales(values: dict[str, NDArray[np.float32]]) -> None:
        for name in values:
            if name.endswith("_scale"):
                values[name] = other[name]

    models = {**bundle.manifest.models, "int8": "model.int8.onnx"}
    own = planted(bundle, {"model.int8.onnx": (tmp_path / "own.int8.onnx").read_bytes()}, models=models)
    assert cli("verify", bundle.path, "--engine", "onnxruntime")[0] == 0
    planted(own, {"model.int8.onnx": edited(tmp_path / "own.int8.onnx", take_scales)})
    code, _, err = cli("verify", bundle.path, "--engine", "onnxruntime")
    assert code == 1
    assert "parity onnxruntime int8" in err
    assert lost(hops("--precision", "int8")) == ["precision"]


def test_a_stale_engine_fails_the_compiled_engines(cli: Cli, bundle: Bundle) -> None:
    plan = b"a plan of another model"
    record = plan_record(
        plan,
        target="tensorrt-rtx",
        version="1.7.1.116",
        onnx_sha256=bundle.sha256("model.onnx"),
        profile=BatchBounds(1, 8, 32),
        compute_capabilities=("8.9",),
    )
    entry = EngineEntry("k", record.target, "fp32", "engines/k/model.plan", "engines/k/engine.json")

    def put(of: Bundle, kept: EngineRecord) -> Bundle:
        content = json.dumps(kept.to_json()).encode()
        return planted(of, {entry.path: plan, entry.info: content}, schema=SCHEMA_1, engines=(entry,))

    fresh = put(bundle, record)
    assert cli("verify", bundle.path)[0] == 0
    put(fresh, replace(record, onnx_sha256="a" * 64))
    code, _, err = cli("verify", bundle.path)
    assert code == 1
    assert "compiled engines: stale 1" in err


def test_calibration_on_validation_images_is_refused(cli: Cli, bundle: Bundle, data: Path) -> None:
    before = sorted(bundle.path.rglob("*"))
    arguments = ("--data", data, "--calibration", data, "--precision", "int8", "--force")
    code, _, err = cli("optimize", bundle.path, *arguments)
    assert code == 2
    assert "--calibration: shares images with --data" in err
    assert sorted(bundle.path.rglob("*")) == before


@pytest.mark.slow
def test_two_precisions_are_compared_picture_by_picture(cli: Cli, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    content = edited(bundle.path / "model.onnx", lambda values: np.negative(convolution(values), convolution(values)))
    planted(bundle, {"model.fp16.onnx": content}, models={**bundle.manifest.models, "fp16": "model.fp16.onnx"})
    arguments = ("evaluate", bundle.path, "--data", data, "--engine", "onnxruntime", "--precision", "fp16")
    report, page = tmp_path / "against.json", tmp_path / "against.html"
    code, out, err = cli(*arguments, "--against", "fp32", "--json", report, "--report", page)
    assert code == 1, err
    walk = json.loads(report.read_text())["hops"]
    assert walk["kind"] == "against"
    assert [hop["name"] for hop in walk["hops"]] == ["onnxruntime fp32", "onnxruntime fp16"]
    change = walk["hops"][1]["change"]
    assert change["lost"] == PICTURES - walk["hops"][1]["correct"] > 0
    assert sum(c["lost"] for c in walk["hops"][1]["classes"]) == change["lost"]
    assert len(walk["flips"]) == change["changed"]
    assert "Side by side" in page.read_text()
    assert "Images that flip" in page.read_text()
    assert "Accuracy lost at hop onnxruntime fp16" in out
    for same in ("fp16", "onnxruntime", "onnxruntime,fp16", "opencv,fp32,x"):
        assert cli(*arguments, "--against", same)[0] == 2


@pytest.mark.slow
def test_what_hops_need_is_said(cli: Cli, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", bundle.path, "--data", data, "--engine", "onnxruntime", "--hops")
    provenance = {**bundle.manifest.provenance, "weights_file": "best.pth"}
    planted(bundle, {}, provenance=provenance)
    code, _, err = cli(*arguments, "--camera", "mjpeg", "--report", tmp_path / "hops.html")
    assert "starts at the ONNX model" in err
    assert "--weights best.pth" in err
    assert code == 0, err
    assert "Accuracy drop by hop" in (tmp_path / "hops.html").read_text()
    assert cli(*arguments, "--camera", "none")[0] == 2
    assert cli(*arguments, "--camera", "film")[0] == 2
    assert cli(*arguments, "--model", "factories:differs_when_exported", "--weights", "random")[0] == 0
    assert cli(*arguments, "--against", "opencv")[0] == 2
    assert cli(*arguments[:-1], "--model", "factories:tiny")[0] == 2
    torch.manual_seed(1)
    torch.save(factories.tiny().state_dict(), tmp_path / "other.pth")
    code, _, err = cli(*arguments, "--model", "factories:tiny", "--weights", tmp_path / "other.pth")
    assert code == 2
    assert "weights differ from the bundle's" in err


def test_a_bundle_that_cannot_be_written_is_evaluated_all_the_same(
    cli: Cli, bundle: Bundle, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("the bundle is read-only")

    monkeypatch.setattr("edgeproof_export.attach.add_evidence", refuse)
    code, _, err = cli("evaluate", bundle.path, "--data", data, "--engine", "onnxruntime")
    assert code == 0
    assert "not stored in the bundle: the bundle is read-only" in err
    assert cli("evaluate", bundle.path, "--data", data, "--engine", "onnxruntime", "--no-evidence")[2] == ""
