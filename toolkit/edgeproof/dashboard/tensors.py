"""Tensors of the Open Inference Protocol: as JSON, as binary after the JSON, or as raw bytes.

Source: the protocol's version 2 and its binary tensor extension,
https://github.com/open-inference/open-inference-protocol and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from edgeproof_runtime.bundle.artifact import Tensor, TensorSpec
from edgeproof_runtime.errors import InputError

__all__ = ["DATATYPES", "HEADER_LENGTH", "InferRequest", "datatype_of", "parse_request", "render_answer"]

HEADER_LENGTH = "Inference-Header-Content-Length"
"""HTTP header: number of JSON bytes in a body, before the binary tensors."""

DATATYPES: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""Protocol's name of a datatype by NumPy's name."""


_PIECE = 1 << 15  # numbers per step: a millisecond or two


@dataclass(frozen=True, slots=True)
class InferRequest:
    """One inference request.

    Attributes:
        id: the client's id, returned in the response; None if absent.
        rows: ``N x input.shape`` of the input's dtype; may be a read-only view of the body.
        outputs: requested outputs: position among the model's, and whether as binary.
    """

    id: str | None
    rows: Tensor
    outputs: tuple[tuple[int, bool], ...]


def datatype_of(dtype: str | np.dtype[Any]) -> str:
    """Return the protocol's name of a dtype."""
    return DATATYPES[np.dtype(dtype).name]


def parse_request(
    body: bytes, header_length: str | None, model_input: TensorSpec, outputs: Sequence[TensorSpec], max_batch: int
) -> InferRequest:
    """Read the body of an inference request.

    Args:
        body: JSON, JSON followed by binary tensors, or with ``header_length`` 0 the bytes of one input.
        header_length: value of the header `HEADER_LENGTH`, if present.
        model_input: the model's input.
        outputs: the model's outputs.
        max_batch: most rows per request.

    Raises:
        InputError: the body does not follow the protocol or does not fit the model.
    """
    length = _header_length(header_length, len(body))
    if length == 0 and header_length is not None:
        rows = _from_bytes(memoryview(body), None, model_input, max_batch)
        return InferRequest(None, rows, tuple((i, True) for i in range(len(outputs))))
    request = _json_object(body[:length])
    _only(request, ("id", "parameters", "inputs", "outputs"), "request")
    rows = _input_rows(request.get("inputs"), memoryview(body)[length:], model_input, max_batch)
    parameters = _parameters(request, ("binary_data_output",), "request")
    binary = _flag(parameters, "binary_data_output", default=False)
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        _refuse("id: not a string", got=_short(identity))
    if identity is not None and any("\ud800" <= char <= "\udfff" for char in identity):
        _refuse("id: holds a lone surrogate", got=ascii(_short(identity)), expected="Unicode text")
    return InferRequest(identity, rows, _wanted(request.get("outputs"), outputs, binary))


def render_answer(
    request: InferRequest, model: Mapping[str, str], outputs: Sequence[Tensor], specs: Sequence[TensorSpec]
) -> tuple[bytes, dict[str, str]]:
    """Build the body and headers of a response.

    Args:
        request: the request.
        model: the fields ``model_name`` and ``model_version``.
        outputs: all of the model's outputs, ``N x output.shape``.
        specs: names and shapes of the outputs.

    Raises:
        InputError: JSON was requested and an output is not finite.
    """
    entries: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for position, binary in request.outputs:
        tensor, name = outputs[position], specs[position].name
        entry: dict[str, Any] = {"name": name, "datatype": datatype_of(tensor.dtype), "shape": list(tensor.shape)}
        if binary:
            tails.append(np.ascontiguousarray(tensor).tobytes())
            entry["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            if not np.isfinite(tensor).all():
                raise InputError(
                    f"output {name}: holds values that JSON does not support",
                    got="NaN or infinity",
                    fix="request binary outputs: binary_data_output",
                )
            entry["data"] = tensor.ravel().tolist()
        entries.append(entry)
    answer = {**model, **({} if request.id is None else {"id": request.id}), "outputs": entries}
    head = json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()
    if not tails:
        return head, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH.lower(): str(len(head))}
    return b"".join([head, *tails]), headers


def _header_length(value: str | None, body_bytes: int) -> int:
    if value is None:
        return body_bytes
    if not (value.isascii() and value.isdecimal() and len(value) <= 18) or int(value) > body_bytes:
        _refuse(f"{HEADER_LENGTH}: does not fit the body", got=_short(value), expected=f"0..{body_bytes}")
    return int(value)


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        request = json.loads(
            text,
            # JSON has no NaN and no Infinity, but Python's reader accepts them by default.
            parse_constant=lambda name: _refuse("JSON: unsupported value", got=name),
            # Python's functions: the C scanner would hold the interpreter lock for a body of megabytes.
            parse_float=lambda number: float(number),
            parse_int=lambda number: int(number),
        )
    except (ValueError, RecursionError) as error:
        _refuse("request: not JSON", got=_short(str(error) or type(error).__name__))
    if not isinstance(request, dict):
        _refuse("request: not a JSON object", got=type(request).__name__)
    return request


def _input_rows(inputs: Any, tail: memoryview, spec: TensorSpec, max_batch: int) -> Tensor:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        got = f"{len(inputs)} inputs" if isinstance(inputs, list) else _short(inputs)
        _refuse("inputs: differ from the model's", got=got, expected=f"one input, {spec.name}")
    (entry,) = inputs
    _only(entry, ("name", "shape", "datatype", "parameters", "data"), "input")
    if entry.get("name") != spec.name:
        _refuse("input: unknown", got=_short(entry.get("name")), expected=spec.name)
    if entry.get("datatype") != datatype_of(spec.dtype):
        _refuse(
            f"input {spec.name}: wrong datatype",
            got=_short(entry.get("datatype")),
            expected=datatype_of(spec.dtype),
        )
    shape = _shape(entry.get("shape"), spec, max_batch)
    parameters = _parameters(entry, ("binary_data_size",), f"input {spec.name}")
    size = parameters.get("binary_data_size")
    if size is None:
        if len(tail):
            _refuse("body: bytes after the JSON that belong to no input", got=f"{len(tail)} bytes", expected="none")
        return _from_json(entry.get("data"), shape, spec)
    if "data" in entry:
        _refuse(f"input {spec.name}: has both data and binary_data_size", expected="one of them")
    if not _is_count(size) or size != len(tail):
        _refuse(
            f"input {spec.name}: binary_data_size differs from the size of the data",
            got=f"binary_data_size {_short(size)}, {len(tail)} bytes after the JSON",
            expected="the same",
        )
    return _from_bytes(tail, shape, spec, max_batch)


def _shape(shape: Any, spec: TensorSpec, max_batch: int) -> tuple[int, ...]:
    if (
        not isinstance(shape, list)
        or not all(_is_count(n) for n in shape)
        or tuple(shape[1:]) != spec.shape
        or not 1 <= shape[0] <= max_batch
    ):
        _refuse(f"input {spec.name}: wrong shape", got=_short(shape), expected=_expected_shape(spec, max_batch))
    return tuple(shape)


def _from_bytes(data: memoryview, shape: tuple[int, ...] | None, spec: TensorSpec, max_batch: int) -> Tensor:
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    row_bytes = math.prod(spec.shape) * dtype.itemsize
    if shape is None:
        count, rest = divmod(len(data), row_bytes)
        if rest or not 1 <= count <= max_batch:
            _refuse(
                f"input {spec.name}: incomplete rows",
                got=f"{len(data)} bytes",
                expected=f"N times {row_bytes} bytes: {_expected_shape(spec, max_batch)} of {datatype_of(spec.dtype)}",
            )
        shape = (count, *spec.shape)
    expected_bytes = shape[0] * row_bytes
    if len(data) != expected_bytes:
        _refuse(
            f"input {spec.name}: wrong size",
            got=f"{len(data)} bytes",
            expected=f"{expected_bytes} bytes, {list(shape)} of {datatype_of(spec.dtype)}",
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _from_json(data: Any, shape: tuple[int, ...], spec: TensorSpec) -> Tensor:
    if not isinstance(data, list):
        _refuse(f"input {spec.name}: no data", got=_short(data), expected="a list, or binary_data_size")
    try:
        # In steps, to release the interpreter lock in between.
        pieces = [np.asarray(data[begin : begin + _PIECE]) for begin in range(0, len(data), _PIECE)]
        values = np.concatenate(pieces) if pieces else np.asarray(())
    except (TypeError, ValueError):  # lists of differing lengths or mixed types
        values = np.asarray(())
    if values.shape != shape and values.shape != (math.prod(shape),):
        got = f"{values.shape}" if values.size else "lists of differing lengths, or empty"
        _refuse(
            f"input {spec.name}: data do not fit its shape",
            got=got,
            expected=f"{math.prod(shape)} numbers in a row, or nested as {list(shape)}",
        )
    dtype = np.dtype(spec.dtype)
    if values.dtype.kind not in ("iu" if dtype.kind in "iu" else "iuf"):
        _refuse(f"input {spec.name}: data of the wrong type", expected=f"numbers of {dtype}")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        fits = bool((values >= limits.min).all() and (values <= limits.max).all())
        rows = values.astype(dtype)
    else:
        with np.errstate(over="ignore"):
            rows = values.astype(dtype)
        fits = bool(np.isfinite(rows).all())
    if not fits:
        _refuse(f"input {spec.name}: a number is out of range", expected=f"numbers in the range of {dtype}")
    return rows.reshape(shape)


def _wanted(wanted: Any, specs: Sequence[TensorSpec], binary: bool) -> tuple[tuple[int, bool], ...]:
    if wanted is None:
        return tuple((i, binary) for i in range(len(specs)))
    names = [spec.name for spec in specs]
    if not isinstance(wanted, list) or not wanted or not all(isinstance(entry, dict) for entry in wanted):
        _refuse("outputs: not a list of objects", got=_short(wanted), expected=f"some of {names}")
    found = []
    for entry in wanted:
        _only(entry, ("name", "parameters"), "output")
        if entry.get("name") not in names:
            _refuse("output: unknown", got=_short(entry.get("name")), expected=", ".join(names))
        parameters = _parameters(entry, ("binary_data",), f"output {entry['name']}")
        found.append((names.index(entry["name"]), _flag(parameters, "binary_data", default=binary)))
    if len({position for position, _ in found}) < len(found):
        _refuse("outputs: requested twice", got=", ".join(names[position] for position, _ in found))
    return tuple(found)


def _parameters(entry: Mapping[str, Any], known: Sequence[str], whose: str) -> Mapping[str, Any]:
    parameters = entry.get("parameters", {})
    if not isinstance(parameters, dict):
        _refuse(f"parameters of {whose}: not an object", got=_short(parameters))
    # Refuse unknown parameters: ignoring them would be silent.
    _only(parameters, known, f"parameters of {whose}")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        _refuse(f"{name}: not a boolean", got=_short(value))
    return value


def _only(entry: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    unknown = [name for name in entry if name not in known]
    if unknown:
        _refuse(f"{where}: unknown fields", got=_short(unknown), expected=", ".join(known))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _expected_shape(spec: TensorSpec, max_batch: int) -> str:
    return f"[N, {', '.join(str(n) for n in spec.shape)}], N 1..{max_batch}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse(what: str, *, got: object | None = None, expected: object | None = None) -> NoReturn:
    raise InputError(what, got=got, expected=expected)
