"""Which engines an export must pass on, and what becomes of the others; ONNX files as models, which are quick."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundles import frames, tiny_onnx
from edgeproof_export import ContractFlags, Exported, export_bundle
from edgeproof_export.arithmetic import arithmetic_of
from edgeproof_export.bundle import new_bundle
from edgeproof_export.gate import required_engines
from edgeproof_export.precision import to_fp16
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.errors import GateError, InputError, UnavailableError
from faulty_engines import entry_of

FLAGS = ContractFlags(input_size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number, frame in enumerate(frames(4)):
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return folder


@pytest.fixture
def wrong() -> Iterator[None]:
    with catalog.registered(entry_of("wrong")):
        yield


def exported(model: onnx.ModelProto, out: Path, data: Path, **options: object) -> Exported:
    path = out.with_suffix(".onnx")
    onnx.save(model, path)
    return export_bundle(str(path), out, contract=FLAGS, data=str(data), **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_engine_that_misses_its_bound_blocks_only_where_it_is_named(tmp_path: Path, data: Path, wrong: None) -> None:
    done = exported(tiny_onnx(), tmp_path / "t.edge", data)
    row = next(row for row in done.report.engines if row.name == "wrong")
    assert row.passed is False
    assert row.reason is not None
    assert row.reason.startswith("missed its bound: relative_diff 0.01 (at most 0.001)")
    assert done.report.passed
    assert "parity wrong fp32" not in [gate.name for gate in done.report.gates]
    assert f"wrong 1 {row.reason}: left out" in done.report.warnings
    missed = next(one for one in done.bundle.manifest.engines_left_out if one.name == "wrong")
    assert (missed.version, missed.reason) == ("1", row.reason)
    with pytest.raises(GateError, match="parity wrong fp32: relative_diff") as caught:
        exported(tiny_onnx(), tmp_path / "u.edge", data, engines="onnxruntime,wrong")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "u.edge").exists()


def test_engines_that_must_pass_are_checked_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert required_engines(None) == ("onnxruntime",)
    assert required_engines(" openvino, onnxruntime,openvino") == ("openvino", "onnxruntime")
    assert required_engines(["opencv"]) == ("opencv",)
    for names, message in (
        ("abacus", "unknown engine"),
        ("tensorrt", "not gated"),
        ("null", "not gated"),
        (",", "no eng"),
    ):
        with pytest.raises(InputError, match=message):
            required_engines(names)
    from edgeproof_runtime.engines import Unavailable
    from edgeproof_runtime.engines.openvino import OpenVinoEngine

    monkeypatch.setattr(OpenVinoEngine, "unavailable_reason", lambda: Unavailable("openvino is not installed"))
    with pytest.raises(UnavailableError) as caught:
        required_engines("openvino")
    assert caught.value.exit_code == 3


def half_with_softmax(tmp_path: Path) -> onnx.ModelProto:
    """float16 weights and arithmetic between float32 inputs and outputs, and a softmax behind them."""
    model = tiny_onnx()
    model.graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    model.graph.output[0].name = "probabilities"
    onnx.save(model, tmp_path / "full.onnx")
    to_fp16(tmp_path / "full.onnx", tmp_path / "half.onnx")
    return onnx.load(tmp_path / "half.onnx")


def test_a_graph_that_computes_in_fp16_is_held_against_its_bounds(tmp_path: Path, data: Path) -> None:
    done = exported(half_with_softmax(tmp_path), tmp_path / "h.edge", data)
    names = [gate.name for gate in done.report.gates]
    assert [name for name in names if "openvino" in name] == ["parity openvino fp16"]
    assert any("computes in fp16" in warning for warning in done.report.warnings)
    assert done.bundle.manifest.arithmetic == "fp16"
    assert Bundle.open(done.bundle.path).artifact().bounds == "fp16"
    assert tiny_bounds() == "fp32"


def tiny_bounds() -> str:
    return arithmetic_of(tiny_onnx())


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        # float16 weights that are cast to float32 first are stored small, and computed as float32.
        ([("Cast", ["w"], ["wide"], {"to": TensorProto.FLOAT}), ("Mul", ["input", "wide"], ["out"], {})], "fp32"),
        ([("Cast", ["input"], ["x"], {"to": TensorProto.FLOAT16}), ("Mul", ["x", "w"], ["out"], {})], "fp16"),
        ([("Cast", ["input"], ["x"], {"to": TensorProto.BFLOAT16}), ("Relu", ["x"], ["out"], {})], "fp16"),
        ([("Relu", ["input"], ["out"], {})], "fp32"),
    ],
)
def test_the_arithmetic_is_that_of_the_nodes(
    nodes: list[tuple[str, list[str], list[str], dict[str, int]]], expected: str
) -> None:
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, outputs, **attributes) for kind, inputs, outputs, attributes in nodes],
        "casts",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.ones((1, 4), np.float16), "w")],
    )
    assert arithmetic_of(helper.make_model(graph)) == expected
    inner = helper.make_graph(graph.node, "inner", [], graph.output, graph.initializer)
    branches = helper.make_node("If", ["condition"], ["out"], then_branch=inner, else_branch=inner)
    outer = helper.make_graph([branches], "outer", graph.input, graph.output)
    assert arithmetic_of(helper.make_model(outer)) == expected


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "a.edge"
    dead, old, other = (tmp_path / f".{name}.partial" for name in ("a.edge.dead", "a.edge.x.old", "b.edge.dead"))
    for folder in (dead, old, other):
        folder.mkdir()
        os.utime(folder, (0, 0))
    with new_bundle_that_fails(out) as folder:
        os.utime(folder, (0, 0))
        assert not dead.exists()
        with new_bundle_that_fails(out):  # one that is being written beside it stays
            pass
        assert folder.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([old.name, other.name])


@contextmanager
def new_bundle_that_fails(out: Path) -> Iterator[Path]:
    with suppress(KeyError), new_bundle(out) as folder:
        yield folder
        raise KeyError
