"""Bundles that an agent must refuse, beside one that it takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bundles import LABELS, make_bundle, tiny_onnx
from edgeproof_runtime.bundle.reader import Bundle, sha256_of
from faulty_engines import gelu_onnx

__all__ = ["crashing", "good", "slower", "slower_onnx", "wrong"]


def good(out: Path, seed: int = 0) -> Bundle:
    """Another training of the same network."""
    return make_bundle(out, model=tiny_onnx(seed=seed))


def wrong(out: Path, seed: int = 1) -> Bundle:
    """A bundle of which every file is whole, and whose model is not the one that made its golden cases."""
    bundle = good(out, seed)
    onnx.save(tiny_onnx(seed=seed + 100), str(out / "model.onnx"))
    document = json.loads((out / "bundle.json").read_text())
    model = out / "model.onnx"
    document["files"]["model.onnx"] = {"sha256": sha256_of(model), "size_bytes": model.stat().st_size}
    (out / "bundle.json").write_text(json.dumps(document))
    return Bundle.open(bundle.path)


def slower(out: Path) -> Bundle:
    """A bundle that answers rightly and takes about three times as long."""
    return make_bundle(out, model=slower_onnx())


def slower_onnx(layers: int = 1, width: int = 24) -> onnx.ModelProto:
    """`tiny_onnx` with convolutions in between that cost time."""
    rng = np.random.default_rng(2)
    shapes = [(width, 3, 3, 3)] + [(width, width, 3, 3)] * layers
    weights = {f"w{i}": rng.normal(0, 0.1, shape) for i, shape in enumerate(shapes)}
    weights["fc"] = rng.normal(0, 2.0, (width, len(LABELS)))
    nodes, value = [], "input"
    for i in range(len(shapes)):
        nodes.append(helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        value = f"r{i}"
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "slower",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(LABELS)])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def crashing(out: Path) -> Bundle:
    """A bundle on which OpenCV 5.0.0 crashes."""
    return make_bundle(out, model=gelu_onnx(len(LABELS)))
