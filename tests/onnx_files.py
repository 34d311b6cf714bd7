"""Small ONNX classifiers as exporters write them, made with onnx.helper: a convolution, pooling, and a head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FLOAT, FLOAT16, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8
CLASSES, SIZE = 4, 16


class Net:
    """A graph under construction: images to ``N x 8`` features, then what a test appends.

    Args:
        batch: batch dimension of the input: a number, a name, or -1.
        sizes: height and width of the input, numbers or names.
        opset, ir: versions of the file.
        dtype: type of input and weights.
    """

    def __init__(
        self,
        batch: int | str = "batch",
        *,
        sizes: Sequence[int | str] = (SIZE, SIZE),
        opset: int = 17,
        ir: int = 8,
        dtype: int = FLOAT,
        channels: int = 3,
    ) -> None:
        self.batch, self.opset, self.ir, self.dtype = batch, opset, ir, dtype
        self.rng = np.random.default_rng(0)
        self.inputs = [helper.make_tensor_value_info("x", dtype, [batch, channels, *sizes])]
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.metadata: dict[str, str] = {}

    @property
    def numpy(self) -> np.dtype[np.generic]:
        return np.dtype(np.float16 if self.dtype == FLOAT16 else np.float32)

    def weight(self, name: str, *shape: int, scale: float = 0.3) -> str:
        return self.constant(name, self.rng.normal(0, scale, shape).astype(self.numpy))

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, out: str | Sequence[str] | None = None, **attributes: object) -> str:
        outs = [out or f"v{len(self.nodes)}"] if out is None or isinstance(out, str) else list(out)
        self.nodes.append(helper.make_node(kind, list(inputs), outs, name=f"n{len(self.nodes)}", **attributes))
        return outs[0]

    def features(self, x: str = "x", channels: int = 3) -> str:
        """Append a convolution, a ReLU and global pooling: ``N x 8``."""
        conv = self.add(
            "Conv", x, self.weight("w_conv", 8, channels, 3, 3), self.weight("b_conv", 8), pads=[1, 1, 1, 1]
        )
        pooled = self.add("GlobalAveragePool", self.add("Relu", conv), out="pooled")
        return self.add("Flatten", pooled, axis=1, out="features")

    def logits(self, features: str = "features", classes: int = CLASSES, out: str = "logits", tag: str = "") -> str:
        w, b = self.weight(f"w_fc{tag}", 8, classes, scale=3), self.weight(f"b_fc{tag}", classes)
        return self.add("Gemm", features, w, b, out=out)

    def output(self, name: str, *shape: int | str, dtype: int | None = None) -> None:
        dims = [self.batch if isinstance(self.batch, str) or self.batch > 0 else "N", *shape]
        self.outputs.append(helper.make_tensor_value_info(name, dtype or self.dtype, dims))

    def model(self, *domains: str) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "net", self.inputs, self.outputs, self.weights)
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(name, 1) for name in domains)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self.ir)
        helper.set_model_props(model, self.metadata)
        return model

    def save(self, path: Path, *domains: str) -> str:
        path.write_bytes(self.model(*domains).SerializeToString())
        return str(path)


def classifier(batch: int | str = "batch", **options: object) -> Net:
    """Return a network with one output of logits."""
    net = Net(batch, **options)  # type: ignore[arg-type]
    net.features()
    net.logits()
    net.output("logits", CLASSES)
    return net


def anomalib_like(path: Path, *, size: int | str = 32, batch: int | str = "batch", threshold: bool = True) -> Path:
    """Write a model with the outputs of anomalib: brightness is strange; its map has a channel, its score none."""
    constants = {"channels": [1], "places": [1, 2, 3]}
    nodes = [
        helper.make_node("ReduceMean", ["input", "channels"], ["anomaly_map"], keepdims=1),
        helper.make_node("ReduceMax", ["anomaly_map", "places"], ["pred_score"], keepdims=0),
        helper.make_node("Greater", ["anomaly_map", "limit"], ["pred_mask"]),
        helper.make_node("Greater", ["pred_score", "limit" if threshold else "pred_score"], ["pred_label"]),
    ]
    kinds = {"pred_score": [batch], "pred_label": [batch], "anomaly_map": [batch, 1, size, size]}
    kinds |= {"pred_mask": [batch, 1, size, size]}
    outputs = [
        helper.make_tensor_value_info(
            name, TensorProto.BOOL if name in ("pred_label", "pred_mask") else TensorProto.FLOAT, shape
        )
        for name, shape in kinds.items()
    ]
    tensors = [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()]
    tensors.append(numpy_helper.from_array(np.float32(0.6), "limit"))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, size, size])
    graph = helper.make_graph(nodes, "anomalib", [image], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, path)
    return path
