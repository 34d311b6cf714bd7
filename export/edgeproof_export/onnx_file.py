"""ONNX files of bundles: one file, one input, a dynamic batch, and descriptive metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, checker, external_data_helper

from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import ContractError, InputError

__all__ = ["METADATA_SCHEMA", "Signature", "embedded_contract", "finish_model", "load_model", "read_signature"]

METADATA_SCHEMA = "edgeproof.onnx/1"

_DTYPES = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16", TensorProto.UINT8: "uint8"}
_LARGEST_BYTES = 2**31 - 1  # protobuf's limit for one message


@dataclass(frozen=True, slots=True)
class Signature:
    """Input and output of a model with one of each.

    Attributes:
        input_name, output_name: names of the values.
        input_shape: shape without the batch dimension.
        input_dtype: NumPy's name of the dtype.
        fixed_batch: fixed batch of the graph; None if dynamic.
    """

    input_name: str
    input_shape: tuple[int, ...]
    input_dtype: str
    output_name: str
    fixed_batch: int | None


def load_model(path: Path) -> onnx.ModelProto:
    """Load a model with its external weights, if any, so that it can be saved as one file.

    Raises:
        InputError: the file is damaged, not an ONNX model, or its external weights are missing.
    """
    try:
        model = onnx.load(path)
        external_data_helper.convert_model_from_external_data(model)
        checker.check_model(model)
    except Exception as error:  # onnx raises protobuf's and its own errors, without a common base
        lines = str(error).strip().splitlines()
        raise InputError(f"{path}: not a valid ONNX model", got=lines[0] if lines else type(error).__name__) from error
    return model


def embedded_contract(path: Path) -> InputContract | None:
    """Return the contract in a model's metadata, or None.

    Raises:
        InputError: the file is not an ONNX model, or its contract is damaged.
    """
    metadata = {item.key: item.value for item in load_model(path).metadata_props}
    text = metadata.get("edgeproof.contract")
    if text is None:
        return None
    try:
        return InputContract.from_json(json.loads(text))
    except (ValueError, ContractError) as error:
        raise InputError(f"{path}: the contract in its metadata is damaged", got=error) from error


def read_signature(model: onnx.ModelProto, name: str) -> Signature:
    """Read the model's input and output.

    Args:
        model: a checked model.
        name: name in error messages.

    Raises:
        InputError: several inputs or outputs, an input that is not an image, or dynamic dimensions besides the batch.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise InputError(
            f"{name}: not a classifier",
            got=f"{len(inputs)} inputs ({', '.join(v.name for v in inputs)}), "
            f"{len(model.graph.output)} outputs ({', '.join(v.name for v in model.graph.output)})",
            expected="one input, one output",
        )
    value = inputs[0]
    shape = list(value.type.tensor_type.shape.dim)
    dims = tuple(dim.dim_value for dim in shape[1:])
    if len(dims) != 3 or not all(dims):
        shown = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in shape)
        raise InputError(
            f"{name}: input {value.name} is not a batch of images of one size",
            got=f"({shown})",
            expected="4 dimensions, all but the batch fixed",
            fix="export it with a dynamic batch as the only dynamic dimension",
        )
    dtype = _DTYPES.get(value.type.tensor_type.elem_type)
    if dtype is None:
        kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        raise InputError(f"{name}: input {value.name} has an unsupported dtype", got=kind)
    fixed = shape[0].dim_value if shape[0].HasField("dim_value") else None
    return Signature(value.name, dims, dtype, model.graph.output[0].name, fixed)


def finish_model(model: onnx.ModelProto, out: Path, metadata: Mapping[str, str]) -> None:
    """Check a model, add metadata and write it as one file.

    Removes the exporter's notes at the nodes, which name source files of the exporting machine.

    Raises:
        InputError: the model is invalid, or too large for one file.
    """
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del item.metadata_props[:]
        item.doc_string = ""
    kept = {item.key: item.value for item in model.metadata_props if not item.key.startswith("pkg.")}
    onnx.helper.set_model_props(model, {**kept, **metadata})
    if model.ByteSize() > _LARGEST_BYTES:
        raise InputError("model: too large for one file", got=f"{model.ByteSize()} bytes", expected="below 2 GiB")
    try:
        checker.check_model(model, full_check=True)
    except Exception as error:  # checker and shape inference raise errors without a common base
        raise InputError("exported model: not valid ONNX", got=error) from error
    out.write_bytes(model.SerializeToString(deterministic=True))
