"""Anomaly models as anomalib exports them to ONNX: ``pred_score``, ``anomaly_map``, and the threshold in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeproof_runtime.errors import InputError

__all__ = ["AnomalyGraph", "input_size_of", "is_anomaly_model", "reduced"]

SCORE, MAP, LABEL = "pred_score", "anomaly_map", "pred_label"
_HEAT, _ONE = "heat_map", "score"


@dataclass(frozen=True, slots=True)
class AnomalyGraph:
    """An anomaly model with the outputs of the task ``reconstruct``.

    Attributes:
        fixed_batch: the graph's fixed batch; None if it is open.
        model: the model; its outputs are ``heat_map`` and ``score``.
        threshold: score from which the model's own ``pred_label`` is true.
    """

    model: onnx.ModelProto
    threshold: float
    fixed_batch: int | None


def is_anomaly_model(model: onnx.ModelProto) -> bool:
    """Return whether a model has the outputs of anomalib's export."""
    return {SCORE, MAP} <= {output.name for output in model.graph.output}


def input_size_of(model: onnx.ModelProto) -> tuple[str, tuple[int, int] | None]:
    """Return name, and height and width of the only input; None if they are open.

    Raises:
        InputError: the input is not a batch of RGB images.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    kind = inputs[0].type.tensor_type if inputs else None
    dims = [dim.dim_value for dim in kind.shape.dim] if kind is not None else []
    if (
        len(inputs) != 1
        or kind is None
        or len(dims) != 4
        or dims[1] not in (0, 3)
        or kind.elem_type != TensorProto.FLOAT
    ):
        raise InputError(
            "anomaly model: unsupported input",
            got=", ".join(value.name for value in inputs) or "no input",
            expected="one float32 input (batch, 3, height, width)",
        )
    return inputs[0].name, (dims[2], dims[3]) if dims[2] and dims[3] else None


def reduced(model: onnx.ModelProto, size: tuple[int, int]) -> AnomalyGraph:
    """Return a copy with heat map ``N x h x w`` and score ``N x 1`` as its only outputs.

    Args:
        model: a checked model with the outputs of `is_anomaly_model`.
        size: height and width of the input, which are written into the graph.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    threshold = _threshold(graph)
    name, _ = input_size_of(found)
    value = next(one for one in graph.input if one.name == name)
    batch = value.type.tensor_type.shape.dim[0]
    first = batch.dim_value if batch.dim_value > 0 else batch.dim_param or "batch"
    graph.input.remove(value)
    graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [first, 3, *size]))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "edgeproof_channel"))
    graph.initializer.append(numpy_helper.from_array(np.array([0, 1], np.int64), "edgeproof_one"))
    ranks = {output.name: len(output.type.tensor_type.shape.dim) for output in graph.output}
    nodes = [
        helper.make_node("Squeeze", [MAP, "edgeproof_channel"], [_HEAT])
        if ranks[MAP] == 4
        else helper.make_node("Identity", [MAP], [_HEAT]),
        # Copies the batch and makes one number of the rest, whether the score was (N,) or (N, 1).
        helper.make_node("Reshape", [SCORE, "edgeproof_one"], [_ONE]),
    ]
    if ranks[SCORE] == 1:
        nodes[1] = helper.make_node("Unsqueeze", [SCORE, "edgeproof_channel"], [_ONE])
    graph.node.extend(nodes)
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(_HEAT, TensorProto.FLOAT, [first, None, None]))
    graph.output.append(helper.make_tensor_value_info(_ONE, TensorProto.FLOAT, [first, 1]))
    _prune(graph)
    del graph.value_info[:]
    return AnomalyGraph(found, threshold, batch.dim_value if batch.dim_value > 0 else None)


def _threshold(graph: onnx.GraphProto) -> float:
    """Return the constant that ``pred_label`` compares the score with.

    Raises:
        InputError: the graph has no such comparison.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], one.t) for one in node.attribute if one.name == "value")
    makers = {output: node for node in graph.node for output in node.output}
    for node in _ancestors(makers, LABEL):
        if node.op_type in ("Greater", "GreaterOrEqual"):
            values = [numpy_helper.to_array(constants[one]) for one in node.input if one in constants]
            if len(values) == 1 and values[0].size == 1:
                return float(values[0].reshape(()))
    raise InputError(
        "anomaly model: its threshold was not found",
        got=f"no comparison of {SCORE} with a constant before {LABEL}",
        expected="anomalib's export with its post-processor",
        fix="export it from anomalib with the default post-processor",
    )


def _ancestors(makers: dict[str, onnx.NodeProto], name: str) -> Iterator[onnx.NodeProto]:
    """Yield the nodes before a value, nearest first."""
    waiting, seen = [name], set()
    while waiting:
        node = makers.get(waiting.pop(0))
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            yield node
            waiting += node.input


def _prune(graph: onnx.GraphProto) -> None:
    """Remove nodes and constants that no output needs; subgraphs of control flow keep everything."""
    if any(
        one.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for n in graph.node for one in n.attribute
    ):
        return
    makers = {output: node for node in graph.node for output in node.output}
    needed = [id(node) for output in graph.output for node in _ancestors(makers, output.name)]
    kept = [node for node in graph.node if id(node) in needed]
    used = {name for node in kept for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:]
    graph.node.extend(kept)
    del graph.initializer[:]
    graph.initializer.extend(tensors)
