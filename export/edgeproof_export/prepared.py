"""A resolved model with a complete contract, ready to run batches and to convert to ONNX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.export import ExportedProgram

from edgeproof_export.contracts import ContractFlags
from edgeproof_export.models import Source
from edgeproof_export.onnx_file import finish_model, load_model, read_signature
from edgeproof_export.to_onnx import INPUT_NAME, TorchReference
from edgeproof_export.weights import weights_digest
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.manifest import MODEL_FILES
from edgeproof_runtime.bundle.reader import sha256_of
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


def prepare(source: Source, flags: ContractFlags, folder: Path) -> Prepared:
    """Complete the contract, and run the model once on its tensor.

    Args:
        source: result of `edgeproof_export.models.resolve`.
        flags: flags for the input contract.
        folder: folder of the bundle being written; receives an ONNX file.

    Raises:
        InputError: the contract is incomplete, or the model fails on its tensor.
    """
    contract = flags.apply(source.contract)
    if contract.batch.min != 1:
        raise InputError(
            "--batch: the minimum must be 1", got=f"batch {contract.batch.min}", expected="--batch 1,OPT,MAX"
        )
    if isinstance(source.model, Path):
        return _prepare_onnx(source.model, contract, flags, folder)
    notes: tuple[str, ...] = ()
    if isinstance(source.model, ExportedProgram):
        contract, notes = _bounded_by(contract, flags, source.spec, *_program_input(source.model, source.spec))
    # A property in exported programs, a method in modules.
    state = source.model.state_dict if isinstance(source.model, ExportedProgram) else source.model.state_dict()
    reference = TorchReference(source.model, contract, source.spec)
    return Prepared(
        contract=contract,
        reference=reference,
        reference_name="PyTorch",
        reference_engine=None,
        classes=_count_torch_classes(source, reference, contract),
        input_name=INPUT_NAME,
        output_name="logits",
        model=source.model,
        weights_sha256=weights_digest(dict(state)),
        notes=notes,
    )


def _prepare_onnx(path: Path, contract: InputContract, flags: ContractFlags, folder: Path) -> Prepared:
    model = load_model(path)
    signature = read_signature(model, str(path))
    contract, notes = _bounded_by(
        contract, flags, str(path), (signature.fixed_batch, *signature.input_shape), signature.input_dtype
    )
    # The engine needs a file: the user's may have external weights.
    copy = folder / MODEL_FILES["fp32"]
    finish_model(model, copy, {})
    artifact = ModelArtifact(
        path=copy,
        precision="fp32",
        input=TensorSpec(signature.input_name, contract.tensor_shape()[1:], contract.dtype),
        outputs=(TensorSpec(signature.output_name, ()),),
        max_batch=max(64, contract.batch.max),
    )
    engine = engines.load("onnxruntime", artifact)

    def reference(batch: NDArray[np.generic]) -> NDArray[np.generic]:
        return engine.run(np.ascontiguousarray(batch))[0]

    return Prepared(
        contract=contract,
        reference=reference,
        reference_name="ONNX Runtime",
        reference_engine="onnxruntime",
        classes=_count_classes(reference, contract, str(path)),
        input_name=signature.input_name,
        output_name=signature.output_name,
        model=model,
        weights_sha256=sha256_of(path),
        notes=notes,
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


def _count_torch_classes(source: Source, reference: Reference, contract: InputContract) -> int:
    """Count the classes; where the first convolution takes other channels than the contract has, say that."""
    try:
        return _count_classes(reference, contract, source.spec)
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


def _count_classes(reference: Reference, contract: InputContract, spec: str) -> int:
    count = min(2, contract.batch.max)
    answer = reference(np.zeros(contract.tensor_shape(count), np.dtype(contract.dtype)))
    if answer.ndim != 2 or len(answer) != count or answer.shape[1] < 2:
        raise InputError(
            f"{spec}: not a classifier",
            got=f"{answer.shape} for a batch of {count}",
            expected=f"({count}, 2 or more classes)",
        )
    return int(answer.shape[1])
