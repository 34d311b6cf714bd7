"""`export_bundle`: export a trained model into a bundle that has passed every gate.

The pipeline is independent of the task: the steps of each task are in `edgeproof_export.tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import onnx

from edgeproof_export.arithmetic import arithmetic_of
from edgeproof_export.bundle import add_evidence, new_bundle, seal
from edgeproof_export.contracts import ContractFlags, installed_resampler
from edgeproof_export.gate import ParityOutcome, gated_engines, require, required_engines, run_parity
from edgeproof_export.golden import preprocessing_gate, write_golden
from edgeproof_export.models import Source, resolve
from edgeproof_export.onnx_file import finish_model
from edgeproof_export.provenance import provenance_of
from edgeproof_export.tasks import steps_of
from edgeproof_export.tasks.record import ExportSteps, Measured, Request, TaskModel
from edgeproof_export.to_onnx import OPSET, to_onnx
from edgeproof_runtime.bundle.artifact import ModelArtifact, TensorSpec
from edgeproof_runtime.bundle.manifest import MODEL_FILES, Activation, GoldenEntry, Manifest
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.parity import BOUNDS
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.tasks.registry import task_named

__all__ = ["Exported", "Progress", "export_bundle"]

# Called with (phase, done, total); a phase is complete when done equals total.
Progress = Callable[[str, int, int], None]

_OTHER_PILLOW = (
    "The input tensors were not compared with torchvision's: the contract resamples like another version of Pillow "
    "than the installed one."
)
_HALF = (
    "The model computes in fp16 between its inputs and outputs: its engines are compared within the bounds of fp16 "
    f"(relative difference at most {BOUNDS['fp16'].relative_diff:g})."
)


@dataclass(frozen=True, slots=True)
class Exported:
    """Result of an export.

    Attributes:
        bundle: the opened bundle.
        report: its evidence, as in ``evidence/export.json``, with ``warnings``.
    """

    bundle: Bundle
    report: Report


def export_bundle(
    model: str,
    out: str | Path,
    *,
    weights: str | None = None,
    labels: Path | None = None,
    class_ids: Path | None = None,
    data: str | None = None,
    split: str | None = None,
    class_order: str | None = None,
    exif: bool = False,
    contract: ContractFlags | None = None,
    num_classes: int | None = None,
    activation: Activation | None = None,
    gate_images: int = 200,
    golden_images: int = 8,
    engines: str | Sequence[str] | None = None,
    opset: int = OPSET,
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Export a model into a bundle that has passed every gate.

    ONNX Runtime and every other CPU engine of this machine are compared with PyTorch on the same inputs, and the
    runtime's tensors with torchvision's. If a bound is missed on an engine that must pass, no bundle is written; other
    engines that fail are left out, and the bundle says why.

    Args:
        model: ``torchvision:NAME``, ``timm:NAME``, ``package.module:factory``, a checkpoint of `edgeproof train`, a
            ``.pt2`` or an ``.onnx`` file.
        out: the bundle to write, ``NAME.edge``.
        weights: a file; ``pretrained`` (or None) for the library's; ``random``, seeded.
        labels: file of labels; see `edgeproof_runtime.data.class_names.read_class_names`. None means the library's.
        class_ids: file of class folder names, in the same forms.
        data: images for the gates, in any form of `edgeproof_runtime.data.forms.registry`, or ``cifar10``; with labels
            PyTorch's accuracy is recorded as well. None takes scikit-image's photographs.
        split: split of the dataset; None means ``test``, else ``val``.
        class_order: ``text`` or ``natural`` order of the dataset's class names; None means by name, or measured.
        exif: turn images by their EXIF orientation.
        contract: fields that replace those of the model's input contract.
        num_classes: number of classes of a torchvision or timm model; None means the library's.
        activation: what the model's last layer is; None tests whether its answers add up to 1.
        gate_images: most images for the parity gate, evenly spread over the dataset.
        golden_images: most golden cases.
        engines: engines that must pass, ``a,b`` or a list; None means ONNX Runtime.
        opset: ONNX opset version.
        force: replace an existing bundle.
        progress: called with (phase, done, total).

    Raises:
        InputError: the model, its weights, labels or data cannot be used, or ``out`` cannot be written.
        GateError: a gate failed.
        UnavailableError: ONNX Runtime or a named engine is not installed.
    """
    if activation is not None and activation not in get_args(Activation):
        raise InputError("--activation: unknown", got=activation, expected=", ".join(get_args(Activation)))
    if gate_images < 1 or golden_images < 1:
        raise InputError(
            "gate_images and golden_images: must be at least 1",
            got=f"{gate_images} and {golden_images}",
            expected="at least 1 each",
        )
    names = gated_engines()
    if "onnxruntime" not in names:
        raise UnavailableError(
            "export: requires ONNX Runtime for its gates, not installed", fix='pip install "edgeproof[export]"'
        )
    required = required_engines(engines)
    tell = progress or (lambda _phase, _done, _total: None)
    out = Path(out)
    with new_bundle(out, force=force) as folder:
        tell("loading the model", 0, 1)
        source = resolve(model, weights=weights, num_classes=num_classes)
        tell("loading the model", 1, 1)
        request = Request(
            folder=folder,
            data=data,
            options=DataOptions(split=split, class_ids=class_ids, class_order=class_order, exif=exif),
            gate_images=gate_images,
            golden_images=golden_images,
            labels=labels,
            contract=contract or ContractFlags(),
            activation=activation,
        )
        steps = steps_of(source.task)
        _require_options(steps, source, request)
        subject = steps.prepare(source, request)
        gates, parity = _convert(subject, steps, folder, opset, names, required, tell)
        measured = None
        if subject.measure is not None:
            phase = f"accuracy of {subject.reference_name}"
            measured = subject.measure(lambda done, total: tell(phase, done, total))
            gates += measured.gates
            require(gates, parity, subject.reference_name)
        entries = write_golden(folder, subject.cases, subject.golden_labels)
        _seal(folder, out.stem, source, steps, subject, entries, parity, opset)
        report = _report(Bundle.open(folder), source, subject, gates, parity, measured, opset)
        add_evidence(Bundle.open(folder), "export", report.to_json())
    return Exported(Bundle.open(out), report)


def _require_options(steps: ExportSteps, source: Source, request: Request) -> None:
    ids, order = request.options.class_ids, request.options.class_order
    given = {
        "labels": ("labels", request.labels is not None),
        "class_ids": ("class ids" if ids is not None else "a class order", ids is not None or order is not None),
        "activation": ("an activation", request.activation is not None),
        "contract": ("an input contract", request.contract != ContractFlags()),
    }
    wrong = [what for name, (what, is_given) in given.items() if is_given and name not in steps.options]
    if wrong:
        raise InputError(
            f"{source.spec}: some options do not apply to task {steps.task}",
            got=", ".join(wrong),
            expected="only the checkpoint, which records these",
            fix="leave them out",
        )


def _convert(
    subject: TaskModel,
    steps: ExportSteps,
    folder: Path,
    opset: int,
    names: Sequence[str],
    required: Sequence[str],
    tell: Progress,
) -> tuple[list[Gate], ParityOutcome]:
    """Write the ONNX file, compare every engine with the reference, and return the passed gates.

    Raises:
        GateError: a gate failed.
    """
    tell("exporting to ONNX", 0, 1)
    path = folder / MODEL_FILES["fp32"]
    model = subject.model
    if not isinstance(model, onnx.ModelProto):
        model = to_onnx(model, subject.input, [output.name for output in subject.outputs], opset=opset)
    finish_model(model, path, subject.metadata)
    tell("exporting to ONNX", 1, 1)
    artifact = ModelArtifact(
        path=path,
        precision="fp32",
        input=subject.input,
        outputs=tuple(TensorSpec(output.name, output.shape) for output in subject.outputs),
        max_batch=subject.max_batch,
        arithmetic=arithmetic_of(model),
    )
    parity = run_parity(
        artifact,
        subject.reference,
        subject.reference_name,
        [name for name in names if name != subject.reference_engine],
        subject.inputs,
        subject.total,
        lambda done, total: tell("comparing the engines", done, total),
        required=required,
        ranked=task_named(steps.task).ranked,
    )
    tensors = None if subject.contract is None else preprocessing_gate(subject.cases, subject.contract)
    gates = [*([tensors] if tensors is not None else []), *parity.gates]
    require(gates, parity, subject.reference_name)
    return gates, parity


def _seal(
    folder: Path,
    name: str,
    source: Source,
    steps: ExportSteps,
    subject: TaskModel,
    golden: tuple[GoldenEntry, ...],
    parity: ParityOutcome,
    opset: int,
) -> None:
    provenance = provenance_of(source, subject.weights_sha256, subject.reference_name, _opset(subject.model, opset))
    provenance |= parity.provenance()
    fields = {"labels": None, "class_ids": None, **subject.manifest}
    seal(
        folder,
        lambda files: Manifest(
            name=name,
            task=steps.task,
            contract=subject.contract,
            input_name=subject.input.name,
            outputs=subject.outputs,
            provenance=provenance,
            models={"fp32": MODEL_FILES["fp32"]},
            golden=golden,
            files=files,
            **fields,
        ),
    )


def _opset(model: object, asked: int) -> int:
    """Return the requested opset, or an ONNX file's own, which is kept."""
    if not isinstance(model, onnx.ModelProto):
        return asked
    return int(max(item.version for item in model.opset_import if item.domain in ("", "ai.onnx")))


def _report(
    bundle: Bundle,
    source: Source,
    subject: TaskModel,
    gates: Sequence[Gate],
    parity: ParityOutcome,
    measured: Measured | None,
    opset: int,
) -> Report:
    host = host_facts()
    skipped = [] if subject.images is None else subject.images.skipped
    unchecked = subject.contract is not None and subject.contract.resampler != installed_resampler()
    return Report(
        kind="export",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings={
            "model": source.spec,
            "weights": source.weights,
            "data": subject.data,
            "reference": subject.reference_name,
            **subject.settings,
            **({} if subject.images is None or subject.images.split is None else {"split": subject.images.split}),
            "opset": opset,
        },
        counts={
            "golden_cases": len(subject.cases),
            "gate_pictures": parity.pictures,
            **({} if subject.images is None else {"frames_failed": len(skipped)}),
            **({} if measured is None else measured.counts),
        },
        gates=gates,
        engines=parity.engines,
        samples=subject.samples(bundle),
        warnings=[
            *source.notes,
            *subject.notes,
            *([] if subject.images is None else subject.images.notes),
            *(() if measured is None else measured.notes),
            *([_OTHER_PILLOW] if unchecked else []),
            *([_HALF] if parity.arithmetic == "fp16" else []),
            *parity.notes,
            *(f"Skipped {item.name}: {item.reason}." for item in skipped),
            *host_warnings(host),
        ],
        sections={} if measured is None else measured.sections,
    )
