"""Inputs of other people's ONNX files: fitted to the tensor of the input contract."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from edgeproof_export.contracts import ContractFlags
from edgeproof_export.heads import fresh_name
from edgeproof_runtime.contract.contract import DType, InputContract, Layout
from edgeproof_runtime.errors import InputError

__all__ = ["ImageInput", "fit_input", "read_input"]

# dtype of the contract for each type of a graph; other types than the contract's three are cast in the graph.
_DTYPES: dict[int, DType] = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.UINT8: "uint8",
    TensorProto.DOUBLE: "float32",
    TensorProto.BFLOAT16: "float32",
    TensorProto.INT16: "uint8",
    TensorProto.UINT16: "uint8",
    TensorProto.INT32: "uint8",
    TensorProto.UINT32: "uint8",
    TensorProto.INT64: "uint8",
}
_OWN = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}
_CHANNELS = (1, 3)
_FEWEST_VALUES = 16  # of an image: 4x4, one channel


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The only input of a graph.

    Attributes:
        name: name of the value.
        dims: sizes, the batch included; None where open.
        elem_type: type of the values, of `onnx.TensorProto`.
    """

    name: str
    dims: tuple[int | None, ...]
    elem_type: int

    @property
    def dtype(self) -> DType:
        """The contract's dtype."""
        return _DTYPES[self.elem_type]

    @property
    def shown(self) -> str:
        """Type and shape for messages."""
        kind = TensorProto.DataType.Name(self.elem_type).lower()
        return f"{kind} ({', '.join('?' if n is None else str(n) for n in self.dims)})"

    def layout(self) -> Layout | None:
        """Return the layout if the sizes leave only one."""
        if len(self.dims) != 4:
            return None
        first, last = self.dims[1] in _CHANNELS, self.dims[3] in _CHANNELS
        return None if first == last else "NCHW" if first else "NHWC"


def read_input(model: onnx.ModelProto, spec: str) -> ImageInput:
    """Read the input of a model whose weights are not inputs.

    Raises:
        InputError: several inputs, or one that is not a batch of images.
    """
    inputs = list(model.graph.input)
    if len(inputs) != 1:
        raise InputError(
            f"{spec}: not an image classifier",
            got=f"{len(inputs)} inputs: {', '.join(_shown(value) for value in inputs)}",
            expected="one input, a batch of images",
            fix="export the model with the images as its only input, and constants for the others",
        )
    tensor = inputs[0].type.tensor_type
    dims: tuple[int | None, ...] = tuple(int(dim.dim_value) if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    if tensor.elem_type not in _DTYPES:
        raise InputError(
            f"{spec}: input {inputs[0].name} has an unsupported dtype",
            got=TensorProto.DataType.Name(tensor.elem_type),
            expected=", ".join(TensorProto.DataType.Name(kind).lower() for kind in _DTYPES),
            fix="export the model with float32 or uint8 images as input",
        )
    found = ImageInput(inputs[0].name, dims or (None,) * 4, int(tensor.elem_type))
    if len(found.dims) not in (2, 3, 4):
        raise InputError(
            f"{spec}: input {found.name} is not a batch of images",
            got=found.shown,
            expected="(batch, channels, height, width), (batch, height, width, channels), (batch, height, width), "
            "(channels, height, width) or (batch, values)",
            fix="export a model of one image: clips and volumes are unsupported" if len(found.dims) == 5 else None,
        )
    _require_image(model, found, spec)
    return found


def _require_image(model: onnx.ModelProto, found: ImageInput, spec: str) -> None:
    """Refuse inputs that are rows of values rather than images.

    Raises:
        InputError: the values are looked up in a table, as token ids are, or are fewer than those of an image.
    """
    if len(found.dims) != 2:
        return
    tables = {tensor.name for tensor in model.graph.initializer}
    lookups = [node for node in model.graph.node if node.op_type == "Gather" and node.input[0] in tables]
    few = found.dims[1] is not None and found.dims[1] < _FEWEST_VALUES
    if few or any(node.input[1] == found.name for node in lookups):
        raise InputError(
            f"{spec}: not an image classifier",
            got=f"input {found.shown}, " + ("values of a table" if few else "numbers of words or categories"),
            expected="one input, a batch of images",
        )


def fit_input(
    model: onnx.ModelProto, found: ImageInput, contract: InputContract, flags: ContractFlags, spec: str
) -> tuple[int | None, list[str]]:
    """Fit the input to the contract's tensor, in place: open sizes are fixed, other ranks and types converted.

    Returns:
        Number of images that the graph takes, None if open; and notes for the report.

    Raises:
        InputError: a fixed size differs from the contract's.
    """
    shape = contract.tensor_shape()[1:]
    if contract.dtype != found.dtype:
        raise InputError(
            f"--dtype: does not fit input {found.name} of {spec}",
            got=contract.dtype,
            expected=f"{found.dtype}: the model takes {found.shown}",
            fix=f"--dtype {found.dtype}",
        )
    notes = []
    graph = model.graph
    value = graph.input[0]
    batch = found.dims[0]
    if len(found.dims) == 3 and batch is not None and _fits(found.dims, shape):
        batch = 1
        notes.append(f"Input {found.name} {found.shown} is one image without a batch dimension.")
        _insert(graph, "Reshape", found, shape, (1, *shape))
    elif len(found.dims) < 4:
        inner = (math.prod(shape),) if len(found.dims) == 2 else contract.tensor_size
        if math.prod(inner) != math.prod(shape) or not _fits(found.dims[1:], inner):
            raise _misfit(found, contract, flags, spec)
        what = "as one row per image" if len(found.dims) == 2 else "without its channel"
        notes.append(f"Input {found.name} {found.shown} takes the {contract.layout} tensor {what}.")
        _insert(graph, "Reshape", found, [-1, *inner], (batch, *shape))
    elif not _fits(found.dims[1:], shape):
        raise _misfit(found, contract, flags, spec)
    else:
        if None in found.dims[1:]:
            notes.append(f"Input {found.name} {found.shown}: open sizes are fixed at {shape}.")
        _set_dims(value, (batch, *shape))
    if found.elem_type != _OWN[found.dtype]:
        kind = TensorProto.DataType.Name(found.elem_type).lower()
        notes.append(f"Input {found.name} is {kind}: the bundle takes {contract.dtype} and converts in the graph.")
        _insert(graph, "Cast", found, [], (batch, *shape))
    # Shapes inferred for open sizes are not those of the fixed ones.
    del graph.value_info[:]
    return batch, notes


def _fits(own: Sequence[int | None], wanted: Sequence[int]) -> bool:
    return all(size in (None, other) for size, other in zip(own, wanted, strict=True))


def _misfit(found: ImageInput, contract: InputContract, flags: ContractFlags, spec: str) -> InputError:
    """Return an error that names the flag which mends the difference."""
    fix = None
    if len(found.dims) == 4:
        layout = found.layout() or contract.layout
        channels = found.dims[1] if layout == "NCHW" else found.dims[3]
        sizes = found.dims[2:] if layout == "NCHW" else found.dims[1:3]
        fixes = []
        if layout != contract.layout:
            fixes.append(f"--layout {layout}")
        if channels not in (None, contract.channels):
            fixes.append({1: "--color gray", 3: "--color rgb"}.get(channels, f"--channels {channels}"))
        if any(own not in (None, wanted) for own, wanted in zip(sizes, contract.tensor_size, strict=True)):
            height, width = (own or wanted for own, wanted in zip(sizes, contract.tensor_size, strict=True))
            if flags.input_size is None and contract.crop_size is not None:
                fixes.append(f"--crop-size {height}x{width} (with --resize-size), or --input-size {height}x{width}")
            else:
                fixes.append(f"--input-size {height}x{width}")
        fix = " ".join(fixes) or None
    else:
        fix = (
            f"--input-size and --color with {found.dims[1]} values in all"
            if len(found.dims) == 2
            else f"--input-size {found.dims[1] or 'H'}x{found.dims[2] or 'W'} --color gray, if it takes one channel"
        )
    shape = ", ".join(map(str, contract.tensor_shape()[1:]))
    return InputError(
        f"{spec}: the contract's tensor does not fit input {found.name}",
        got=f"{contract.dtype} (N, {shape}) by the contract",
        expected=f"{found.shown} by the model",
        fix=fix,
    )


def _insert(
    graph: onnx.GraphProto, kind: str, found: ImageInput, sizes: Sequence[int], dims: Sequence[int | None]
) -> None:
    """Put a node between the input, which gets these dimensions, and the nodes that read it."""
    value = graph.input[0]
    inner = fresh_name(graph, f"{found.name}_{kind.lower()}")
    for node in graph.node:
        node.input[:] = [inner if name == found.name else name for name in node.input]
    inputs = [found.name]
    attributes = []
    if kind == "Reshape":
        target = fresh_name(graph, f"{inner}_sizes")
        graph.initializer.append(helper.make_tensor(target, TensorProto.INT64, [len(sizes)], list(sizes)))
        inputs.append(target)
    else:
        attributes.append(helper.make_attribute("to", found.elem_type))
        value.type.tensor_type.elem_type = _OWN[found.dtype]
    node = helper.make_node(kind, inputs, [inner], name=inner)
    node.attribute.extend(attributes)
    graph.node.insert(0, node)
    _set_dims(value, dims)


def _set_dims(value: onnx.ValueInfoProto, dims: Sequence[int | None]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for size in dims:
        dim = shape.dim.add()
        if size is None:
            dim.dim_param = "batch"
        else:
            dim.dim_value = size


def _shown(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return f"{value.name} ({', '.join(dim.dim_param or str(dim.dim_value or '?') for dim in dims)})"
