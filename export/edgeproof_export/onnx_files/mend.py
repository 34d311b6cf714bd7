"""Changes that other people's ONNX files need before an engine takes them, each with a note for the report.

Nothing here changes what a model computes for one image; the parity gate compares the result with the file as given.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.checker
import onnx.inliner
import onnx.version_converter
from onnx import TensorProto, helper, numpy_helper, shape_inference

from edgeproof_export.foreign_errors import first_line
from edgeproof_export.heads import fresh_name
from edgeproof_export.numbers import first_names
from edgeproof_export.onnx_files.nodes import Graph, attribute, copied, inferred_values, name_nodes, nodes_of, opset_of
from edgeproof_runtime.errors import InputError

__all__ = [
    "FILLING_OPSET",
    "fill_batch",
    "mend_resizes",
    "mend_versions",
    "nan_weights",
    "open_batch",
    "require_inference_mode",
]

# ONNX Runtime 1.19 reads IR 10; the extras allow no older one. IR 4 is the first whose weights are not inputs.
_NEWEST_IR, _OLDEST_IR = 10, 4
# ONNX Runtime implements operators from here on.
_OLDEST_OPSET, _CONVERTED_OPSET = 7, 13

_BATCH = "batch"
FILLING_OPSET = 10  # the first whose Slice takes computed sizes


_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def nan_weights(model: onnx.ModelProto) -> list[str]:
    """Return the names of weights that hold a NaN; a single NaN may be a constant of the graph."""
    large = (one for one in model.graph.initializer if one.data_type in _FLOATS and any(size > 1 for size in one.dims))
    return [one.name for one in large if bool(np.isnan(numpy_helper.to_array(one)).any())]


def require_inference_mode(model: onnx.ModelProto, spec: str) -> None:
    """Refuse graphs exported in training mode: their outputs depend on the batch, or on chance.

    Raises:
        InputError: names the nodes.
    """
    graph = Graph(model.graph)
    version = opset_of(model)
    found = []
    for node in nodes_of(model.graph):
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "BatchNormalization":
            flagged = attribute(node, "training_mode", 0) if version >= 14 else len([n for n in node.output if n]) > 1
            # Before opset 7 an attribute said so.
            training = bool(flagged) if version >= 7 else not attribute(node, "is_test", 0)
        elif node.op_type == "Dropout" and version >= 12 and len(node.input) > 2 and node.input[2]:
            value = graph.constant(node.input[2])
            training = value is None or bool(value.any())
        elif node.op_type == "Dropout" and version < 7:
            training = not attribute(node, "is_test", 0)
        else:
            continue
        if training:
            found.append(f"{node.op_type} {node.name or node.output[0]}")
    if found:
        raise InputError(
            f"{spec}: exported in training mode",
            got=first_names(found),
            expected="BatchNormalization and Dropout in inference mode",
            fix="call model.eval() and export again, with training=torch.onnx.TrainingMode.EVAL",
        )


def mend_versions(model: onnx.ModelProto, spec: str) -> tuple[onnx.ModelProto, list[str]]:
    """Return the model in an IR version and opset that ONNX Runtime reads, with weights that are not inputs.

    Raises:
        InputError: the opset is older than any that ONNX Runtime implements and cannot be converted, or newer than
            the installed onnx; or its functions call themselves.
    """
    notes = []
    if model.functions:  # of PyTorch's exporter; engines besides ONNX Runtime do not take them
        try:
            model = onnx.inliner.inline_local_functions(model)
        except (onnx.checker.ValidationError, RuntimeError) as error:
            raise InputError(
                f"{spec}: its functions cannot be inlined",
                got=first_line(error),
                fix="export the model again without functions that call themselves",
            ) from error
    model = _with_names(model)
    version = opset_of(model)
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise InputError(
            f"{spec}: opset {version} is newer than the installed onnx",
            got=f"onnx {onnx.__version__}, which knows opset {newest}",
            fix=f"pip install --upgrade onnx onnxruntime, or export with opset {newest} or older",
        )
    if version < _OLDEST_OPSET:
        try:
            model = onnx.version_converter.convert_version(_with_shapes(_with_ir(model, _OLDEST_IR)), _CONVERTED_OPSET)
        except Exception as error:  # the converter raises errors without a common base
            raise InputError(
                f"{spec}: opset {version} is too old, and its conversion failed",
                got=first_line(error),
                expected=f"opset {_OLDEST_OPSET} or newer",
                fix=f"export the model again with opset {_CONVERTED_OPSET} or newer",
            ) from error
        notes.append(f"{spec}: converted from opset {version} to {_CONVERTED_OPSET}, which the engines implement.")
    given = model.ir_version
    model = _with_ir(model, min(max(given, _OLDEST_IR), _newest_ir(model)))
    if model.ir_version != given and given > _NEWEST_IR:
        notes.append(f"{spec}: IR version {given} lowered to {model.ir_version}, which older runtimes read as well.")
    return model, notes


def _with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with a name of its graph, which ONNX requires, and no node name twice, as ONNX Runtime does."""
    names = [node.name for node in model.graph.node if node.name]
    if len(set(names)) < len(names):
        model = name_nodes(model)
    if not model.graph.name:
        model = copied(model)
        model.graph.name = "graph"
    return model


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the shapes of its values, which the converter reads.

    The oldest operators have no shape inference; their later versions compute the same shapes. The converter takes
    numbers only: an open batch becomes 1, and is opened again like any fixed one.
    """
    shaped = copied(model)
    for value in (*shaped.graph.input, *shaped.graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) and dims[0].dim_value <= 0:
            dims[0].dim_value = 1
    later = copied(shaped)
    for item in later.opset_import:
        item.version = _OLDEST_OPSET if item.domain in ("", "ai.onnx") else item.version
    shaped.graph.value_info.extend(inferred_values(later).values())
    return shaped


def _newest_ir(model: onnx.ModelProto) -> int:
    """Return the newest IR version that the model may keep: above 10 only with types that came later."""
    late = {
        getattr(TensorProto, name)
        for name in ("FLOAT4E2M1", "FLOAT8E8M0", "UINT2", "INT2")
        if hasattr(TensorProto, name)
    }
    if any(tensor.data_type in late for tensor in model.graph.initializer):
        return int(model.ir_version)
    return _NEWEST_IR


def _with_ir(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Return the model in this IR version, with weights that are not listed as inputs, as IR 3 required."""
    model = copied(model)
    model.ir_version = version
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return model


def mend_resizes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with linear resizes of one pixel as nearest ones, which give the same values.

    OpenCV 5.0.0 reads past the end of its input where a linear resize takes a height of 1.
    """
    resizes = [node for node in model.graph.node if node.op_type in ("Resize", "Upsample") and _is_linear(node)]
    if not resizes:
        return model
    values = inferred_values(model)
    single = {node.output[0] for node in resizes if _sides(values.get(node.input[0])) == [1, 1]}
    if not single:
        return model
    mended = copied(model)
    for node in mended.graph.node:
        if node.output[0] in single:
            for item in node.attribute:
                if item.name == "mode":
                    item.s = b"nearest"
    return mended


def _is_linear(node: onnx.NodeProto) -> bool:
    return (
        attribute(node, "mode") == b"linear"
        and attribute(node, "coordinate_transformation_mode") != b"tf_crop_and_resize"
    )


def _sides(value: onnx.ValueInfoProto | None) -> list[int]:
    """Return height and width of a value, as far as they are known."""
    return [] if value is None else [int(dim.dim_value) for dim in value.type.tensor_type.shape.dim[2:]]


def open_batch(model: onnx.ModelProto, fixed: int) -> onnx.ModelProto:
    """Return the model with an open batch dimension, as far as its graph tells; a comparison must prove the result.

    Shapes that the exporter wrote as constants are made relative to the batch.

    Args:
        model: a model with one input.
        fixed: number of images that the graph takes.
    """
    opened = copied(model)
    graph = opened.graph
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) and (value in graph.input or dims[0].dim_value in (0, fixed)):
            dims[0].ClearField("dim_value")
            dims[0].dim_param = _BATCH
    del graph.value_info[:]
    known = _leading_sizes(model)
    lookup = Graph(graph)
    moving = lookup.depending_on(graph.input[0].name)
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[0] not in moving:
            continue
        target = lookup.constant(node.input[1])
        if target is None or target.ndim != 1 or not len(target):
            continue
        sizes = [int(n) for n in target]
        if sizes[0] <= 0 or sizes[0] % fixed:
            continue
        if -1 not in sizes:
            sizes[0] = -1
        elif known.get(node.input[0]) == sizes[0] and not attribute(node, "allowzero", 0):
            sizes[0] = 0  # the same as the input's
        else:
            continue
        name = f"{node.output[0]}_{_BATCH}_shape"
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(sizes)], sizes))
        node.input[1] = name
    return opened


def fill_batch(model: onnx.ModelProto, fixed: int, output: str) -> onnx.ModelProto:
    """Return the model for 1 to ``fixed`` images: fewer are repeated in the graph until there are ``fixed``.

    In the graph, and not where it runs, every engine and program fills up alike.

    Args:
        model: a model of opset 10 or newer with one input, and one output with a row per image.
        fixed: number of images that the graph takes.
        output: name of its output.
    """
    filled = copied(model)
    graph = filled.graph
    image, scores = graph.input[0], graph.output[0]
    repeated, whole, inner, first, last, count, shape = (
        fresh_name(graph, f"{output}_{part}")
        for part in ("repeated", "whole", "filled", "first", "last", "count", "shape")
    )
    renamed = {image.name: whole, output: inner}
    for node in nodes_of(graph):
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for node in graph.node:
        node.output[:] = [inner if name == output else name for name in node.output]
    for name, number in ((first, 0), (last, fixed)):
        graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [number]))
    nodes = [
        helper.make_node("Concat", [image.name] * fixed, [repeated], name=repeated, axis=0),
        helper.make_node("Slice", [repeated, first, last, first], [whole], name=whole),
        *graph.node,
        helper.make_node("Shape", [image.name], [shape], name=shape),
        helper.make_node("Gather", [shape, first], [count], name=count, axis=0),
        helper.make_node("Slice", [inner, first, count, first], [output], name=inner),
    ]
    copies = onnx.GraphProto(node=nodes).node  # clearing the field frees its own
    del graph.node[:]
    graph.node.extend(copies)
    for value in (image, scores):
        dims = value.type.tensor_type.shape.dim
        if len(dims):
            dims[0].ClearField("dim_value")
            dims[0].dim_param = _BATCH
    del graph.value_info[:]
    return filled


def _leading_sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Return the first dimension of each value, as far as it is known."""
    try:
        graph = shape_inference.infer_shapes(model).graph
    except Exception:  # shape inference raises errors without a common base; without sizes less is opened
        graph = model.graph
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) and dims[0].dim_value:
            found[value.name] = int(dims[0].dim_value)
    return found
