"""Convert PyTorch to ONNX: dynamo exporter, dynamic batch, one file."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from edgeproof_export.checkpoint import Blueprint
from edgeproof_export.models import Source, quiet
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import InputError

__all__ = ["INPUT_NAME", "OPSET", "TorchReference", "checkpoint_reference", "to_onnx"]

INPUT_NAME = "input"
# The oldest opset that the dynamo exporter writes directly; ONNX Runtime, OpenVINO, OpenCV 5 and TensorRT 10 read it.
# TensorRT 8 reads up to 17.
OPSET = 18

_EXAMPLE_BATCH = 2  # exporters treat 0 and 1 as constants


class TorchReference:
    """The PyTorch model as the reference of all comparisons.

    Args:
        model: a module in eval mode, or an exported program.
        contract: input contract.
        name: name in error messages.
    """

    def __init__(self, model: nn.Module | ExportedProgram, contract: InputContract, name: str) -> None:
        self._call: Any = model.module() if isinstance(model, ExportedProgram) else model
        self._contract = contract
        self._name = name

    def __call__(self, batch: NDArray[np.generic]) -> NDArray[np.generic]:
        """Run the model.

        Args:
            batch: ``N x`` the shape of the contract's tensor.

        Returns:
            Outputs ``N x C``.

        Raises:
            InputError: the model fails on the batch, or its output is not ``N x C``.
        """
        try:
            with torch.inference_mode(), quiet():
                answer = self._call(torch.from_numpy(np.ascontiguousarray(batch)))
        except Exception as error:  # user code may raise anything
            lines = str(error).strip().splitlines()
            raise InputError(
                f"{self._name}: fails on the contract's tensor",
                got=f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}",
                expected=f"a model for inputs {batch.dtype} {batch.shape}",
                fix="check size, colour and layout: " + self._contract.summary(),
            ) from error
        if not isinstance(answer, Tensor) or answer.ndim != 2 or len(answer) != len(batch):
            found = f"{tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
            raise InputError(
                f"{self._name}: not a classifier",
                got=f"{found} for a batch of {len(batch)}",
                expected=f"one tensor ({len(batch)}, classes)",
                fix="wrap the model in a module that returns only the scores",
            )
        scores: NDArray[np.generic] = answer.numpy()
        return scores


def checkpoint_reference(
    source: Source,
) -> tuple[Blueprint, nn.Module, Callable[[NDArray[np.generic]], tuple[NDArray[np.generic], ...]]]:
    """Return a checkpoint's network as the reference, with any number of outputs.

    Args:
        source: a checkpoint of `edgeproof train`.

    Returns:
        The blueprint, the network, and a function from a batch to one array ``N x ...`` per output, which raises
        InputError if an output is not a tensor of the batch.
    """
    blueprint, network = source.blueprint, source.model
    if blueprint is None or not isinstance(network, nn.Module):
        raise TypeError(f"{source.spec}: not a checkpoint")

    def answer(batch: NDArray[np.generic]) -> tuple[NDArray[np.generic], ...]:
        with torch.inference_mode(), quiet():
            found = network(torch.from_numpy(np.ascontiguousarray(batch)))
        outputs = found if isinstance(found, tuple) else (found,)
        if not all(isinstance(output, Tensor) and len(output) == len(batch) for output in outputs):
            raise InputError(f"{source.spec}: outputs are not tensors of the batch", got=type(found).__name__)
        return tuple(output.numpy() for output in outputs)

    return blueprint, network, answer


def to_onnx(
    model: nn.Module | ExportedProgram, spec: TensorSpec, outputs: Sequence[str], *, opset: int = OPSET
) -> onnx.ModelProto:
    """Convert a model to ONNX.

    Args:
        model: a module in eval mode, or an exported program.
        spec: name, shape without the batch dimension, and dtype of the input.
        outputs: names of the outputs.
        opset: ONNX opset version.

    Raises:
        InputError: the model cannot be exported, or not with this opset.
    """
    example = torch.zeros((_EXAMPLE_BATCH, *spec.shape), dtype=getattr(torch, spec.dtype), requires_grad=False)
    arguments: dict[str, Any] = {}
    if not isinstance(model, ExportedProgram):
        arguments = {"args": (example,), "dynamic_shapes": ({0: Dim("batch")},)}
    try:
        with quiet(), torch.no_grad(), redirect_stdout(io.StringIO()):
            program = torch.onnx.export(
                model,
                **arguments,
                input_names=[spec.name],
                output_names=list(outputs),
                opset_version=max(opset, OPSET),
                external_data=False,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # the exporter, or user code during tracing, may raise anything
        raise InputError(
            "model: cannot be exported to ONNX",
            got=_cause(error),
            expected="a forward pass that torch.export can trace with a dynamic batch",
            fix="run torch.export.export(model, (example,), dynamic_shapes=...), which shows where it fails",
        ) from error
    if program is None:
        raise TypeError("torch.onnx.export: returned no program")
    exported: onnx.ModelProto = program.model_proto
    return exported if opset >= OPSET else _converted_back(exported, opset)


def _converted_back(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Convert to an older opset with ONNX's converter.

    The exporter would convert before folding operators that have no older form, and would not report a failure.
    """
    for node in model.graph.node:
        # The converter keeps this attribute of the later ReduceMean; 0 is the behaviour of the earlier one.
        kept = [item for item in node.attribute if not (item.name == "noop_with_empty_axes" and item.i == 0)]
        del node.attribute[:]
        node.attribute.extend(kept)
    try:
        converted = onnx.version_converter.convert_version(model, opset)
        onnx.checker.check_model(converted)
    except Exception as error:  # converter and checker raise errors without a common base
        raise InputError(
            f"model: cannot be converted to ONNX opset {opset}",
            got=_cause(error),
            expected=f"operators of opset {opset}",
            fix=f"--opset {OPSET}, which TensorRT 10 and later support",
        ) from error
    return converted


def _cause(error: BaseException) -> str:
    """Return the first line of the original error, which the exporter wraps in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
