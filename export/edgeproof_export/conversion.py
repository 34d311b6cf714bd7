"""Convert the model by one route after the other, until the graph of one passes every gate."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from torch import Tensor, nn

from edgeproof_export.arithmetic import arithmetic_of
from edgeproof_export.contract_checks import range_notes
from edgeproof_export.gate import ParityOutcome, require, run_parity
from edgeproof_export.golden import preprocessing_gate
from edgeproof_export.onnx_files.file import finish_model, require_size
from edgeproof_export.onnx_files.mend import mend_resizes
from edgeproof_export.pytorch.quantised import fake_quantisers
from edgeproof_export.pytorch.static_program import NotStaticError
from edgeproof_export.pytorch.to_onnx import ConversionError, Exporter, Job, Route, routes_of
from edgeproof_export.tasks.record import TaskModel
from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.manifest import MODEL_FILES
from edgeproof_runtime.errors import EdgeproofError, GateError, InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.registry import task_named

__all__ = ["Converted", "Progress", "convert"]

_LONGEST = 120  # characters of a reason in a note

# Called with (phase, done, total); a phase is complete when done equals total.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted model that passed every gate.

    Attributes:
        gates: the passed gates.
        parity: outcome of the parity gate.
        exporter: name of the route; None for an ONNX file.
        notes: notes for the report.
    """

    gates: tuple[Gate, ...]
    parity: ParityOutcome
    exporter: str | None
    notes: tuple[str, ...] = ()


def convert(
    subject: TaskModel,
    task: str,
    folder: Path,
    opset: int,
    names: Sequence[str],
    *,
    required: Sequence[str],
    exporter: Exporter,
    tell: Progress,
) -> Converted:
    """Write the ONNX file, and compare every engine with the reference.

    Where a route fails, or the parity gate finds its graph wrong, the next one is tried.

    Args:
        subject: the model.
        task: name of its task.
        folder: folder of the bundle being written.
        opset: ONNX opset version.
        names: engines to compare.
        required: engines that must pass.
        exporter: which routes to try.
        tell: called with (phase, done, total).

    Raises:
        InputError: no route can convert the model.
        GateError: a gate failed.
    """
    tensors = None if subject.contract is None else preprocessing_gate(subject.cases, subject.contract)
    ranked = task_named(task).ranked

    def gated(model: onnx.ModelProto, subject: TaskModel = subject) -> tuple[list[Gate], ParityOutcome]:
        path = folder / MODEL_FILES[subject.precision]
        model = mend_resizes(model if subject.adapt is None else subject.adapt(model))
        finish_model(model, path, subject.metadata)
        tell("exporting to ONNX", 1, 1)
        parity = run_parity(
            _artifact(subject, path, model),
            subject.reference,
            subject.reference_name,
            [name for name in names if name != subject.reference_engine],
            subject.inputs,
            subject.total,
            lambda done, total: tell("comparing the engines", done, total),
            required=required,
            ranked=ranked,
        )
        if subject.contract is not None:
            parity = replace(parity, notes=(*range_notes(model, subject.contract), *parity.notes))
        return [*([tensors] if tensors is not None else []), *parity.gates], parity

    tell("exporting to ONNX", 0, 1)
    if isinstance(subject.model, onnx.ModelProto):
        gates, parity = gated(subject.model)
        require(gates, parity, subject.reference_name)
        return Converted(tuple(gates), parity, None)
    # A property in exported programs, a method in modules.
    state = subject.model.state_dict() if isinstance(subject.model, nn.Module) else subject.model.state_dict
    require_size(sum(tensor.nbytes for tensor in state.values() if isinstance(tensor, Tensor)))
    failed: list[tuple[Route, EdgeproofError]] = []
    for route in routes_of(subject.model, exporter):
        tell("exporting to ONNX", 0, 1)
        try:
            model, notes = route.run(_job(subject, opset))
            gates, parity = gated(model)
            _require_others(gates, parity, subject.reference_name)
            require(gates, parity, subject.reference_name)
        except NotStaticError:
            continue
        except _ReferenceError as error:
            raise error.error from None
        except (InputError, GateError) as error:
            failed.append((route, error))
            if isinstance(error, ConversionError) and error.final:
                break
            continue
        return Converted(tuple(gates), parity, route.name, (*_told(failed, route), *notes))
    raise _failure(subject, failed, opset, exporter, gated)


class _ReferenceError(Exception):
    """A gate failed that no other exporter can pass."""

    def __init__(self, error: GateError) -> None:
        self.error = error
        super().__init__(str(error))


def _require_others(gates: Sequence[Gate], parity: ParityOutcome, reference_name: str) -> None:
    others = [gate for gate in gates if not gate.name.startswith("parity ")]
    if all(gate.passed for gate in others):
        return
    try:
        require(gates, parity, reference_name)
    except GateError as error:
        raise _ReferenceError(error) from None


def _told(failed: Sequence[tuple[Route, EdgeproofError]], passed: Route) -> Iterator[str]:
    """Yield a note per reason for which exporters failed."""
    reasons = dict.fromkeys(_short(error) for _, error in failed)
    for reason in reasons:
        names = "; ".join(route.name for route, error in failed if _short(error) == reason)
        yield f"Exporter {names}: {reason}. Exporter {passed.name} passed."


def _failure(
    subject: TaskModel,
    failed: Sequence[tuple[Route, EdgeproofError]],
    opset: int,
    exporter: Exporter,
    gated: Callable[[onnx.ModelProto, TaskModel], tuple[list[Gate], ParityOutcome]],
) -> EdgeproofError:
    """Return the error that tells most: of a graph that was compared, else of the first exporter."""
    final = next((error for _, error in failed if isinstance(error, ConversionError) and error.final), None)
    compared = next((error for _, error in failed if isinstance(error, GateError) and error.expected), None)
    chosen = final or compared or failed[0][1]
    if isinstance(subject.model, nn.Module) and fake_quantisers(subject.model):
        fix = (
            "export the model as it was before prepare_qat, with its trained weights, then edgeproof optimize BUNDLE "
            "--data DATA"
        )
    elif final is None and subject.max_batch > 1 and _single_passes(subject, opset, exporter, gated):
        fix = "--batch 1,1,1: for single images this model passes the gates"
    else:
        fix = chosen.fix or ""
        if exporter != "auto" and final is None:
            fix = f"leave --exporter {exporter} out, so that others are tried; or {fix}"
    others = [f"{route.name}: {_short(error)}" for route, error in failed if error is not chosen]
    got = f"{chosen.got}" + (f" (exporter {'; '.join(others)})" if others and final is None else "")
    if isinstance(chosen, GateError):
        return GateError(chosen.what, got=got, expected=chosen.expected, fix=fix)
    return InputError(chosen.what, got=got, expected=chosen.expected, fix=fix)


def _single_passes(
    subject: TaskModel,
    opset: int,
    exporter: Exporter,
    gated: Callable[[onnx.ModelProto, TaskModel], tuple[list[Gate], ParityOutcome]],
) -> bool:
    """Return whether a graph for single images passes the gates on the first images."""
    alone = replace(
        subject,
        max_batch=1,
        inputs=[(list(names[:4]), tensors[:4]) for names, tensors in itertools.islice(subject.inputs, 1)],
        total=4,
    )
    for route in routes_of(subject.model, exporter):
        try:
            gates, _ = gated(route.run(_job(alone, opset))[0], alone)
        except (EdgeproofError, NotStaticError):
            continue
        if all(gate.passed for gate in gates):
            return True
    return False


def _job(subject: TaskModel, opset: int) -> Job:
    return Job(
        model=subject.model,
        input=subject.input,
        outputs=[output.name for output in subject.outputs],
        opset=opset,
        single=subject.max_batch == 1,
        image=subject.cases[0].tensor,
    )


def _artifact(subject: TaskModel, path: Path, model: onnx.ModelProto) -> ModelArtifact:
    return ModelArtifact(
        path=path,
        precision=subject.precision,
        input=subject.input,
        outputs=tuple(TensorSpec(output.name, output.shape) for output in subject.outputs),
        max_batch=subject.max_batch,
        arithmetic=arithmetic_of(model) if subject.precision == "fp32" else None,
    )


def _short(error: EdgeproofError) -> str:
    what = error.what.removeprefix("model: ").removeprefix("export: ").removesuffix("; no bundle was written")
    reason = (error.got or "").partition("\n")[0]
    return f"{what} ({reason if len(reason) <= _LONGEST else reason[: _LONGEST - 3] + '...'})" if reason else what
