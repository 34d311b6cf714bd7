"""Convert graphs to another precision; `optimize` decides which layers to convert."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError

__all__ = ["to_fp16", "to_int8"]


def to_fp16(source: Path, out: Path, keep: Collection[str] = ()) -> None:
    """Write a model with float16 weights and arithmetic; its inputs and outputs stay float32.

    Args:
        source: fp32 ONNX model file.
        out: file to write.
        keep: names of nodes that stay float32; values between two of them are not rounded.

    Raises:
        InputError: the model has no float32 weights, or the result is invalid.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(source)
    if not any(tensor.data_type == onnx.TensorProto.FLOAT for tensor in model.graph.initializer):
        raise InputError(f"{source}: no float32 weights to convert")
    # Remove types inferred for float32, which contradict the converted graph.
    del model.graph.value_info[:]
    converted = convert_float_to_float16(model, keep_io_types=True, node_block_list=list(keep))
    _sort(converted.graph)
    _join_casts(converted.graph)
    _check(converted, out)


def to_int8(source: Path, out: Path, batches: Iterable[NDArray[np.float32]]) -> None:
    """Write a model with symmetric int8 Q/DQ pairs around its activations and weights.

    Weights are quantised per output channel, activations per tensor by minimum and maximum. Every zero point is 0, as
    TensorRT requires.

    Args:
        source: fp32 ONNX file with one input.
        out: file to write.
        batches: calibration inputs of the model's input shape.

    Raises:
        InputError: no batches, or the result is invalid.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    model = onnx.load(source)
    name = model.graph.input[0].name
    values: Iterator[NDArray[np.float32]] = iter(batches)
    first = next(values, None)
    if first is None:
        raise InputError("int8: requires calibration images")

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no type hints
        def __init__(self) -> None:
            self.pending: NDArray[np.float32] | None = first

        def get_next(self) -> dict[str, Any] | None:
            batch, self.pending = self.pending, next(values, None)
            return None if batch is None else {name: batch}

    quantize_static(
        str(source),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,  # TensorRT requires biases in the precision of the sums
            "AddQDQPairToWeight": True,
            "DedicatedQDQPair": True,
        },
    )
    _check(onnx.load(out), out)


def _check(model: onnx.ModelProto, out: Path) -> None:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        out.unlink(missing_ok=True)
        raise InputError(f"{out}: the converted model is invalid", got=error) from error
    onnx.save(model, out)


def _join_casts(graph: onnx.GraphProto) -> None:
    """Connect float32 nodes directly: casts to float16 and back would round and overflow."""
    producer = {name: node for node in graph.node for name in node.output}

    def is_cast(node: onnx.NodeProto | None, to: int) -> bool:
        return node is not None and node.op_type == "Cast" and onnx.helper.get_node_attr_value(node, "to") == to

    direct: dict[str, str] = {}
    for node in graph.node:
        if is_cast(node, onnx.TensorProto.FLOAT) and is_cast(producer.get(node.input[0]), onnx.TensorProto.FLOAT16):
            direct[node.output[0]] = producer[node.input[0]].input[0]
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        node.input[:] = [direct.get(name, name) for name in node.input]
    used = outputs.union(*(node.input for node in graph.node))
    kept = [node for node in graph.node if used.intersection(node.output)]
    used = outputs.union(*(node.input for node in kept))
    kept = [node for node in kept if used.intersection(node.output)]
    del graph.node[:]
    graph.node.extend(kept)


def _sort(graph: onnx.GraphProto) -> None:
    """Sort nodes topologically; the converter appends its casts at the end."""
    known = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input} | {""}
    waiting = list(graph.node)
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            raise InputError("graph: has a cycle", got=waiting[0].name)
        ordered += ready
        known.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    del graph.node[:]
    graph.node.extend(ordered)
