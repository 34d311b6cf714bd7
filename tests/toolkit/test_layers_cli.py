"""`verify --layers` and `bench --layers` as a person calls them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundles import make_bundle, rewrite, tiny_onnx
from command_line import Cli
from edgeproof_export.precision import to_fp16
from edgeproof_runtime.bundle.manifest import FileEntry, Manifest
from edgeproof_runtime.bundle.reader import Bundle


def named_onnx() -> onnx.ModelProto:
    model = tiny_onnx()
    names = ("/stem/Conv", "/act/Relu", "/pool/Pool", "/Flatten", "/fc/Gemm")
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    return model


@pytest.fixture
def faulty(tmp_path: Path) -> Bundle:
    """A bundle whose fp16 model has a convolution of other weights."""
    bundle = make_bundle(tmp_path / "tiny.edge", model=named_onnx())
    to_fp16(bundle.path / "model.onnx", tmp_path / "fp16.onnx")
    model = onnx.load(tmp_path / "fp16.onnx")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "conv")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float16(1.5), "conv"))

    def list_it(manifest: Manifest, files: dict[str, FileEntry]) -> Manifest:
        return replace(manifest, models={**manifest.models, "fp16": "model.fp16.onnx"}, files=files)

    return rewrite(bundle, {"model.fp16.onnx": model.SerializeToString()}, list_it)


def test_the_layer_is_named_on_the_terminal_and_in_both_reports(cli: Cli, faulty: Bundle, tmp_path: Path) -> None:
    arguments = ("--engine", "onnxruntime", "--precision", "fp16", "--layers", "--json", "v.json", "--report", "v.html")
    code, out, _ = cli("verify", faulty.path, *arguments)
    assert code == 1  # by the golden cases
    assert "onnxruntime fp16: the numbers first move at stem (Conv): relative error 0.5" in " ".join(out.split())
    trace = json.loads((tmp_path / "v.json").read_text())["layers"]["drift"][0]
    assert trace["first"] == "stem"
    assert [layer["value"] for layer in trace["layers"]] == ["features", "active", "pooled", "flat", "logits"]
    assert [layer["moved"] for layer in trace["layers"]] == [True, False, False, False, False]
    assert trace["layers"][0]["error"] == pytest.approx(0.5, rel=0.01)
    page = (tmp_path / "v.html").read_text()
    for text in ("Where the numbers move", "first move at stem", "the first layer that moves: onnxruntime fp16: stem"):
        assert text in page


def test_a_healthy_precision_says_so(cli: Cli, faulty: Bundle, tmp_path: Path) -> None:
    code, out, _ = cli("verify", faulty.path, "--precision", "fp32", "--layers", "--json", "v.json")
    assert code == 0
    assert out.count("no layer moves more than fp32 explains") == 3
    assert {one["engine"] for one in json.loads((tmp_path / "v.json").read_text())["layers"]["drift"]} == {
        "onnxruntime",
        "openvino",
        "opencv",
    }


def test_without_the_option_no_layer_is_compared(cli: Cli, faulty: Bundle, tmp_path: Path) -> None:
    assert cli("verify", faulty.path, "--precision", "fp32", "--engine", "opencv", "--json", "v.json")[0] == 0
    assert json.loads((tmp_path / "v.json").read_text())["layers"] is None


@pytest.mark.parametrize("engine", ["null", "tensorrt", "onnxruntime,tensorrt"])
def test_an_engine_without_intermediate_values_is_refused(cli: Cli, faulty: Bundle, engine: str) -> None:
    code, _, err = cli("verify", faulty.path, "--engine", engine, "--layers")
    assert code == 2
    assert "--layers: the engine gives no intermediate values" in err
    assert "onnxruntime, openvino, opencv" in err


@pytest.mark.slow
def test_the_slowest_layers_are_printed_and_in_both_reports(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge", model=named_onnx()).path
    arguments = ("--engine", "onnxruntime,opencv", "--layers", "--duration", "0.3", "--driver", "builtin")
    code, out, _ = cli("bench", bundle, *arguments, "--json", "b.json", "--report", "b.html")
    assert code == 0
    assert "by ONNX Runtime's profiler" in out
    assert "by OpenCV's layer times" in out
    times = json.loads((tmp_path / "b.json").read_text())["layers"]["times"]
    assert [one["engine"] for one in times] == ["onnxruntime", "opencv"]
    for one in times:
        assert "stem" in {layer["module"] for layer in one["layers"]}
        assert one["total_ms"] == pytest.approx(sum(layer["ms"] for layer in one["layers"]))
    page = (tmp_path / "b.html").read_text()
    assert "Where the time goes, by layer" in page
    assert "Layers of opencv fp32 by time" in page
