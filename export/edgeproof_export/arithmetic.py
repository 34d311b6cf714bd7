"""The precision that a graph computes in, whatever its inputs and outputs are."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from edgeproof_runtime.bundle.manifest import Precision

__all__ = ["arithmetic_of"]

_HALF = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


def arithmetic_of(model: onnx.ModelProto) -> Precision:
    """Return ``fp16`` for a graph that computes in half precision anywhere, else ``fp32``.

    float16 weights that are cast to float32 before their first use only save space: what is computed is fp32.
    """
    return "fp16" if any(_computes_in_half(graph) for graph in _graphs(model.graph)) else "fp32"


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and the graphs within its nodes, such as the branches of an If."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    yield from _graphs(inner)


def _computes_in_half(graph: onnx.GraphProto) -> bool:
    stored = {tensor.name for tensor in graph.initializer if tensor.data_type in _HALF}
    stored |= {name for node in graph.node if _is_half_constant(node) for name in node.output}
    given = {value.name for value in graph.input if value.type.tensor_type.elem_type in _HALF}
    half = stored | given
    kept = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast":
            rounds = onnx.helper.get_node_attr_value(node, "to") in _HALF
            if rounds and not kept.issuperset(node.input):
                return True
        elif half.intersection(node.input):
            return True
    return False


def _is_half_constant(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and any(
        attribute.name == "value" and attribute.t.data_type in _HALF for attribute in node.attribute
    )
