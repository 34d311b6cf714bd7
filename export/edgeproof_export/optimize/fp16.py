"""fp16 with sensitive layers kept in fp32, found by comparing activations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeproof_export.optimize.inputs import Advance, Inputs

__all__ = ["Kept", "find_sensitive", "rounded"]

_LARGEST = float(np.finfo(np.float16).max)
_PICTURES = 32
_BATCH = 4
_ROUNDS = 12
# Rounding to 11 bits has a mean error of 2^-12; a layer that adds much more to its inputs' error loses precision.
_ERROR, _JUMP = 1e-2, 8.0


@dataclass(frozen=True, slots=True)
class Kept:
    """Layer that stays fp32, and the reason.

    Attributes:
        layer: name of the node.
        operator: its ONNX operator.
        reason: reason, as a clause.
        largest: largest absolute value of its inputs and outputs.
        error: relative error of its fp16 output, if that is the reason.
    """

    layer: str
    operator: str
    reason: str
    largest: float
    error: float | None = None


def rounded(model: onnx.ModelProto, keep: Collection[str]) -> onnx.ModelProto:
    """Return the graph with weights and activations of all nodes but the kept ones rounded to fp16.

    It simulates fp16 arithmetic with sums in fp32, as in tensor cores, on any machine. Engines without fp16 arithmetic
    compute an fp16 graph in fp32 and show no overflow.

    Args:
        model: fp32, every node named.
        keep: names of nodes that stay fp32.
    """
    from onnxruntime.transformers.float16 import convert_np_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    weights = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    activations = float_activations(model)
    exact = {name for node in graph.node if node.name in keep for name in node.output}
    exact |= {value.name for value in graph.input}
    nodes: list[onnx.NodeProto] = []
    halves: dict[str, str] = {}

    def to_half(name: str, result: str) -> None:
        nodes.append(helper.make_node("Cast", [name], [f"{result}.fp16"], f"{result}.down", to=TensorProto.FLOAT16))
        nodes.append(helper.make_node("Cast", [f"{result}.fp16"], [result], f"{result}.up", to=TensorProto.FLOAT))

    for node in graph.node:
        if node.name in keep:
            nodes.append(node)
            continue
        for index, name in enumerate(node.input):
            if name in weights and name not in halves:
                halves[name] = f"{name}.half"
                wide = numpy_helper.to_array(weights[name])
                # The converter indexes by a mask, which NumPy does not support for scalars.
                value = convert_np_to_float16(np.atleast_1d(wide)).astype(np.float32).reshape(wide.shape)
                graph.initializer.append(numpy_helper.from_array(value, halves[name]))
            elif name in exact and name in activations and name not in halves:
                halves[name] = f"{name}.half"
                to_half(name, halves[name])
            node.input[index] = halves.get(name, name) if name in weights or name in exact else name
        outputs = [name for name in node.output if name in activations]
        for index, name in enumerate(node.output):
            if name in outputs:
                node.output[index] = f"{name}.exact"
        nodes.append(node)
        for name in outputs:
            to_half(f"{name}.exact", name)
    kept_nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept_nodes)
    used = {name for node in kept_nodes for name in node.input}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)
    del graph.value_info[:]
    return copy


def float_activations(model: onnx.ModelProto) -> set[str]:
    """Return the names of float32 inputs and of the float32 values that nodes compute."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    return {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}


def find_sensitive(model: onnx.ModelProto, calibration: Inputs, advance: Advance) -> tuple[Kept, ...]:
    """Find nodes that overflow or lose precision in fp16, by running both graphs on calibration images.

    Repeats until no further node is found, because a kept node changes the inputs of its successors.

    Args:
        model: fp32, every node named.
        calibration: calibration images, of which a few are used.
        advance: called with (done, total) of the rounds.
    """
    pictures = calibration.first(_PICTURES)
    activations = float_activations(model)
    kept: dict[str, Kept] = {}
    for done in range(_ROUNDS):
        advance(done, _ROUNDS)
        found = list(_newly(model, rounded(model, kept), pictures, activations, kept))
        if not found:
            break
        kept |= {one.layer: one for one in found}
    advance(_ROUNDS, _ROUNDS)
    return tuple(kept[node.name] for node in model.graph.node if node.name in kept)


def _newly(
    model: onnx.ModelProto, half: onnx.ModelProto, pictures: Inputs, activations: set[str], kept: Collection[str]
) -> Iterator[Kept]:
    largest, error = _compare(model, half, pictures, activations)
    weights = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    for tensor in weights.values():
        values = numpy_helper.to_array(tensor)
        largest[tensor.name] = float(np.abs(values).max()) if values.size else 0.0
    for node in model.graph.node:
        if node.name in kept or not any(name in activations for name in node.output):
            continue
        read = [name for name in node.input if name in activations]
        most = max(largest.get(name, 0.0) for name in (*node.input, *node.output))
        own = max(error.get(name, 0.0) for name in node.output)
        before = max((error.get(name, 0.0) for name in read), default=0.0)
        if most > _LARGEST:
            yield Kept(node.name, node.op_type, f"overflows: values up to {most:.3g}, largest fp16 value 65504", most)
        elif own > _ERROR and own > _JUMP * max(before, 2.0**-12):
            yield Kept(node.name, node.op_type, f"loses precision: relative error of its output {own:.1%}", most, own)


def _compare(
    model: onnx.ModelProto, half: onnx.ModelProto, pictures: Inputs, activations: set[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return each activation's largest absolute value in fp32, and its relative error (Euclidean) when rounded."""
    names = [name for node in model.graph.node for name in node.output if name in activations]
    names += [value.name for value in model.graph.input if value.name in activations]
    one, two = _observed(model, names), _observed(half, names)
    largest: dict[str, float] = defaultdict(float)
    squares: dict[str, float] = defaultdict(float)
    off: dict[str, float] = defaultdict(float)
    for batch in pictures.batches(_BATCH):
        for name, right, other in zip(names, one(batch), two(batch), strict=True):
            wide = right.astype(np.float64)
            largest[name] = max(largest[name], float(np.abs(wide).max(initial=0.0)))
            squares[name] += float((wide**2).sum())
            with np.errstate(invalid="ignore"):
                off[name] += float(((other - wide) ** 2).sum())
    ratio = {name: np.sqrt(off[name] / squares[name]) if squares[name] else 0.0 for name in names}
    return largest, {name: float(np.nan_to_num(value, nan=np.inf)) for name, value in ratio.items()}


def _observed(model: onnx.ModelProto, names: list[str]) -> Callable[[NDArray[np.generic]], list[NDArray[np.float32]]]:
    """Return a function that computes these values for a batch, without fusion so that every value exists."""
    import onnxruntime as ort

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    produced = {name for node in copy.graph.node for name in node.output}
    copy.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n in produced)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    source = model.graph.input[0].name

    def run(batch: NDArray[np.generic]) -> list[NDArray[np.float32]]:
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {source: batch}), strict=True))
        return [found.get(name, batch) for name in names]

    return run
