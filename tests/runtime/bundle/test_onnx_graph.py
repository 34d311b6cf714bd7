"""The nodes of an ONNX file, read without onnx, and further outputs for it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from bundles import tiny_onnx
from edgeproof_runtime.bundle.onnx_graph import MODULE_SCOPES, OnnxNode, read_graph, with_outputs
from edgeproof_runtime.errors import InputError


def test_nodes_and_names_are_read() -> None:
    graph = read_graph(tiny_onnx().SerializeToString())
    assert [node.operator for node in graph.nodes] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert graph.weights == {"conv", "fc", "bias"}
    assert (graph.inputs, graph.outputs) == (("input",), ("logits",))
    assert graph.producers["active"].operator == "Relu"
    assert [node.operator for node in graph.readers["active"]] == ["GlobalAveragePool"]
    assert [node.operator for node in graph.nodes if graph.has_weights(node)] == ["Conv", "Gemm"]


@pytest.mark.parametrize(
    ("node", "module"),
    [
        (OnnxNode("n", "Conv", ("x", "a.b.weight"), ("y",), ("a", "a.bn")), "a.b"),
        (OnnxNode("n", "Relu", ("x",), ("y",), ("a", "a.0")), "a.0"),
        (OnnxNode("/layer1/layer1.0/downsample/downsample.0/Conv", "Conv", ("x",), ("y",)), "layer1.0.downsample.0"),
        (OnnxNode("/a/a.0/a.0.conv/Conv", "Conv", ("x",), ("y",)), "a.0.conv"),
        (OnnxNode("node_Conv_3", "Conv", ("x",), ("/blocks.1.conv/Conv_output_0",)), "blocks.1.conv"),
        (OnnxNode("/Mul", "Mul", ("x",), ("/Mul_output_0",)), ""),
        (OnnxNode("", "Relu", ("x",), ("y",)), ""),
    ],
)
def test_a_node_belongs_to_a_module(node: OnnxNode, module: str) -> None:
    graph = read_graph(tiny_onnx().SerializeToString())
    known = type(graph)((node,), frozenset(["a.b.weight"]), (), ())
    assert known.module(node) == module


@pytest.mark.parametrize("text", ["", "[", "{'a': 1}", "[1]", "__import__('os')", "(" * 5000])
def test_a_note_that_is_no_list_of_names_is_left_out(text: str) -> None:
    model = tiny_onnx()
    model.graph.node[0].metadata_props.add(key=MODULE_SCOPES, value=text)
    assert read_graph(model.SerializeToString()).nodes[0].scopes == ()


def test_the_exporters_note_is_read() -> None:
    model = tiny_onnx()
    model.graph.node[1].metadata_props.add(key=MODULE_SCOPES, value="['', 'blocks', 'blocks.0', 'relu']")
    graph = read_graph(model.SerializeToString())
    assert graph.module(graph.nodes[1]) == "blocks.0"


@pytest.mark.parametrize("content", [b"\xff", b"\x3a\xff\xff\xff\xff\x7f", b"\x3a\x02\x0a\x7f", b"\xff" * 30])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="not an ONNX model"):
        read_graph(content)


@pytest.mark.parametrize("typed", [True, False])
def test_values_become_outputs_by_appending(typed: bool) -> None:
    names = ("active", "pooled")
    shapes = ((8, 16, 16), (8, -1, 1))
    values = [(n, "float32" if typed else "", s if typed else ()) for n, s in zip(names, shapes, strict=True)]
    model = tiny_onnx().SerializeToString() + with_outputs(values)
    read = onnx.load_from_string(model)
    assert [value.name for value in read.graph.output] == ["logits", *names]
    if typed:
        onnx.checker.check_model(read)
        dims = read.graph.output[2].type.tensor_type.shape.dim
        assert [d.dim_value for d in dims] == [0, 8, 0, 1]
    batch = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    _, active, pooled = session.run(None, {"input": batch})
    np.testing.assert_allclose(active.mean((2, 3), keepdims=True), pooled, rtol=1e-5)
