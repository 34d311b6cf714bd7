"""Edit quantised graphs: find quantised layers, and restore some of them to fp32."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx

from edgeproof_runtime.errors import InputError

__all__ = ["QUANTIZERS", "Group", "float_outputs", "quantized_groups", "restore"]

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Group:
    """A layer with weights and the quantised nodes before it, which are restored together.

    Most of the accuracy drop comes from rounding a layer's inputs, including those of pooling and additions between it
    and the previous layer.

    Attributes:
        name: name of the layer.
        operator: its ONNX operator.
        nodes: names of its quantised nodes.
    """

    name: str
    operator: str
    nodes: tuple[str, ...]


def quantized_groups(model: onnx.ModelProto) -> tuple[Group, ...]:
    """Return the quantised layers of a graph with Q/DQ pairs, in graph order."""
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    found: list[Group] = []
    waiting: list[str] = []
    for node in model.graph.node:
        if node.op_type in QUANTIZERS or dequantized.isdisjoint(node.input):
            continue
        waiting.append(node.name)
        if node.op_type in _PRODUCTS:
            found.append(Group(node.name, node.op_type, tuple(waiting)))
            waiting = []
    if waiting:
        last = next(node for node in model.graph.node if node.name == waiting[-1])
        found.append(Group(last.name, last.op_type, tuple(waiting)))
    return tuple(found)


def restore(quantized: onnx.ModelProto, source: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """Return a copy of a quantised graph with some nodes restored: no quantisers, weights of the source.

    Args:
        quantized: graph with Q/DQ pairs, with node and activation names of ``source``.
        source: the fp32 graph.
        names: names of the nodes.

    Raises:
        InputError: a node is not in the source, or an input is missing in the quantised graph.
    """
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    graph = model.graph
    originals = {node.name: node for node in source.graph.node}
    weights = {tensor.name: tensor for tensor in source.graph.initializer}
    held = {tensor.name: tensor for tensor in graph.initializer}
    known = {value.name for value in graph.input} | {name for node in graph.node for name in node.output} | {""}
    for node in graph.node:
        if node.name not in names:
            continue
        if node.name not in originals:
            raise InputError("quantised layer: not found in the fp32 model", got=node.name)
        inputs = []
        for name in originals[node.name].input:
            if name in weights:
                inputs.append(_hold(graph, held, weights[name]))
            elif name in known:
                inputs.append(name)
            else:
                raise InputError("quantised graph: an input of a layer is missing", got=f"{name}, read by {node.name}")
        node.input[:] = inputs
    _prune(graph)
    return model


def float_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the quantisers from the graph's outputs, where they only round the result."""
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    gone: list[onnx.NodeProto] = []
    for value in graph.output:
        last = producer.get(value.name)
        before = producer.get(last.input[0]) if last is not None and last.op_type == "DequantizeLinear" else None
        if last is None or before is None or before.op_type != "QuantizeLinear":
            continue
        name = before.input[0]
        for node in graph.node:
            node.input[:] = [value.name if read == name else read for read in node.input]
            node.output[:] = [value.name if written == name else written for written in node.output]
        gone += [last, before]
    for node in gone:
        graph.node.remove(node)
    _prune(graph)
    return model


def _hold(graph: onnx.GraphProto, held: dict[str, onnx.TensorProto], tensor: onnx.TensorProto) -> str:
    """Return the graph's name of this tensor: bias correction changes biases under their old names."""
    name = tensor.name
    while name in held:
        if _content(held[name]) == _content(tensor):
            return name
        name += ".fp32"
    copy = graph.initializer.add()
    copy.CopyFrom(tensor)
    copy.name = name
    held[name] = copy
    return name


def _content(tensor: onnx.TensorProto) -> tuple[int, tuple[int, ...], bytes]:
    return tensor.data_type, tuple(tensor.dims), onnx.numpy_helper.to_array(tensor).tobytes()


def _prune(graph: onnx.GraphProto) -> None:
    """Remove unused nodes and tensors."""
    wanted = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    kept.reverse()
    used = [tensor for tensor in graph.initializer if tensor.name in wanted]
    # Copy first: clearing the field would empty a generator over it.
    del graph.node[:]
    graph.node.extend(kept)
    del graph.initializer[:]
    graph.initializer.extend(used)
