"""Export of the task ``multilabel``: probabilities with a threshold per label, mAP and its budget."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeproof_export.activation import Evidence, of_values
from edgeproof_export.contract_checks import Statistics, training_notes
from edgeproof_export.gate import labelled_tensors, tensors_of
from edgeproof_export.heads import Head
from edgeproof_export.images import Images, embedded_images, evenly, open_images
from edgeproof_export.labels import Labels, settle_labels
from edgeproof_export.tasks.map_budget import MapBudget
from edgeproof_export.tasks.record import Advance, ExportSteps, Measured, Reference, Request, TaskModel, model_metadata
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.manifest import OutputEntry, Precision
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import MultilabelSettings
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.multilabel import MultilabelData, shown_matrix, splits_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.multilabel import MultilabelMeter
from edgeproof_runtime.metrics.threshold import DEFAULT_THRESHOLD, best_f1_threshold
from edgeproof_runtime.tasks.multilabel import TASK, multilabel_head

if TYPE_CHECKING:
    from edgeproof_export.golden import Golden
    from edgeproof_export.models import Source
    from edgeproof_export.prepared import Prepared

__all__ = ["STEPS"]

_OUTPUT = "probabilities"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A multi-label model whose only output are probabilities.

    Attributes:
        model, reference, reference_name, reference_engine, weights_sha256, precision, adapt: as in `TaskModel`.
        contract: input contract.
        labels: label of each class index.
        settings: thresholds; None for models that record none.
        input_name, output_name: names of the ONNX values.
        activation: how the activation is known.
        notes: notes for the report.
        statistics: as in `Prepared`.
    """

    model: Any
    reference: Reference
    reference_name: str = "PyTorch"
    reference_engine: str | None = None
    weights_sha256: str
    precision: Precision = "fp32"
    adapt: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None
    contract: InputContract
    labels: tuple[str, ...]
    settings: MultilabelSettings | None
    input_name: str
    output_name: str = _OUTPUT
    activation: str = "sigmoid, appended to the trained network"
    notes: Sequence[str] = ()
    statistics: Callable[[NDArray[np.generic]], Statistics | None] | None = None


def _prepare(source: Source, request: Request) -> TaskModel:
    # Imports PyTorch, which takes seconds and is not needed by `optimize`.
    from edgeproof_export.golden import make_golden

    subject = _foreign(source, request) if source.blueprint is None else _trained(source)
    contract, labels, reference = subject.contract, subject.labels, subject.reference
    (request.folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    images, labelled = _open(request, labels)
    settings, notes = subject.settings, [*subject.notes]
    if settings is None:
        settings, chosen = _choose_thresholds(request, labels, labelled, contract, reference)
        notes.append(chosen)
    positions = evenly(len(images.images), request.gate_images)
    shown = [positions[i] for i in evenly(len(positions), request.golden_images)]
    cases = make_golden(images.images, shown, contract, reference)

    def measure(advance: Advance) -> Measured:
        if labelled is None:
            raise TypeError("mAP: requires labelled images")
        return _measure(labelled, settings, contract, reference, advance)

    facts = {"edgeproof.contract": json.dumps(contract.to_json()), "edgeproof.activation": "sigmoid"}
    return TaskModel(
        model=subject.model,
        reference=reference,
        reference_name=subject.reference_name,
        reference_engine=subject.reference_engine,
        weights_sha256=subject.weights_sha256,
        input=TensorSpec(subject.input_name, contract.tensor_shape()[1:], contract.dtype),
        max_batch=contract.batch.max,
        outputs=(OutputEntry(subject.output_name, (len(labels),), "sigmoid"),),
        metadata=model_metadata(TASK.name, subject.weights_sha256, facts),
        contract=contract,
        manifest={"labels": "labels.txt", "multilabel": settings},
        cases=cases,
        golden_labels=labels,
        inputs=tensors_of(images.images, positions, contract),
        total=len(positions),
        data=images.name,
        settings={"contract": contract.summary(), "gate_images": request.gate_images},
        images=images.images,
        measure=None if labelled is None else measure,
        samples=lambda bundle: _samples(bundle, cases, labelled),
        notes=(*notes, *training_notes(subject.statistics, cases), *images.notes),
        precision=subject.precision,
        facts={"activation": subject.activation},
        adapt=subject.adapt,
    )


def _trained(source: Source) -> _Subject:
    """Return the network of a checkpoint of `edgeproof train`, with its labels and thresholds."""
    from torch import nn

    from edgeproof_export.pytorch.reference import checkpoint_reference
    from edgeproof_export.pytorch.to_onnx import INPUT_NAME
    from edgeproof_export.weights.fit import weights_digest

    blueprint, network, _ = checkpoint_reference(source)
    if blueprint.contract is None or "multilabel" not in blueprint.facts:
        raise InputError(
            f"{source.spec}: has no label thresholds",
            expected="best.ckpt of a completed training",
            fix="edgeproof train multilabel --data DATA --out DIR",
        )
    # The engine outputs probabilities, so that every program compares the same numbers with the thresholds.
    with_sigmoid = nn.Sequential(network, nn.Sigmoid()).eval()
    _, model, reference = checkpoint_reference(replace(source, model=with_sigmoid))
    return _Subject(
        model=model,
        reference=reference,
        weights_sha256=weights_digest(dict(network.state_dict())),
        contract=blueprint.contract,
        labels=blueprint.labels,
        settings=MultilabelSettings.from_json(blueprint.facts["multilabel"]),
        input_name=INPUT_NAME,
    )


def _foreign(source: Source, request: Request) -> _Subject:
    """Return another model with a sigmoid after its logits, or as it is where it outputs probabilities."""
    from edgeproof_export.prepared import prepare
    from edgeproof_export.pytorch.outputs import with_head

    given = request.activation
    found = prepare(source, request.contract, request.folder, output=request.output, activation=given)
    if found.binary or given == "softmax":
        raise InputError(
            f"{source.spec}: not a multi-label model",
            got="a head with one value per image" if found.binary else "--activation softmax",
            expected="one independent value per label",
            fix="leave --task out: classes that exclude each other are the task classify",
        )
    labels, notes = settle_labels(
        source.labels or found.labels, found.classes, labels=request.labels, class_ids=request.options.class_ids
    )
    evidence = Evidence(given, "as given by --activation") if given else found.evidence or _probed(found)
    if evidence.activation == "softmax":
        raise InputError(
            f"{source.spec}: not a multi-label model",
            got=f"output {found.output_name} is {evidence.sentence}",
            expected="one independent value per label: logits or a sigmoid",
            fix="leave --task out, or give --activation",
        )
    activation = evidence.sentence
    model, adapt, output = found.model, found.adapt, found.output_name
    reference: Reference = lambda batch: (found.reference(batch),)  # noqa: E731
    engine = found.reference_engine
    if evidence.activation == "none":
        head = Head(output=output, index=0, columns=found.classes, plain=True, sigmoid=True)
        activation = f"sigmoid, appended: the output is {evidence.sentence}"
        engine, output = None, head.result
        reference = lambda batch: (head.scores((found.reference(batch),)),)  # noqa: E731
        model = head.write(model) if isinstance(model, onnx.ModelProto) else with_head(model, head)
    return _Subject(
        model=model,
        reference=reference,
        reference_name=found.reference_name,
        reference_engine=engine,
        weights_sha256=found.weights_sha256,
        precision=found.precision,
        adapt=adapt,
        contract=found.contract,
        labels=labels.names,
        settings=None,
        input_name=found.input_name,
        output_name=output,
        activation=activation,
        notes=(*found.notes, *notes),
        statistics=found.statistics,
    )


def _probed(found: Prepared) -> Evidence:
    """Return the activation that the values for drawn images tell."""
    pictures = embedded_images().images
    preprocess = Preprocessor(found.contract)
    tensors = np.stack([preprocess(picture.frame) for _, picture in pictures.indexed(range(len(pictures)))])
    size = found.contract.batch.max
    parts = [found.reference(tensors[start : start + size]) for start in range(0, len(tensors), size)]
    return of_values(list(np.concatenate(parts)))


def _choose_thresholds(
    request: Request,
    labels: tuple[str, ...],
    labelled: MultilabelData | None,
    contract: InputContract,
    reference: Reference,
) -> tuple[MultilabelSettings, str]:
    """Return thresholds of best F1 on the labelled images, and how they were chosen; without such images 0.5 each."""
    if labelled is None:
        note = (
            f"Label thresholds: {DEFAULT_THRESHOLD} each, not chosen on data. With --data and a multi-label dataset "
            "(SPLIT.csv, SPLIT.json or .npz) they are chosen by best F1."
        )
        return MultilabelSettings(thresholds=(DEFAULT_THRESHOLD,) * len(labels), criterion="default", images=0), note
    path = Path(request.data or "")
    is_table = path.suffix.lower() in (".csv", ".json")
    if labelled.images.split != "val" and not is_table and "val" in splits_of(path):
        data, told = MultilabelData.open(path, labels, split="val", exif=request.options.exif), "its split val"
    else:
        data, told = labelled, "the images of the figures below, which are therefore too good"
    scores, shown = [], []
    for targets, tensors in labelled_tensors(data, contract):
        scores.append(reference(tensors)[0])
        shown.append(shown_matrix(targets, len(labels)))
    probabilities, present = np.concatenate(scores), np.concatenate(shown)
    columns = zip(probabilities.T, present.T, strict=True)
    thresholds = tuple(best_f1_threshold(column, positives) for column, positives in columns)
    settings = MultilabelSettings(thresholds=thresholds, images=len(probabilities))
    return settings, f"Label thresholds: of best F1 on {len(probabilities)} images of {request.data}, {told}."


def _open(request: Request, labels: tuple[str, ...]) -> tuple[Images, MultilabelData | None]:
    """Return images for the gates, and the same with labels if available."""
    path = Path(request.data or "")
    is_table = path.suffix.lower() in (".csv", ".json")
    if request.data is not None and (is_table or splits_of(path)):
        options = request.options
        labelled = MultilabelData.open(path, labels, split=options.split, prefer=options.prefer, exif=options.exif)
        return Images(request.data, labelled.images), labelled
    return open_images(request.data, Labels(labels), request.options), None


def _measure(
    data: MultilabelData,
    settings: MultilabelSettings,
    contract: InputContract,
    reference: Reference,
    advance: Advance,
) -> Measured:
    """Measure the reference on all readable labelled images, for later comparisons."""
    meter = MultilabelMeter(settings.thresholds)
    for targets, tensors in labelled_tensors(data, contract):
        meter.update(reference(tensors)[0], shown_matrix(targets, len(data.names)))
        advance(meter.n, len(data))
    advance(len(data), len(data))
    section = {**meter.result().to_json(data.names), "fingerprint": data.fingerprint()}
    return Measured({TASK.name: section}, {"labelled": meter.n})


def _samples(bundle: Bundle, cases: Sequence[Golden], labelled: MultilabelData | None) -> list[Thumbnail]:
    head = multilabel_head(bundle)
    samples = []
    for case in cases:
        prediction = head.of(case.output)
        truth = None if labelled is None else prediction.name_of(labelled.targets[case.position])
        samples.append(Thumbnail.of(case.name, case.frame, prediction.headline, None, truth))
    return samples


_FOREIGN = ("labels", "class_ids", "activation", "contract", "output")

STEPS = ExportSteps(task=TASK.name, options=(), foreign_options=_FOREIGN, prepare=_prepare, budget=MapBudget.of)
