"""What is said of a model before TensorRT is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeproof_export.compile import BuildOptions, parse_batch, parse_gpus
from edgeproof_export.compile.lint import lint_model
from edgeproof_export.precision import to_fp16, to_int8
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.errors import InputError


def _model(
    path: Path,
    *,
    nodes: list[Any] | None = None,
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
    shape: tuple[int | str, ...] = ("N", 4),
    opset: int = 20,
) -> Path:
    weight = np.ones((4, 3), np.float32)
    constants = {"w": weight} if constants is None else constants
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])] if nodes is None else nodes
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), path)
    return path


def _rules(path: Path, precision: str = "fp32", target: str = "tensorrt", **options: Any) -> list[str]:
    findings = lint_model(path, precision=precision, target=target, **options)
    assert all(finding.fix and finding.what for finding in findings)
    return [finding.rule for finding in findings if finding.severity == "error"]


def test_a_plain_model_has_no_findings(tmp_path: Path) -> None:
    assert lint_model(_model(tmp_path / "m.onnx"), precision="fp32", target="tensorrt", major=10) == []


def test_not_an_onnx_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(InputError, match="not a valid ONNX model"):
        lint_model(tmp_path / "m.onnx", precision="fp32", target="tensorrt")


@pytest.mark.parametrize(("opset", "major", "found"), [(20, 8, True), (17, 8, False), (20, 10, False), (7, 10, True)])
def test_opset(tmp_path: Path, opset: int, major: int, found: bool) -> None:
    assert ("opset" in _rules(_model(tmp_path / "m.onnx", opset=opset), major=major)) == found


@pytest.mark.parametrize(("shape", "found"), [((1, 4), False), (("N", 4), False), (("N", "M"), True)])
def test_open_dimensions(tmp_path: Path, shape: tuple[int | str, ...], found: bool) -> None:
    assert ("dynamic shape" in _rules(_model(tmp_path / "m.onnx", shape=shape))) == found


def test_double_weights(tmp_path: Path) -> None:
    assert "fp64" in _rules(_model(tmp_path / "m.onnx", constants={"w": np.ones((4, 3))}))


@pytest.mark.parametrize(("value", "major", "found"), [(2**40, 8, True), (2**40, 10, False), (5, 8, False)])
def test_int64_beyond_int32(tmp_path: Path, value: int, major: int, found: bool) -> None:
    constants = {"w": np.ones((4, 3), np.float32), "i": np.array([value, np.iinfo(np.int64).max], np.int64)}
    path = _model(tmp_path / "m.onnx", constants=constants, opset=17)
    assert ("int64" in _rules(path, major=major)) == found


@pytest.mark.parametrize(
    ("zero", "found"), [(np.int8(0), False), (np.int8(3), True), (np.uint8(0), True), (np.uint8(128), True)]
)
def test_zero_points(tmp_path: Path, zero: Any, found: bool) -> None:
    constants = {"s": np.array(0.1, np.float32), "z": np.array(zero), "w": np.ones((4, 3), np.float32)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    path = _model(tmp_path / "m.onnx", nodes=nodes, constants=constants)
    assert ("zero point" in _rules(path, "int8")) == found


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_precision_that_the_graph_does_not_hold(tmp_path: Path, precision: str) -> None:
    assert _rules(_model(tmp_path / "m.onnx"), precision) == ["precision"]


def test_fused_integer_operators(tmp_path: Path) -> None:
    nodes = [helper.make_node("QLinearMatMul", ["x"] * 8, ["y"])]
    assert "quantised operators" in _rules(_model(tmp_path / "m.onnx", nodes=nodes))


def test_turing_has_no_fp32_product(tmp_path: Path) -> None:
    path = _model(tmp_path / "m.onnx")
    assert _rules(path, target="tensorrt-rtx", gpus=("7.5", "8.6")) == ["turing"]
    assert _rules(path, target="tensorrt-rtx", gpus=("8.6",)) == []
    assert _rules(path, target="tensorrt", gpus=("7.5",)) == []


def test_converted_graphs_pass(tmp_path: Path) -> None:
    path = _model(tmp_path / "m.onnx")
    to_fp16(path, tmp_path / "h.onnx")
    assert _rules(tmp_path / "h.onnx", "fp16") == []
    to_int8(path, tmp_path / "q.onnx", [np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)])
    assert _rules(tmp_path / "q.onnx", "int8") == []
    with pytest.raises(InputError, match="no float32 weights"):
        to_fp16(tmp_path / "h.onnx", tmp_path / "again.onnx")
    with pytest.raises(InputError, match="calibration"):
        to_int8(path, tmp_path / "none.onnx", [])


def test_converted_graphs_compute_about_the_same(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 4)).astype(np.float32)
    path = _model(tmp_path / "m.onnx", constants={"w": rng.normal(size=(4, 3)).astype(np.float32)})
    to_fp16(path, tmp_path / "h.onnx")
    to_int8(path, tmp_path / "q.onnx", [x])
    # As written: fused int8 kernels saturate on CPUs without VNNI, which TensorRT's do not.
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    out = {
        name: ort.InferenceSession(str(tmp_path / f"{name}.onnx"), options, providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for name in ("m", "h", "q")
    }
    np.testing.assert_allclose(out["h"], out["m"], atol=1e-2)
    np.testing.assert_allclose(out["q"], out["m"], atol=0.2)
    assert out["h"].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "expected"),
    [("sm86", ("8.6",)), ("SM120, 8.9", ("8.9", "12.0")), ("8.6,sm_86,sm75", ("7.5", "8.6"))],
)
def test_gpus(text: str, expected: tuple[str, ...]) -> None:
    assert parse_gpus(text) == expected


@pytest.mark.parametrize("text", ["", "banana", "sm", "8.6.1", "sm8"])
def test_no_gpus(text: str) -> None:
    with pytest.raises(InputError, match="compute capability"):
        parse_gpus(text)


def test_batch_bounds() -> None:
    assert parse_batch("1,8,32") == BatchBounds(1, 8, 32)
    assert parse_batch("4") == BatchBounds(4, 4, 4)
    for text in ("", "a", "1,2", "8,4,1", "0,1,2"):
        with pytest.raises(InputError, match="batch bounds"):
            parse_batch(text)


@pytest.mark.parametrize(
    "options",
    [{"workspace_mib": 0}, {"optimization_level": 6}, {"hardware_compatibility": "all"}, {"dla_core": -1}],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        BuildOptions(**options)
