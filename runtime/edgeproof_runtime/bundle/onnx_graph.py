"""The nodes of an ONNX file, and further outputs for it. A device has no ``onnx`` package.

Only what names need is read: nodes, names of weights, inputs and outputs (onnx.proto, ``GraphProto``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgeproof_runtime.errors import InputError

__all__ = [
    "MODULE_SCOPES",
    "OnnxGraph",
    "OnnxNode",
    "OnnxValue",
    "TypedName",
    "fields",
    "read_graph",
    "read_values",
    "with_outputs",
]

MODULE_SCOPES = "pkg.torch.onnx.name_scopes"
"""Key of a node's metadata: the PyTorch modules around it."""

_WEIGHTED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization", "BatchNormalization"))
_LAST_LAYERS = frozenset(("Gemm", "MatMul", "Conv"))
# What may stand between the last layer and the model's output.
_RESHAPES = ("Concat", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
_ARITHMETIC = ("Add", "Cast", "Clip", "Div", "LogSoftmax", "Mul", "Sigmoid", "Softmax", "Sub")
_BEHIND_LAST = frozenset((*_RESHAPES, *_ARITHMETIC, "DequantizeLinear", "QuantizeLinear"))
_ELEMENT_TYPES = {"float32": 1, "float16": 10}  # onnx.TensorProto.DataType
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64"}

TypedName = tuple[str, str, tuple[int, ...]]
"""Name, dtype and shape without the first dimension of a value; an empty dtype or a size of -1 if not known."""


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """A node.

    Attributes:
        name: its name; may be empty.
        operator: ONNX operator.
        inputs, outputs: names of values; an input that is left out is empty.
        scopes: full names of the PyTorch modules around it, the outermost first, as PyTorch's exporter wrote them.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class OnnxGraph:
    """The main graph of an ONNX file.

    Attributes:
        nodes: in topological order.
        weights: names of the initializers.
        inputs, outputs: names.
    """

    nodes: tuple[OnnxNode, ...]
    weights: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @cached_property
    def producers(self) -> dict[str, OnnxNode]:
        """The node of each computed value."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def readers(self) -> dict[str, list[OnnxNode]]:
        """The nodes that read each value."""
        found: dict[str, list[OnnxNode]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(filter(None, node.inputs)):
                found.setdefault(name, []).append(node)
        return found

    def has_weights(self, node: OnnxNode) -> bool:
        """Return whether a node is a layer with weights, as a convolution is."""
        return node.operator in _WEIGHTED and not self.weights.isdisjoint(node.inputs[1:])

    def before_last_layer(self, output: str) -> str | None:
        """Return the value that the last linear layer before an output reads; None if that is not one layer.

        Args:
            output: name of a graph output.
        """
        found: set[str] = set()
        waiting, seen = [output], set[str]()
        while waiting:
            node = self.producers.get(waiting.pop())
            if node is None or node.outputs[0] in seen:  # a weight, a constant or the graph's input
                continue
            seen.add(node.outputs[0])
            if node.operator in _LAST_LAYERS:
                found.add(node.inputs[0])
            elif node.operator in _BEHIND_LAST:
                waiting += filter(None, node.inputs)
            elif node.operator != "Constant":
                return None
        (value,) = found if len(found) == 1 else (None,)
        return None if value in self.inputs else value

    def module(self, node: OnnxNode) -> str:
        """Return the full name of the PyTorch module that a node belongs to; empty if the file does not say.

        It is in the name of a weight, in the exporter's metadata, or in the name that TorchScript gives nodes and
        values.
        """
        weights = [name for name in node.inputs if name in self.weights and name.endswith(".weight")]
        if weights:
            return weights[0].removesuffix(".weight")
        if node.scopes:
            return node.scopes[-1]
        scoped = next((name for name in (node.name, *node.outputs) if name.startswith("/")), "")
        return _joined(scoped.split("/")[1:-1])


def read_graph(model: bytes) -> OnnxGraph:
    """Read the main graph of an ONNX file.

    Raises:
        InputError: the bytes are not an ONNX model.
    """
    nodes: list[OnnxNode] = []
    names: dict[int, list[str]] = {5: [], 11: [], 12: []}  # initializers, inputs, outputs
    try:
        for number, graph in fields(memoryview(model)):
            if number != 7:
                continue
            for kind, content in fields(graph):
                if kind == 1:
                    nodes.append(_node(content))
                elif kind in names:
                    key = 8 if kind == 5 else 1
                    names[kind] += [_text(value) for part, value in fields(content) if part == key]
    except (ValueError, IndexError) as error:
        raise InputError("not an ONNX model", got=str(error) or "damaged") from error
    return OnnxGraph(tuple(nodes), frozenset(names[5]), tuple(names[11]), tuple(names[12]))


@dataclass(frozen=True, slots=True)
class OnnxValue:
    """An input or output as the graph declares it.

    Attributes:
        dtype: NumPy's name; empty if NumPy has none.
        dimensions: number of dimensions.
        fixed_batch: whether the first dimension is a number, not a name.
    """

    dtype: str
    dimensions: int
    fixed_batch: bool


def read_values(model: bytes) -> dict[str, OnnxValue]:
    """Read what an ONNX file declares of its inputs and outputs, by name.

    Raises:
        InputError: the bytes are not an ONNX model.
    """
    found = {}
    try:
        graphs = [content for number, content in fields(memoryview(model)) if number == 7]
        for value in (value for graph in graphs for number, value in fields(graph) if number in (11, 12)):
            parts = dict(fields(value))
            tensor = dict(fields(dict(fields(parts[2])).get(1, memoryview(b"")))) if 2 in parts else {}
            dims = [dict(fields(dim)) for number, dim in fields(tensor.get(2, memoryview(b""))) if number == 1]
            kind = _DTYPES.get(tensor[1][0], "") if 1 in tensor else ""
            found[_text(parts[1])] = OnnxValue(kind, len(dims), bool(dims) and 1 in dims[0])
    except (ValueError, IndexError, KeyError) as error:
        raise InputError("not an ONNX model", got=str(error) or "damaged") from error
    return found


def with_outputs(values: Sequence[TypedName]) -> bytes:
    """Return bytes that, appended to an ONNX file, make values of its graph outputs as well.

    Parsers of protobuf join a message that occurs twice (protobuf.dev, "Last One Wins"), here the graph.
    """
    return _delimited(7, b"".join(_delimited(12, _value_info(*value)) for value in values))


def fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield (number, content) of a protobuf message's fields; the content of a varint is its first byte.

    Raises:
        ValueError, IndexError: the message is damaged.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            start = at
            _, at = _varint(message, at)
            yield key >> 3, message[start : start + 1]
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            if kind != 2:
                raise ValueError(f"protobuf: unknown wire type {kind}")
            size, at = _varint(message, at)
        if size > len(message) - at:
            raise ValueError("protobuf: a field beyond the end")
        yield key >> 3, message[at : at + size]
        at += size


def _node(message: memoryview) -> OnnxNode:
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    scopes: tuple[str, ...] = ()
    for number, content in fields(message):
        if number in texts:
            texts[number].append(_text(content))
        elif number == 9:
            entry = {part: _text(value) for part, value in fields(content)}
            if entry.get(1) == MODULE_SCOPES:
                scopes = _scopes(entry.get(2, ""))
    return OnnxNode("".join(texts[3][-1:]), "".join(texts[4][-1:]), tuple(texts[1]), tuple(texts[2]), scopes)


def _scopes(text: str) -> tuple[str, ...]:
    """Return the modules of ``['', 'blocks', 'blocks.0', 'add']``: the first is the model, the last the operator."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return ()
    return tuple(one for one in found[:-1] if one)


def _joined(parts: list[str]) -> str:
    """Join TorchScript's scopes ``blocks``, ``blocks.0``, ``conv`` to ``blocks.0.conv``."""
    names: list[str] = []
    before = ""
    for part in parts:
        names.append(part.removeprefix(f"{before}.") if before else part)
        before = part
    return ".".join(names)


def _text(content: memoryview) -> str:
    return bytes(content).decode("utf-8", "replace")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("protobuf: a broken number")


def _value_info(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    named = _delimited(1, name.encode())
    if dtype not in _ELEMENT_TYPES:
        return named
    dims = [b"", *(b"\x08" + _number(size) if size >= 0 else b"" for size in shape)]  # the first is left open
    tensor = b"\x08" + _number(_ELEMENT_TYPES[dtype]) + _delimited(2, b"".join(_delimited(1, dim) for dim in dims))
    return named + _delimited(2, _delimited(1, tensor))


def _delimited(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
