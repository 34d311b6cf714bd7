"""Check a model before a build, so that a build of minutes does not end in a parser error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from edgeproof_export.onnx_files.reading import parse_onnx

__all__ = ["Finding", "lint_model", "parser_findings"]

Severity = Literal["error", "warning"]
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_INT32 = np.iinfo(np.int32)
# NVIDIA, "Supported ONNX Operators" of onnx-tensorrt: the parser of 8.6 supports opsets 9 to 17.
_NEWEST_OPSET = {8: 17}
_OLDEST_OPSET = 9


@dataclass(frozen=True, slots=True)
class Finding:
    """Problem of a model that stops a build (``error``) or may stop it (``warning``), and its fix."""

    severity: Severity
    rule: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.severity} {self.rule}: {self.what}; {self.fix}"


def lint_model(
    path: Path, *, precision: str, target: str, gpus: tuple[str, ...] = (), major: int | None = None
) -> list[Finding]:
    """Check a model without a parser.

    Args:
        path: ONNX file.
        precision: precision of the build.
        target: ``tensorrt`` or ``tensorrt-rtx``.
        gpus: compute capabilities of the build.
        major: TensorRT's major version; None if unknown.

    Raises:
        InputError: the file is not an ONNX model.
    """
    model = parse_onnx(path).model
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
    """Check a model with TensorRT's parser, if its version supports queries.

    Args:
        trt: TensorRT's module.
        parser: ``OnnxParser`` of a temporary network.
        model: the serialised model.
        path: its file, for external weights.
        operators: operator of each node, by index.
    """
    missing = sorted({name for name in operators if not parser.supports_operator(name)})
    if missing:
        return [
            Finding(
                "error",
                "operator",
                f"TensorRT {trt.__version__} does not support {', '.join(missing)}",
                "replace it in the model, or run the bundle on onnxruntime:cuda without an engine",
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
            f"the model has opset {opset}, TensorRT supports {_OLDEST_OPSET} and later",
            "export it again, or convert it with onnx.version_converter",
        )
    if newest is not None and opset > newest:
        yield Finding(
            "error",
            "opset",
            f"the model has opset {opset}, TensorRT {major} supports up to {newest}",
            f"export it again with opset {newest}",
        )
    for item in model.opset_import:
        if item.domain not in ("", "ai.onnx", "ai.onnx.ml"):
            yield Finding(
                "warning",
                "opset",
                f"the model uses operators of the domain {item.domain}",
                "install a TensorRT plugin of the same name",
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
                "export it with a dynamic batch only: the contract fixes height and width",
            )


def _types(constants: dict[str, onnx.TensorProto], target: str, major: int | None) -> Iterator[Finding]:
    doubles = [name for name, tensor in constants.items() if tensor.data_type == onnx.TensorProto.DOUBLE]
    if doubles:
        yield Finding(
            "error",
            "fp64",
            f"{len(doubles)} weights are float64 ({doubles[0]}), which TensorRT does not support",
            "convert the model to float32 before the export: model.float()",
        )
    if target != "tensorrt" or (major or 10) >= 10:
        return
    for name, tensor in constants.items():
        if tensor.data_type == onnx.TensorProto.INT64:
            values = numpy_helper.to_array(tensor)
            # INT64_MAX means "to the end" in Slice; the parser handles it.
            bad = values[(values != np.iinfo(np.int64).max) & ((values > _INT32.max) | (values < _INT32.min))]
            if bad.size:
                yield Finding(
                    "error",
                    "int64",
                    f"{name} holds {int(bad.flat[0])}, and TensorRT {major} does not support INT64",
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
            "error", "zero point", f"{len(nonzero)} zero points are not 0 ({nonzero[0]}), TensorRT supports only 0", fix
        )
    if unsigned:
        yield Finding(
            "error",
            "zero point",
            f"{len(unsigned)} quantisers are unsigned ({unsigned[0]}), TensorRT supports only int8",
            fix,
        )
    fused = sorted({n.op_type for n in model.graph.node if n.op_type.startswith(("QLinear", "ConvInteger", "MatMulI"))})
    if fused:
        yield Finding("error", "quantised operators", f"the graph has {', '.join(fused)}", f"{fix} with Q/DQ pairs")


def _precision(model: onnx.ModelProto, constants: dict[str, onnx.TensorProto], precision: str) -> Iterator[Finding]:
    types = {tensor.data_type for tensor in constants.values()}
    if precision == "fp16" and onnx.TensorProto.FLOAT16 not in types:
        yield Finding(
            "error",
            "precision",
            "the graph has no float16 weights: an fp16 engine would compute in fp32",
            "edgeproof optimize BUNDLE --precision fp16",
        )
    if precision == "int8" and not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        yield Finding(
            "error",
            "precision",
            "the graph has no QuantizeLinear: an int8 engine would compute in fp32",
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
            "the model has an fp32 matrix product, unsupported by TensorRT-RTX on Turing (sm75)",
            "build sm75 from fp16: --precision fp16 --gpu sm75, and the other GPUs in a second command",
        )
