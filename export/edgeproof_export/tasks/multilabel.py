"""Export of the task ``multilabel``: probabilities with a threshold per label, mAP and its budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproof_export.gate import labelled_tensors, tensors_of
from edgeproof_export.images import Images, evenly, open_images
from edgeproof_export.labels import Labels
from edgeproof_export.tasks.map_budget import MapBudget
from edgeproof_export.tasks.record import Advance, ExportSteps, Measured, Reference, Request, TaskModel, model_metadata
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.manifest import OutputEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import MultilabelSettings
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.multilabel import MultilabelData, shown_matrix, splits_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.multilabel import MultilabelMeter
from edgeproof_runtime.tasks.multilabel import TASK, multilabel_head

if TYPE_CHECKING:
    from edgeproof_export.golden import Golden
    from edgeproof_export.models import Source

__all__ = ["STEPS"]

_OUTPUT = "probabilities"


def _prepare(source: Source, request: Request) -> TaskModel:
    # These import PyTorch, which takes seconds and is not needed by `optimize`.
    from torch import nn

    from edgeproof_export.golden import make_golden
    from edgeproof_export.to_onnx import INPUT_NAME, checkpoint_reference
    from edgeproof_export.weights import weights_digest

    blueprint, network, _ = checkpoint_reference(source)
    contract, labels = blueprint.contract, blueprint.labels
    if contract is None or "multilabel" not in blueprint.facts:
        raise InputError(
            f"{source.spec}: has no label thresholds",
            expected="best.ckpt of a completed training",
            fix="edgeproof train multilabel --data DATA --out DIR",
        )
    settings = MultilabelSettings.from_json(blueprint.facts["multilabel"])
    # The engine outputs probabilities, so that every program compares the same numbers with the thresholds.
    with_sigmoid = nn.Sequential(network, nn.Sigmoid()).eval()
    _, model, reference = checkpoint_reference(replace(source, model=with_sigmoid))
    (request.folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    images, labelled = _open(request, labels)
    positions = evenly(len(images.images), request.gate_images)
    shown = [positions[i] for i in evenly(len(positions), request.golden_images)]
    cases = make_golden(images.images, shown, contract, reference)
    digest = weights_digest(dict(network.state_dict()))

    def measure(advance: Advance) -> Measured:
        if labelled is None:
            raise TypeError("mAP: requires labelled images")
        return _measure(labelled, settings, contract, reference, advance)

    facts = {"edgeproof.contract": json.dumps(contract.to_json()), "edgeproof.activation": "sigmoid"}
    return TaskModel(
        model=model,
        reference=reference,
        weights_sha256=digest,
        input=TensorSpec(INPUT_NAME, contract.tensor_shape()[1:], contract.dtype),
        max_batch=contract.batch.max,
        outputs=(OutputEntry(_OUTPUT, (len(labels),), "sigmoid"),),
        metadata=model_metadata(TASK.name, digest, facts),
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
        notes=images.notes,
    )


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


STEPS = ExportSteps(task=TASK.name, options=(), prepare=_prepare, budget=MapBudget.of)
