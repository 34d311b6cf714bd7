"""Surgery on quantised graphs: which layers are quantised, and giving some of them their precision back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import onnx

from edgeproof_runtime.errors import InputError

__all__ = ["QUANTIZERS", "Group", "float_outputs", "name_nodes", "quantized_groups", "restore"]

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Group:
    """A layer with weights and the quantised nodes on the way to it: what goes back to higher precision together.

    What costs accuracy is mostly the rounding of what a layer reads, and that includes what pooling and additions
    between it and the layer before it read.

    Attributes:
        name: of the layer.
        operator: its ONNX operator.
        nodes: names of all its quantised nodes.
    """

    name: str
    operator: str
    nodes: tuple[str, ...]


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name of its own: a quantised graph is compared with its source by them."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    seen = Counter(node.name for node in copy.graph.node)
    for index, node in enumerate(copy.graph.node):
        if not node.name or seen[node.name] > 1:
            node.name = f"{node.op_type}_{index}"
            while seen[node.name]:
                node.name += "_"
            seen[node.name] += 1
    return copy


def quantized_groups(model: onnx.ModelProto) -> tuple[Group, ...]:
    """The quantised layers of a graph with Q/DQ pairs, in the order of the graph."""
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
    """A copy of a quantised graph in which some nodes read what they read in the source: no quantiser, its own weights.

    Args:
        quantized: graph with Q/DQ pairs, whose nodes and activations are named as in ``source``.
        source: the fp32 graph that it was made from.
        names: of the nodes.

    Raises:
        InputError: a node is not in the source, or reads something that the quantised graph no longer has.
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
            raise InputError("a quantised layer has no counterpart in the fp32 model", got=node.name)
        inputs = []
        for name in originals[node.name].input:
            if name in weights:
                inputs.append(_hold(graph, held, weights[name]))
            elif name in known:
                inputs.append(name)
            else:
                raise InputError("the quantised graph lacks what a layer reads", got=f"{name}, read by {node.name}")
        node.input[:] = inputs
    _prune(graph)
    return model


def float_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Take the quantisers off the graph's outputs: they only round what nobody computes with any more."""
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
    """Name under which the graph holds this very tensor: bias correction changes biases under their old names."""
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
    """Take out what nobody reads any more."""
    wanted = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    kept.reverse()
    used = [tensor for tensor in graph.initializer if tensor.name in wanted]
    # A generator over the field itself would empty it first.
    del graph.node[:]
    graph.node.extend(kept)
    del graph.initializer[:]
    graph.initializer.extend(used)
