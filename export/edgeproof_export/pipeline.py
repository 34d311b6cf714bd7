"""`export_bundle`: export a trained model into a bundle that has passed every gate.

The pipeline is independent of the task: the steps of each task are in `edgeproof_export.tasks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import onnx
from torch import nn

from edgeproof_export.attach import add_evidence
from edgeproof_export.bundle import new_bundle, seal
from edgeproof_export.contracts import ContractFlags, installed_resampler
from edgeproof_export.conversion import Converted, Progress, convert
from edgeproof_export.gate import gated_engines, require, required_engines
from edgeproof_export.golden import write_golden
from edgeproof_export.models import Source, resolve
from edgeproof_export.provenance import provenance_of
from edgeproof_export.pytorch.in_memory import module_source
from edgeproof_export.pytorch.to_onnx import OPSET, check_exporter
from edgeproof_export.tasks import FOREIGN_TASKS, steps_of
from edgeproof_export.tasks.record import ExportSteps, Measured, Request, TaskModel
from edgeproof_runtime.bundle.manifest import MODEL_FILES, Activation, GoldenEntry, Manifest
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.metrics.parity import BOUNDS
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.host import host_warnings

__all__ = ["Exported", "Progress", "export_bundle"]

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


@bounded
def export_bundle(
    model: str | nn.Module,
    out: str | Path,
    *,
    transform: Any = None,
    weights: str | None = None,
    ema: bool | None = None,
    trust: bool = False,
    labels: str | Path | Sequence[str] | None = None,
    class_ids: Path | None = None,
    data: str | Path | None = None,
    split: str | None = None,
    class_order: str | None = None,
    exif: bool = False,
    contract: ContractFlags | None = None,
    num_classes: int | None = None,
    activation: Activation | None = None,
    output: str | None = None,
    task: str | None = None,
    gate_images: int = 200,
    golden_images: int = 8,
    engines: str | Sequence[str] | None = None,
    opset: int = OPSET,
    exporter: str = "auto",
    force: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Export a model into a bundle that has passed every gate.

    ONNX Runtime and every other CPU engine of this machine are compared with PyTorch on the same inputs, and the
    runtime's tensors with torchvision's. If a bound is missed on an engine that must pass, no bundle is written; other
    engines that fail are left out, and the bundle says why.

    Args:
        model: ``torchvision:NAME``, ``timm:NAME``, ``hf:FOLDER``, ``anomalib:CKPT``, ``package.module:factory``, a
            checkpoint of `edgeproof train`, a ``.pt2``, ``.onnx`` or TorchScript file; or a module in memory, which is
            copied and may go on training.
        out: the bundle to write, ``NAME.edge``.
        transform: evaluation transform of a module in memory: a ``Compose`` of torchvision (v1 or v2) or timm, a preset
            (``Weights.transforms()``), timm's data configuration, an image processor of transformers, or an
            `InputContract`. It becomes the input contract exactly, or is refused by the step that has none.
        weights: a file; ``pretrained`` (or None) for the library's; ``random``, seeded.
        ema: True for the averaged (EMA) weights of the file, False for the others, None for averaged ones if any.
        trust: load a model file that holds code, which may then run.
        labels: names of the classes in their order, or a file of them; see
            `edgeproof_runtime.data.class_names.read_class_names`. None means the library's.
        class_ids: file of class folder names, in the same forms.
        data: images for the gates, in any form of `edgeproof_runtime.data.forms.registry`, or ``cifar10``; with labels
            PyTorch's accuracy is recorded as well. None takes scikit-image's photographs.
        split: split of the dataset; None means ``test``, else ``val``.
        class_order: ``text`` or ``natural`` order of the dataset's class names; None means by name, or measured.
        exif: turn images by their EXIF orientation.
        contract: fields that replace those of the model's input contract.
        num_classes: number of classes of a torchvision or timm model; None means the library's.
        activation: activation of the model's output; None finds it by the graph or the values.
        output: output with the class scores of a model with several; None takes the one that is clearly it.
        task: ``classify`` or ``multilabel`` for models that do not record their task; None means ``classify``.
        gate_images: most images for the parity gate, evenly spread over the dataset.
        golden_images: most golden cases.
        engines: engines that must pass, ``a,b`` or a list; None means ONNX Runtime.
        opset: ONNX opset version.
        exporter: ``dynamo`` or ``torchscript`` for one of PyTorch's exporters; ``auto`` tries others if one fails, or
            if the gate finds its graph wrong.
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
        flags = contract or ContractFlags()
        channels = flags.wanted_channels
        if isinstance(model, str):
            if transform is not None:
                raise InputError("transform: requires a module in memory", got=model, fix="give ContractFlags instead")
            source = resolve(model, weights=weights, num_classes=num_classes, channels=channels, ema=ema, trust=trust)
        else:
            _forbid_options_of_names(weights=weights, ema=ema, num_classes=num_classes)
            source = module_source(model, transform, flags)
        tell("loading the model", 1, 1)
        request = Request(
            folder=folder,
            data=None if data is None else str(data),
            options=DataOptions(split=split, class_ids=class_ids, class_order=class_order, exif=exif),
            gate_images=gate_images,
            golden_images=golden_images,
            labels=tuple(labels) if labels is not None and not isinstance(labels, str | Path) else labels,
            contract=flags,
            activation=activation,
            output=output,
        )
        steps = _steps(source, task)
        _require_options(steps, source, request)
        subject = steps.prepare(source, request)
        converted = convert(
            subject,
            steps.task,
            folder,
            opset,
            names,
            required=required,
            exporter=check_exporter(exporter),
            tell=tell,
        )
        measured = None
        if subject.measure is not None:
            phase = f"accuracy of {subject.reference_name}"
            measured = subject.measure(lambda done, total: tell(phase, done, total))
            converted = replace(converted, gates=(*converted.gates, *measured.gates))
            require(converted.gates, converted.parity, subject.reference_name)
        entries = write_golden(folder, subject.cases, subject.golden_labels)
        _seal(folder, out.stem, source, steps, subject, entries, converted, opset)
        report = _report(Bundle.open(folder, trust=False), source, subject, converted, measured, opset)
        add_evidence(Bundle.open(folder, trust=False), "export", report.to_json())
    return Exported(Bundle.open(out, trust=False), report)


def _steps(source: Source, task: str | None) -> ExportSteps:
    """Return the export steps of the given task, or of the model's.

    Raises:
        InputError: the task is unknown, or the model records another.
    """
    own = source.task
    if task is None or task == own:
        return steps_of(own)
    if source.blueprint is not None or task not in FOREIGN_TASKS:
        raise InputError(
            "--task: does not fit the model",
            got=task,
            expected=own if source.blueprint is not None else " or ".join(FOREIGN_TASKS),
            fix="leave --task out" if source.blueprint is not None else None,
        )
    return steps_of(task)


def _forbid_options_of_names(**given: Any) -> None:
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise InputError(
            "model: a module in memory has its weights and classes", got=", ".join(wrong), fix="leave them out"
        )


def _require_options(steps: ExportSteps, source: Source, request: Request) -> None:
    ids, order = request.options.class_ids, request.options.class_order
    given = {
        "labels": ("labels", request.labels is not None),
        "class_ids": ("class ids" if ids is not None else "a class order", ids is not None or order is not None),
        "activation": ("an activation", request.activation is not None),
        "contract": ("an input contract", request.contract != ContractFlags()),
        "output": ("an output", request.output is not None),
    }
    own = source.blueprint is not None or steps.foreign_options is None
    options = steps.options if own else steps.foreign_options or ()
    wrong = [what for name, (what, is_given) in given.items() if is_given and name not in options]
    if wrong:
        raise InputError(
            f"{source.spec}: some options do not apply to task {steps.task}",
            got=", ".join(wrong),
            expected="only the checkpoint, which records these",
            fix="leave them out",
        )


def _seal(
    folder: Path,
    name: str,
    source: Source,
    steps: ExportSteps,
    subject: TaskModel,
    golden: tuple[GoldenEntry, ...],
    converted: Converted,
    opset: int,
) -> None:
    provenance = provenance_of(source, subject.weights_sha256, subject.reference_name, _opset(subject.model, opset))
    provenance |= {**converted.parity.provenance(), **subject.facts}
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
            models={subject.precision: MODEL_FILES[subject.precision]},
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
    converted: Converted,
    measured: Measured | None,
    opset: int,
) -> Report:
    host, parity = host_facts(), converted.parity
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
            **({} if converted.exporter is None else {"exporter": converted.exporter}),
        },
        counts={
            "golden_cases": len(subject.cases),
            "gate_pictures": parity.pictures,
            **({} if subject.images is None else {"frames_failed": len(skipped)}),
            **({} if measured is None else measured.counts),
        },
        gates=converted.gates,
        engines=parity.engines,
        samples=subject.samples(bundle),
        warnings=[
            *source.notes,
            *subject.notes,
            *converted.notes,
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
