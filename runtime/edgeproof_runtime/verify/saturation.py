"""Recognise int8 sums that saturate: x86 CPUs without VNNI add pairs of products in 16 bits."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.bundle.onnx_graph import fields
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.engines import Engine, catalog
from edgeproof_runtime.engines.onnxruntime import OnnxRuntimeEngine
from edgeproof_runtime.errors import EdgeproofError, InputError
from edgeproof_runtime.system.host import cpu_features
from edgeproof_runtime.verify.golden import output_gate

__all__ = ["saturation", "signed_activations"]

_32_BIT_SUMS = ("avx_vnni", "avx512_vnni", "amx_int8")
_X86 = ("x86_64", "amd64", "i386", "i686")
_INT8 = 3  # onnx.TensorProto.INT8


def saturation(bundle: Bundle, engine: Engine, cases: Sequence[GoldenCase]) -> str | None:
    """Say whether saturation explains that an engine's int8 model missed the bound of its golden cases.

    It does if this CPU adds int8 products in 16 bits and the same graph passes with Q/DQ pairs computed in float32.
    Without ONNX Runtime, which computes them so, signed activations make it likely.

    Args:
        bundle: bundle of the engine's model.
        engine: engine whose outputs missed the bound.
        cases: golden cases.

    Returns:
        The reason as a clause, or None.
    """
    if engine.artifact.precision != "int8" or catalog.find(engine.name).device != "cpu" or _sums_in_32_bits():
        return None
    signed = signed_activations(engine.artifact)
    if OnnxRuntimeEngine.unavailable_reason() is not None:
        return "no VNNI: signed int8 may saturate here" if signed else None
    try:
        with OnnxRuntimeEngine(engine.artifact, threads=engine.threads, int8_kernels=False) as stated:
            passed = output_gate(bundle, stated, cases).passed
    except EdgeproofError:
        return None
    what = "signed int8" if signed else "int8"
    return f"no VNNI: {what} saturates here; computed in float32 the same graph passes" if passed else None


def _sums_in_32_bits() -> bool:
    return platform.machine().lower() not in _X86 or any(name in cpu_features() for name in _32_BIT_SUMS)


def signed_activations(artifact: ModelArtifact) -> bool:
    """Return whether an ONNX model quantises activations to int8, not uint8; False if it is not readable.

    A device has no ``onnx`` package; of the protobuf file only the graph's nodes and zero points are read.
    """
    try:
        with artifact.onnx() as model:
            content = bytes(model.content)
        graph = next(value for number, value in fields(memoryview(content)) if number == 7)
        return _quantizes_signed(graph)
    except (InputError, StopIteration, ValueError, IndexError):
        return False


def _quantizes_signed(graph: memoryview) -> bool:
    kinds: dict[str, int] = {}  # initializer -> data type
    quantizers: list[list[str]] = []  # inputs: value, scale, zero point
    for number, content in fields(graph):
        if number == 5:
            tensor = dict(fields(content))
            kinds[bytes(tensor.get(8, b"")).decode()] = int.from_bytes(bytes(tensor.get(2, b"")), "little")
        elif number == 1:
            parts = list(fields(content))
            if any(key == 4 and bytes(value) == b"QuantizeLinear" for key, value in parts):
                quantizers.append([bytes(value).decode() for key, value in parts if key == 1])
    return any(len(inputs) > 2 and inputs[0] not in kinds and kinds.get(inputs[2]) == _INT8 for inputs in quantizers)
