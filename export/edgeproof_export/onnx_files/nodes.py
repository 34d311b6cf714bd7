"""Reading ONNX graphs: producers, constants, what depends on what, and shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference

__all__ = ["Graph", "attribute", "copied", "inferred_values", "name_nodes", "nodes_of", "opset_of", "prune"]


class Graph:
    """Look-ups in the main graph of a model; build it again after a change.

    Attributes:
        producers: node that computes each value.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._proto = graph
        self.producers: dict[str, onnx.NodeProto] = {name: node for node in graph.node for name in node.output if name}
        self._weights = {tensor.name: tensor for tensor in graph.initializer}

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """Return the value of an initialiser or Constant node; None if it is computed."""
        if name in self._weights:
            return numpy_helper.to_array(self._weights[name])
        node = self.producers.get(name)
        if node is None or node.op_type != "Constant":
            return None
        value = onnx.helper.get_node_attr_value(node, node.attribute[0].name)
        return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)

    def is_constant(self, name: str) -> bool:
        """Return whether a value is an initialiser or a Constant node's."""
        return name in self._weights or (name in self.producers and self.producers[name].op_type == "Constant")

    def source(self, name: str, through: Iterable[str]) -> str:
        """Follow a value back through nodes of these types, by their first input."""
        kinds = set(through)
        node = self.producers.get(name)
        while node is not None and node.op_type in kinds and node.input:
            name = node.input[0]
            node = self.producers.get(name)
        return name

    def computed_from(self, name: str, other: str) -> bool:
        """Return whether a value is computed from another."""
        waiting, seen = [name], {name}
        while waiting:
            node = self.producers.get(waiting.pop())
            for one in () if node is None else node.input:
                if one == other:
                    return True
                if one not in seen:
                    seen.add(one)
                    waiting.append(one)
        return False

    def depending_on(self, name: str) -> set[str]:
        """Return the values computed from a value, itself included."""
        found = {name}
        for node in self._proto.node:
            if found.intersection(node.input):
                found.update(node.output)
        return found


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for item in node.attribute:
            for inner in (item.g, *item.graphs):
                yield from nodes_of(inner)


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Return the value of a node's attribute."""
    found = next((item for item in node.attribute if item.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def name_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with unique node names, by which a quantised graph is compared with its source."""
    copy = copied(model)
    seen = Counter(node.name for node in copy.graph.node)
    for index, node in enumerate(copy.graph.node):
        if not node.name or seen[node.name] > 1:
            node.name = f"{node.op_type}_{index}"
            while seen[node.name]:
                node.name += "_"
            seen[node.name] += 1
    return copy


def inferred_values(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Return the inner values whose type and shape are known, by name."""
    try:
        graph = shape_inference.infer_shapes(model).graph
    except Exception:  # shape inference raises errors without a common base
        return {}
    return {value.name: value for value in graph.value_info if value.type.tensor_type.HasField("shape")}


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators; 1 if the model declares none."""
    return max((int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx")), default=1)


def prune(model: onnx.ModelProto) -> None:
    """Remove nodes and weights that no output needs, in place."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.isdisjoint(node.output):
            continue
        kept.append(node)
        needed.update(node.input)
        for item in node.attribute:
            for inner in (item.g, *item.graphs):
                needed.update(name for one in nodes_of(inner) for name in one.input)
                needed.update(value.name for value in inner.output)
    if len(kept) < len(graph.node):
        nodes = onnx.GraphProto(node=kept[::-1]).node  # copies: clearing the field frees its own
        del graph.node[:]
        graph.node.extend(nodes)
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in needed:
            del graph.initializer[index]
