"""Planted faults: each is caught by the golden cases, and the gate that catches it names the hop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundles import LABELS, make_bundle, rewrite
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import available
from edgeproof_runtime.errors import BundleError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.parity import ParityMeter
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.verify.golden import frame_gates, output_gate


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "tiny.edge")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))


def gates_of(bundle: Bundle, engine: str = "onnxruntime") -> dict[str, Gate]:
    cases = load_golden(bundle)
    with load_engine(bundle, engine) as loaded:
        tensors, labels = frame_gates(bundle, cases)
        assert labels is not None
        found = (tensors, labels, output_gate(bundle, loaded, cases))
    return dict(zip(("preprocessing", "labels", "outputs"), found, strict=True))


def planted(bundle: Bundle, **changes: Any) -> Bundle:
    """The bundle with another contract, as if it had been exported so, golden cases kept."""
    contract = replace(bundle.contract, **changes)
    return rewrite(bundle, {}, lambda manifest, files: replace(manifest, contract=contract, files=files))


@pytest.mark.parametrize("engine", available())
def test_a_sound_bundle_passes_on_every_engine(bundle: Bundle, engine: str) -> None:
    assert all(gate.passed for gate in gates_of(bundle, engine).values())


@pytest.mark.parametrize(
    "changes",
    [
        {"color": "bgr"},
        {"mean": (0.5, 0.5, 0.5)},
        {"std": (0.5, 0.5, 0.5)},
        {"std": (0.229, 0.224, 0.22501)},
        {"scale": 254.0},
        {"filter": "bilinear"},
        {"filter": "nearest"},
        {"resize": "squash"},
        {"resize_size": (21, 21)},
    ],
    ids=lambda changes: next(iter(changes.items())),
)
def test_a_wrong_contract_fails_the_preprocessing(bundle: Bundle, changes: dict[str, Any]) -> None:
    gates = gates_of(planted(bundle, **changes))
    assert not gates["preprocessing"].passed
    assert gates["labels"].passed


def test_shuffled_labels_fail_the_labels(bundle: Bundle) -> None:
    shuffled = "".join(f"{label}\n" for label in (*LABELS[1:], LABELS[0])).encode()
    changed = rewrite(bundle, {"labels.txt": shuffled}, lambda manifest, files: replace(manifest, files=files))
    gates = gates_of(changed)
    assert not gates["labels"].passed
    assert gates["preprocessing"].passed
    assert gates["outputs"].passed


def edited_model(bundle: Bundle, change: Any) -> Bundle:
    model = onnx.load(str(bundle.path / "model.onnx"))
    tensor = next(t for t in model.graph.initializer if t.name == "conv")
    values = numpy_helper.to_array(tensor).copy()
    change(values)
    tensor.CopyFrom(numpy_helper.from_array(values, "conv"))
    content = model.SerializeToString()
    return rewrite(bundle, {"model.onnx": content}, lambda manifest, files: replace(manifest, files=files))


@pytest.mark.parametrize("engine", available())
def test_a_changed_weight_fails_the_outputs(bundle: Bundle, engine: str) -> None:
    def change(values: np.ndarray) -> None:
        values[0] *= -1

    assert not gates_of(edited_model(bundle, change), engine)["outputs"].passed


@pytest.mark.parametrize("engine", available())
def test_one_nan_weight_fails_the_outputs(bundle: Bundle, engine: str) -> None:
    def change(values: np.ndarray) -> None:
        values[0, 0, 0, 0] = np.nan

    assert not gates_of(edited_model(bundle, change), engine)["outputs"].passed


def test_a_bundle_without_golden_cases_proves_nothing(bundle: Bundle) -> None:
    bare = rewrite(bundle, {}, lambda manifest, files: replace(manifest, golden=(), files=files))
    with pytest.raises(BundleError, match="no golden cases"):
        load_golden(bare)


def test_parity_of_equals() -> None:
    meter = ParityMeter()
    values = np.random.default_rng(0).normal(size=(4, 10)).astype(np.float32)
    meter.update(values, values, "abcd")
    found = meter.result()
    assert (found.max_abs_diff, found.cosine, found.top1_agreement, found.n) == (0.0, 1.0, 1.0, 4)


def test_parity_names_the_worst_and_counts_disagreement() -> None:
    meter = ParityMeter()
    reference = np.eye(4, 10, dtype=np.float32)
    answer = reference.copy()
    answer[2] = np.roll(answer[2], 1)
    meter.update(reference, answer, ["a", "b", "c", "d"])
    found = meter.result()
    assert found.worst == "c"
    assert found.top1_agreement == 0.75
    assert found.cosine == 0.0
    assert not found.gate("x", "y", "fp32").passed


def test_a_large_error_cannot_excuse_a_wrong_answer_as_a_tie() -> None:
    meter = ParityMeter()
    meter.update(np.array([[1.0, 0.9]]), np.array([[0.5, 0.9]]), ["a"])
    assert meter.result().top1_agreement == 0.0


def test_a_near_tie_may_fall_either_way() -> None:
    meter = ParityMeter()
    meter.update(np.array([[1.0, 0.99999]]), np.array([[0.99999, 1.0]]), ["a"])
    assert meter.result().top1_agreement == 1.0
