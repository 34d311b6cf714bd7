"""Reading a model before it is built, so that ten minutes do not end in a parser's error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from edgeproof_runtime.errors import InputError

__all__ = ["Finding", "lint_model", "parser_findings"]

Severity = Literal["error", "warning"]
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_INT32 = np.iinfo(np.int32)
# NVIDIA, "Supported ONNX Operators" of onnx-tensorrt: the parser of 8.6 reads opset 17 at most; 9 is the oldest.
_NEWEST_OPSET = {8: 17}
_OLDEST_OPSET = 9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a model that a builder will trip over (``error``) or may (``warning``), and what to do."""

    severity: Severity
    rule: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.severity} {self.rule}: {self.what}; {self.fix}"


def lint_model(
    path: Path, *, precision: str, target: str, gpus: tuple[str, ...] = (), major: int | None = None
) -> list[Finding]:
    """What can be said of a model without a parser.

    Args:
        path: ONNX file.
        precision: what the build is asked for.
        target: ``tensorrt`` or ``tensorrt-rtx``.
        gpus: compute capabilities that it is built for.
        major: TensorRT's major version; None if it is not known.

    Raises:
        InputError: the file is not an ONNX model.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # onnx raises protobuf's and its own errors, without a common base
        raise InputError(f"{path} is not an ONNX model", got=error) from error
    constants = _constants(model)
    return [
        *_opset(model, target, major),
        *_inputs(model),
        *_types(constants, target, major),
        *_quantization(model, constants),
        *_precision(model, constants, precision),
        *_turing(model, constants, precision, target, gpus),
    ]


def parser_findings(trt: Any, parser: Any, model: bytes, path: Path, operators: list[str]) -> list[Finding]:
    """What TensorRT's own parser says of a model, where its version can be asked.

    Args:
        trt: TensorRT's module.
        parser: an ``OnnxParser`` over a network that is thrown away afterwards.
        model: the serialised model.
        path: its file, for weights beside it.
        operators: operator of each node, by index.
    """
    missing = sorted({name for name in operators if not parser.supports_operator(name)})
    if missing:
        return [
            Finding(
                "error",
                "operator",
                f"TensorRT {trt.__version__} has no {', '.join(missing)}",
                "replace it in the model, or run the bundle on onnxruntime:cuda, which needs no engine",
            )
        ]
    if not hasattr(parser, "supports_model_v2") or parser.supports_model_v2(model, str(path)):
        return []
    bad: list[str] = []
    for index in range(parser.num_subgraphs):
        if not parser.is_subgraph_supported(index):
            bad += [f"{operators[node]} (node {node})" for node in parser.get_subgraph_nodes(index)[:8]]
    reasons = "; ".join(parser.get_error(i).desc() for i in range(min(parser.num_errors, 3)))
    parser.clear_errors()
    return [
        Finding(
            "error",
            "operator",
            f"TensorRT {trt.__version__} cannot parse {', '.join(bad) or 'the model'}: {reasons or 'no reason given'}",
            "change these nodes in the model, or run the bundle on onnxruntime:cuda",
        )
    ]


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    values = [node for node in model.graph.node if node.op_type == "Constant"]
    found |= {node.output[0]: item.t for node in values for item in node.attribute if item.name == "value"}
    return found


def _opset(model: onnx.ModelProto, target: str, major: int | None) -> Iterator[Finding]:
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
    newest = _NEWEST_OPSET.get(major) if major is not None and target == "tensorrt" else None
    if opset < _OLDEST_OPSET:
        yield Finding(
            "error",
            "opset",
            f"the model has opset {opset}, TensorRT reads {_OLDEST_OPSET} and later",
            "export it again, or convert it with onnx.version_converter",
        )
    if newest is not None and opset > newest:
        yield Finding(
            "error",
            "opset",
            f"the model has opset {opset}, TensorRT {major} reads {newest} at most",
            f"export it again with opset {newest}",
        )
    for item in model.opset_import:
        if item.domain not in ("", "ai.onnx", "ai.onnx.ml"):
            yield Finding(
                "warning",
                "opset",
                f"the model uses operators of the domain {item.domain}",
                "they need a TensorRT plugin of the same name",
            )


def _inputs(model: onnx.ModelProto) -> Iterator[Finding]:
    initializers = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in initializers:
            continue
        open_axes = [
            axis
            for axis, dim in enumerate(value.type.tensor_type.shape.dim)
            if axis > 0 and not dim.HasField("dim_value")
        ]
        if open_axes or not value.type.tensor_type.HasField("shape"):
            yield Finding(
                "error",
                "dynamic shape",
                f"input {value.name} has no bounds for axis {', '.join(map(str, open_axes)) or 'any'}",
                "export it with a dynamic batch and nothing else: the contract fixes height and width",
            )


def _types(constants: dict[str, onnx.TensorProto], target: str, major: int | None) -> Iterator[Finding]:
    doubles = [name for name, tensor in constants.items() if tensor.data_type == onnx.TensorProto.DOUBLE]
    if doubles:
        yield Finding(
            "error",
            "fp64",
            f"{len(doubles)} weights are float64 ({doubles[0]}), which TensorRT does not compute in",
            "convert the model to float32 before the export: model.float()",
        )
    if target != "tensorrt" or (major or 10) >= 10:
        return
    for name, tensor in constants.items():
        if tensor.data_type == onnx.TensorProto.INT64:
            values = numpy_helper.to_array(tensor)
            # INT64_MAX is ONNX's "to the end" of Slice, which the parser knows.
            bad = values[(values != np.iinfo(np.int64).max) & ((values > _INT32.max) | (values < _INT32.min))]
            if bad.size:
                yield Finding(
                    "error",
                    "int64",
                    f"{name} holds {int(bad.flat[0])}, and TensorRT {major} has no INT64",
                    "use TensorRT 10 or later, or keep indices below 2^31",
                )


def _quantization(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto]) -> Iterator[Finding]:
    nodes = [node for node in model.graph.node if node.op_type in _QUANTIZERS]
    nonzero, unsigned = [], []
    for node in nodes:
        tensor = constants.get(node.input[2]) if len(node.input) > 2 else None
        if tensor is None:
            continue
        if tensor.data_type in (onnx.TensorProto.UINT8, onnx.TensorProto.UINT16):
            unsigned.append(node.name or node.output[0])
        elif np.any(numpy_helper.to_array(tensor) != 0):
            nonzero.append(node.name or node.output[0])
    fix = "quantise symmetrically: edgeproof optimize --precision int8 writes such a graph"
    if nonzero:
        yield Finding(
            "error", "zero point", f"{len(nonzero)} zero points are not 0 ({nonzero[0]}), TensorRT takes only 0", fix
        )
    if unsigned:
        yield Finding(
            "error",
            "zero point",
            f"{len(unsigned)} quantisers are unsigned ({unsigned[0]}), TensorRT takes only int8",
            fix,
        )
    fused = sorted({n.op_type for n in model.graph.node if n.op_type.startswith(("QLinear", "ConvInteger", "MatMulI"))})
    if fused:
        yield Finding("error", "quantised operators", f"the graph has {', '.join(fused)}", f"{fix}, as Q/DQ pairs")


def _precision(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto], precision: str) -> Iterator[Finding]:
    types = {tensor.data_type for tensor in constants.values()}
    if precision == "fp16" and onnx.TensorProto.FLOAT16 not in types:
        yield Finding(
            "error",
            "precision",
            "the graph holds no float16 weight, so an fp16 engine would compute in fp32",
            "edgeproof optimize BUNDLE --precision fp16",
        )
    if precision == "int8" and not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        yield Finding(
            "error",
            "precision",
            "the graph holds no QuantizeLinear, so an int8 engine would compute in fp32",
            "edgeproof optimize BUNDLE --precision int8",
        )


def _turing(
    model: onnx.ModelProto,
    constants: dict[str, onnx.TensorProto],
    precision: str,
    target: str,
    gpus: tuple[str, ...],
) -> Iterator[Finding]:
    products = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")]
    half = any(
        constants[name].data_type == onnx.TensorProto.FLOAT16
        for node in products
        for name in node.input
        if name in constants
    )
    if target == "tensorrt-rtx" and "7.5" in gpus and products and not half and precision != "fp16":
        yield Finding(
            "error",
            "turing",
            "TensorRT-RTX has no fp32 matrix product for Turing (sm75), and the model has one",
            "build sm75 from fp16: --precision fp16 --gpu sm75, and the other GPUs in a second call",
        )
