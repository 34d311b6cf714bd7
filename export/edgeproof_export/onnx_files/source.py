"""Prepare an ONNX file as MODEL: mend what engines cannot take, and compare with the file as given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, checker

from edgeproof_export import activation
from edgeproof_export.contract_checks import Statistics, graph_statistics
from edgeproof_export.contracts import ContractFlags
from edgeproof_export.foreign_errors import first_line
from edgeproof_export.heads import Head, OneColumn, find_head
from edgeproof_export.labels import Labels
from edgeproof_export.numbers import require_numbers
from edgeproof_export.onnx_files.file import finish_model
from edgeproof_export.onnx_files.inputs import ImageInput, fit_input, read_input
from edgeproof_export.onnx_files.mend import (
    FILLING_OPSET,
    fill_batch,
    mend_versions,
    nan_weights,
    open_batch,
    require_inference_mode,
)
from edgeproof_export.onnx_files.nodes import Graph, copied, nodes_of, opset_of, prune
from edgeproof_export.onnx_files.outputs import scores_before_labels
from edgeproof_export.onnx_files.reading import OnnxFile
from edgeproof_export.onnx_files.stored_labels import stored_labels
from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.manifest import MODEL_FILES, Activation, Precision
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.errors import EngineFaultError, InputError
from edgeproof_runtime.metrics.parity import BOUNDS

__all__ = ["OnnxModel", "precision_of", "prepare_onnx"]

_MOST_AT_ONCE = 64
# Batches that show whether a graph takes any number of images.
_TRIED = (1, 2, 3)
_INT8 = (
    "QuantizeLinear",
    "DynamicQuantizeLinear",
    "ConvInteger",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
)

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """An ONNX file, ready for the gates.

    Attributes:
        model: the model with one input, one output of class scores, and an open batch where possible.
        contract: complete input contract.
        head: how its outputs become class scores.
        precision: precision of its arithmetic.
        reference: function from a batch to class scores ``N x C``, computed by the file as given.
        changed: whether ``model`` computes differently from the file as given, so that ONNX Runtime is gated as well.
        input_name, output_name: names of the ONNX values.
        labels: labels that the graph holds; None without.
        evidence: activation that the graph tells; None if it tells none.
        weights_sha256: sha256 of the file.
        statistics: function from inputs for the gate's images to what the first BatchNormalization sees.
        notes: notes for the report.
    """

    model: onnx.ModelProto
    contract: InputContract
    head: Head
    precision: Precision
    reference: Callable[[Array], Array]
    changed: bool
    input_name: str
    output_name: str
    labels: Labels | None
    evidence: activation.Evidence | None
    weights_sha256: str
    statistics: Callable[[Array], Statistics | None]
    notes: tuple[str, ...]


def prepare_onnx(
    file: OnnxFile,
    own: InputContract | None,
    flags: ContractFlags,
    folder: Path,
    *,
    output: str | None = None,
    given: Activation | None = None,
) -> OnnxModel:
    """Prepare an ONNX file for the gates.

    Args:
        file: the file.
        own: contract in its metadata, or None.
        flags: flags for the input contract.
        folder: folder of the bundle being written; receives an ONNX file.
        output: value of ``--output``.
        given: value of ``--activation``.

    Raises:
        InputError: the file cannot be used, or the contract does not fit it.
    """
    spec, loaded = str(file.path), file.model
    require_inference_mode(loaded, spec)
    model, notes = mend_versions(loaded, spec)
    model, names, told = scores_before_labels(model)
    found = read_input(model, spec)
    contract, chosen = _contract(own, flags, found)
    batch, fitted = fit_input(model, found, contract, flags, spec)
    notes += [*told, *chosen, *fitted]
    try:
        checker.check_model(model)
    except Exception as error:  # the checker raises errors without a common base
        raise InputError(f"{spec}: not a valid ONNX model", got=first_line(error)) from error
    require_numbers(nan_weights(model), spec)
    precision = precision_of(model)
    outputs = [value.name for value in model.graph.output if value.type.HasField("tensor_type")]
    if not outputs:
        raise InputError(
            f"{spec}: not a classifier",
            got="no output that is a tensor",
            expected="an output (N, classes) of a float type",
            fix="export the model with its class scores as output",
        )
    work = _Workbench(folder / MODEL_FILES[precision], contract, precision, found.name, spec)
    as_given = work.runner(model, outputs, batch)
    as_given, fixed = _settle_batch(work, model, outputs, as_given, batch)
    count = fixed or 2
    evidence = {name: activation.of_graph(model, name) for name in outputs}

    def one_column(name: str, values: Array) -> OneColumn:
        applied = given or (evidence[name] or activation.of_values(list(values))).activation
        return "logit" if applied == "none" else "probability"

    head = find_head(
        spec,
        outputs,
        as_given(work.probe(count)),
        count,
        wanted=output,
        one_column=one_column,
        computed_from=Graph(model.graph).computed_from,
    )
    notes += head.notes
    kept = copied(model)
    del kept.graph.output[:]
    kept.graph.output.extend(value for value in model.graph.output if value.name == head.output)
    prune(kept)
    bounds, opened, more = _open(work, kept, head, as_given, fixed, flags)
    notes += more
    final = head.write(opened) if head.changes else opened
    if names is None or len(names) != head.classes:
        stored = stored_labels(loaded, head.classes)
        names = None if stored is None else stored[0]
        notes += [] if stored is None else [f"Labels: those in the file's metadata, key {stored[1]}."]

    def reference(batch: Array) -> Array:
        return head.scores(as_given(batch))

    def statistics(batch: Array) -> Statistics | None:
        return graph_statistics(kept, lambda cut, name: work.runner(cut, [name], fixed)(batch)[0])

    return OnnxModel(
        model=final,
        contract=replace(contract, batch=bounds or contract.batch),
        head=head,
        precision=precision,
        reference=reference,
        changed=head.changes or opened is not kept,
        input_name=found.name,
        output_name=final.graph.output[0].name,
        labels=None if names is None else Labels(names),
        evidence=evidence[head.output],
        weights_sha256=file.sha256,
        statistics=statistics,
        notes=tuple(notes),
    )


def precision_of(model: onnx.ModelProto) -> Precision:
    """Return ``int8`` for a quantised model, else ``fp32``."""
    return "int8" if any(node.op_type in _INT8 for node in nodes_of(model.graph)) else "fp32"


def _contract(own: InputContract | None, flags: ContractFlags, found: ImageInput) -> tuple[InputContract, list[str]]:
    """Complete the contract with what the graph leaves no choice about."""
    notes = []
    if own is None:
        facts: dict[str, object] = {}
        layout = found.layout()
        if flags.dtype is None and found.dtype != "float32":
            facts["dtype"] = found.dtype
        if flags.layout is None and layout == "NHWC":
            facts["layout"] = layout
        if flags.color is None and layout is not None and found.dims[1 if layout == "NCHW" else 3] == 1:
            facts["color"] = "gray"
        if facts:
            told = ", ".join(f"{name} {value}" for name, value in facts.items())
            notes.append(f"Input {found.name} {found.shown}: the contract takes {told} from it.")
        flags = replace(flags, **facts)  # type: ignore[arg-type]  # values of these fields
    contract = flags.apply(own)
    if contract.batch.min != 1:
        raise InputError(
            "--batch: the minimum must be 1", got=f"batch {contract.batch.min}", expected="--batch 1,OPT,MAX"
        )
    return contract, notes


Runner = Callable[[Array], list[Array]]


@dataclass(frozen=True, slots=True)
class _Workbench:
    """Runs variants of a model in ONNX Runtime on probe images.

    Attributes:
        path: file to write; the session has read it when a runner is returned.
        contract: contract of the tensors.
        precision, input_name, spec: for the artifact and messages.
    """

    path: Path
    contract: InputContract
    precision: Precision
    input_name: str
    spec: str

    def runner(self, model: onnx.ModelProto, outputs: Sequence[str], fixed: int | None) -> Runner:
        """Return a function from any number of images to the outputs; a fixed batch is filled up with the last image.

        Raises:
            InputError: ONNX Runtime cannot load the model.
        """
        finish_model(copied(model), self.path, {})
        artifact = ModelArtifact(
            path=self.path,
            precision=self.precision,
            input=TensorSpec(self.input_name, self.contract.tensor_shape()[1:], self.contract.dtype),
            outputs=tuple(TensorSpec(name, ()) for name in outputs),
            max_batch=max(_MOST_AT_ONCE, self.contract.batch.max, fixed or 1),
        )
        try:
            engine = engines.load("onnxruntime", artifact)
        except EngineFaultError as error:
            raise InputError(
                f"{self.spec}: {error.what}",
                expected="a model that ONNX Runtime, the reference, can load",
                fix="pip install --upgrade onnxruntime, or export the model again",
            ) from error
        except InputError as error:
            reason = str(error.got).replace(str(self.path), self.spec).splitlines()
            raise InputError(
                f"{self.spec}: ONNX Runtime, the reference, cannot load it",
                got=reason[0] if reason else error.what,
                fix="pip install --upgrade onnxruntime, or export the model with operators that it has",
            ) from error
        return lambda batch: self._run(engine, batch, fixed)

    def _run(self, engine: Engine, batch: Array, fixed: int | None) -> list[Array]:
        size = fixed or len(batch)
        parts = []
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            missing = size - len(part)
            full = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            try:
                answers = engine.run(np.ascontiguousarray(full))
            except InputError as error:
                raise InputError(
                    f"{self.spec}: fails on the contract's tensor",
                    got=next(iter(str(error.got).splitlines()), error.what),
                    expected=f"a model for inputs {batch.dtype} {batch.shape}",
                    fix="check size, colour and layout: " + self.contract.summary(),
                ) from error
            parts.append([_rows(answer, len(part), missing) for answer in answers])
        return parts[0] if len(parts) == 1 else [np.concatenate(part) for part in zip(*parts, strict=True)]

    def probe(self, count: int) -> Array:
        """Return random images as the contract normalises them, the same each time."""
        contract = self.contract
        pixels = np.random.default_rng(0).integers(0, 256, (count, *contract.tensor_size, contract.channels))
        values = pixels
        if contract.dtype != "uint8":
            values = (pixels / contract.scale - np.array(contract.mean)) / np.array(contract.std)
        ordered = values if contract.layout == "NHWC" else values.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(ordered, np.dtype(contract.dtype))


def _rows(answer: Array, wanted: int, missing: int) -> Array:
    """Drop the answers to images that only filled up a batch."""
    return answer[:wanted] if missing and answer.ndim and len(answer) == wanted + missing else answer


def _settle_batch(
    work: _Workbench, model: onnx.ModelProto, outputs: Sequence[str], runner: Runner, fixed: int | None
) -> tuple[Runner, int | None]:
    """Return a runner that works, and the fixed batch: 1 if an open one is only declared."""
    if fixed is not None:
        return runner, fixed
    try:
        answers = runner(work.probe(2))
    except InputError:
        alone = work.runner(model, outputs, 1)
        alone(work.probe(1))  # raises if that fails as well
        return alone, 1
    if any(answer.ndim and len(answer) == 2 for answer in answers):
        return runner, None
    return work.runner(model, outputs, 1), 1


def _open(
    work: _Workbench, model: onnx.ModelProto, head: Head, as_given: Runner, fixed: int | None, flags: ContractFlags
) -> tuple[BatchBounds | None, onnx.ModelProto, list[str]]:
    """Open a fixed batch, if the result is the same for every batch tried; else fill it up in the graph.

    Returns:
        Bounds if the batch stays fixed or bounded, the model, and notes for the report.

    Raises:
        InputError: the batch is fixed and the graph can be neither opened nor filled up, or not to ``--batch``.
    """
    if fixed is None:
        return None, model, []
    if fixed == 1 and flags.batch is not None and flags.batch.max == 1:
        return BatchBounds(1, 1, 1), model, []
    # The same kernels on the same images: int8 and float16 round sums that batches may order differently.
    rounds = work.precision == "int8" or any(
        tensor.data_type == TensorProto.FLOAT16 for tensor in model.graph.initializer
    )
    bound = BOUNDS["fp16" if rounds else "fp32"].relative_diff
    probe = work.probe(max(_TRIED) + fixed)
    expected = head.scores(as_given(probe))

    def difference(changed: onnx.ModelProto, sizes: Sequence[int]) -> str | None:
        try:
            run = work.runner(changed, [head.output], None)
            same = all(
                _equal(expected[:n], replace(head, index=0).scores(run(probe[:n])), bound) for n in dict.fromkeys(sizes)
            )
        except InputError as error:
            return str(error.got)
        return None if same else "the outputs differ"

    opened = open_batch(model, fixed)
    reason = difference(opened, [*_TRIED, fixed])
    if reason is None:
        note = f"The batch of {fixed} was opened: outputs are the same for batches of 1, 2, 3 and {fixed}."
        return None, opened, [note.replace("3 and 1", "3").replace("1, 2, 3", "1, 2 and 3") if fixed == 1 else note]
    if fixed == 1 and (flags.batch is None or flags.batch.max == 1):
        note = f"{work.spec}: the batch is fixed at 1; batching is not possible with this bundle."
        return BatchBounds(1, 1, 1), model, [note]
    if fixed > 1 and opset_of(model) >= FILLING_OPSET and (flags.batch is None or flags.batch.max <= fixed):
        filled = fill_batch(model, fixed, head.output)
        reason = difference(filled, [n for n in (*_TRIED, fixed) if n <= fixed])
        if reason is None:
            note = (
                f"{work.spec}: the batch is fixed at {fixed}. The bundle's graph repeats fewer images until it has "
                f"{fixed}, so one image takes the time of {fixed}; a dynamic batch avoids this."
            )
            return flags.batch or BatchBounds(1, 1, fixed), filled, [note]
    most = f" or --batch 1,1,{fixed}" if fixed > 1 and flags.batch is not None and flags.batch.max > fixed else ""
    raise InputError(
        f"{work.spec}: the batch is fixed",
        got=f"{fixed} image{'s' if fixed > 1 else ''}, and the graph does not work with others: {reason}",
        expected="a dynamic batch, or 1",
        fix="export it with a dynamic batch (dynamic_axes, dynamic_shapes)"
        + (most or (", or leave --batch out" if fixed == 1 else ", or with a batch of 1")),
    )


def _equal(expected: Array, found: Array, bound: float) -> bool:
    if found.shape != expected.shape or not np.isfinite(found.astype(np.float64)).all():
        return False
    wide, other = expected.astype(np.float64), found.astype(np.float64)
    scale = float(np.abs(wide).max()) or 1.0
    return float(np.abs(wide - other).max()) / scale <= bound
