"""A resolved model with a complete contract, ready to run batches and to convert to ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn
from torch.export import ExportedProgram

from edgeproof_export.activation import Evidence, of_operator
from edgeproof_export.contract_checks import Statistics
from edgeproof_export.contracts import ContractFlags
from edgeproof_export.heads import Head
from edgeproof_export.labels import Labels
from edgeproof_export.models import Source
from edgeproof_export.onnx_files.reading import OnnxFile
from edgeproof_export.onnx_files.source import OnnxModel, prepare_onnx
from edgeproof_export.pytorch.module_checks import module_statistics
from edgeproof_export.pytorch.outputs import classifier_of
from edgeproof_export.pytorch.reference import TorchReference
from edgeproof_export.pytorch.to_onnx import INPUT_NAME
from edgeproof_export.weights.fit import weights_digest
from edgeproof_runtime.bundle.manifest import Activation, Precision
from edgeproof_runtime.contract.contract import MAX_CHANNELS, BatchBounds, InputContract
from edgeproof_runtime.errors import InputError

__all__ = ["Prepared", "prepare"]

Reference = Callable[[NDArray[np.generic]], NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Runnable model with the inputs of its conversion to ONNX.

    Attributes:
        contract: complete input contract.
        reference: function from a batch to ``N x C``.
        reference_name: name for messages.
        reference_engine: engine of the reference; None for PyTorch.
        classes: number of classes.
        input_name, output_name: names of the ONNX values.
        model: input of `to_onnx`, or the ONNX model.
        weights_sha256: sha256 of the weights.
        notes: notes for the report.
        precision: precision of the model's arithmetic.
        labels: labels that the model itself holds; None without.
        binary: whether the two classes are (negative, positive) of a head with one value.
        evidence: activation that the model's graph tells; None if only its values do.
        statistics: function from inputs for the gate's images to what the first BatchNorm sees; None if unknown.
        adapt: change of the ONNX model after the conversion; None without.
        facts: further facts for the manifest's provenance.
    """

    contract: InputContract
    reference: Reference
    reference_name: str
    reference_engine: str | None
    classes: int
    input_name: str
    output_name: str
    model: Any
    weights_sha256: str
    notes: tuple[str, ...]
    precision: Precision = "fp32"
    labels: Labels | None = None
    binary: bool = False
    evidence: Evidence | None = None
    statistics: Callable[[NDArray[np.generic]], Statistics | None] | None = None
    adapt: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def prepare(
    source: Source,
    flags: ContractFlags,
    folder: Path,
    *,
    output: str | None = None,
    activation: Activation | None = None,
) -> Prepared:
    """Complete the contract, and run the model once on its tensor.

    Args:
        source: result of `edgeproof_export.models.resolve`.
        flags: flags for the input contract.
        folder: folder of the bundle being written; receives an ONNX file.
        output: name of the output with the class scores; None takes the one that is clearly the prediction.
        activation: activation of that output, if given.

    Raises:
        InputError: the contract is incomplete, or the model fails on its tensor.
    """
    if isinstance(source.model, OnnxFile):
        return _of_onnx(prepare_onnx(source.model, source.contract, flags, folder, output=output, given=activation))
    contract, notes = _contract(source, flags)
    if contract.batch.min != 1:
        raise InputError(
            "--batch: the minimum must be 1", got=f"batch {contract.batch.min}", expected="--batch 1,OPT,MAX"
        )
    if isinstance(source.model, ExportedProgram):
        contract, notes = _bounded_by(contract, flags, source.spec, *_program_input(source.model, source.spec))
    elif contract.batch.max == 1:
        notes = (
            *notes,
            "--batch 1,1,1: the graph takes one image at a time; batching is not possible with this bundle.",
        )
    # A property in exported programs, a method in modules.
    state = source.model.state_dict if isinstance(source.model, ExportedProgram) else source.model.state_dict()
    model, head, told = _classifier(source, contract, output)
    if head.classes < 2:
        raise InputError(f"{source.spec}: not a classifier", got="one class", expected="2 or more classes")
    return Prepared(
        contract=contract,
        reference=TorchReference(model, contract, source.spec),
        reference_name="PyTorch",
        reference_engine=None,
        classes=head.classes,
        input_name=INPUT_NAME,
        output_name="probabilities" if head.one_column else "logits",
        model=model,
        weights_sha256=weights_digest(dict(state)),
        notes=(*notes, *told),
        binary=head.one_column is not None,
        evidence=of_operator(head.operator),
        facts={} if output is None else {"output": output},
        statistics=None if isinstance(source.model, ExportedProgram) else partial(module_statistics, source.model),
    )


def _contract(source: Source, flags: ContractFlags) -> tuple[InputContract, tuple[str, ...]]:
    """Return the contract, and a note where flags replace a recorded preprocessing that has none."""
    if source.contract_error is None:
        return flags.apply(source.contract), ()
    try:
        contract = flags.apply(None)
    except InputError as error:
        raise source.contract_error from error
    return contract, (f"{source.contract_error.what} ({source.contract_error.got}): the flags' contract is taken.",)


def _of_onnx(found: OnnxModel) -> Prepared:
    return Prepared(
        contract=found.contract,
        reference=found.reference,
        reference_name="ONNX Runtime",
        reference_engine=None if found.changed else "onnxruntime",
        classes=found.head.classes,
        input_name=found.input_name,
        output_name=found.output_name,
        model=found.model,
        weights_sha256=found.weights_sha256,
        notes=found.notes,
        precision=found.precision,
        labels=found.labels,
        binary=found.head.one_column is not None,
        evidence=found.evidence,
        statistics=found.statistics,
    )


def _program_input(program: ExportedProgram, spec: str) -> tuple[tuple[int | None, ...], str]:
    """Return shape and dtype of an exported program's only input; dynamic dimensions are None."""
    wanted = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in wanted]
    if len(values) != 1:
        raise InputError(f"{spec}: not a classifier", got=f"{len(values)} inputs", expected="one input")
    shape = tuple(n if isinstance(n, int) else None for n in values[0].shape)
    return shape, str(values[0].dtype).removeprefix("torch.")


def _bounded_by(
    contract: InputContract, flags: ContractFlags, spec: str, shape: tuple[int | None, ...], dtype: str
) -> tuple[InputContract, tuple[str, ...]]:
    """Return the contract within the bounds of a finished graph."""
    if shape[1:] != contract.tensor_shape()[1:] or dtype != contract.dtype:
        raise InputError(
            f"{spec}: the contract's tensor does not fit its input",
            got=f"{contract.dtype} (N, {', '.join(map(str, contract.tensor_shape()[1:]))})",
            expected=f"{dtype} ({', '.join('N' if n is None else str(n) for n in shape)})",
            fix=_fix_of_input(contract, shape),
        )
    fixed = shape[0]
    if fixed is None:
        return contract, ()
    if fixed != 1 or (flags.batch is not None and flags.batch.max > 1):
        raise InputError(
            f"{spec}: the batch is fixed",
            got=f"{fixed} frames",
            expected="a dynamic batch, or 1",
            fix="export it with a dynamic batch",
        )
    note = f"{spec}: the batch is fixed at 1; batching is not possible with this bundle."
    return replace(contract, batch=BatchBounds(1, 1, 1)), (note,)


def _fix_of_input(contract: InputContract, shape: tuple[int | None, ...]) -> str:
    channels = shape[1 if contract.layout == "NCHW" else 3] if len(shape) == 4 else None
    if channels is None or channels == contract.channels or not 1 <= channels <= MAX_CHANNELS:
        return "set --input-size, --color and --layout to the model's"
    return f"--channels {channels}, with --mean and --std of one value per channel or one for all"


def _classifier(
    source: Source, contract: InputContract, output: str | None
) -> tuple[nn.Module | ExportedProgram, Head, tuple[str, ...]]:
    """Run the model; where its first convolution takes other channels than the contract has, say that."""
    if isinstance(source.model, OnnxFile):
        raise TypeError(f"{source.spec}: an ONNX file has no PyTorch model")
    try:
        return classifier_of(source.model, contract, source.spec, output)
    except InputError as error:
        modules = source.model.modules() if isinstance(source.model, nn.Module) else iter(())
        first = next((module.in_channels for module in modules if isinstance(module, nn.Conv2d)), contract.channels)
        if first == contract.channels or first > MAX_CHANNELS:
            raise
        raise InputError(
            f"{source.spec}: its first convolution takes {first} channels",
            got=f"a contract of {contract.channels}: {contract.summary()}",
            expected=f"{first} channels",
            fix=f"--channels {first}, with --mean and --std of one value per channel or one for all",
        ) from error
