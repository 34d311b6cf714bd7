"""Export of the task ``classify``: class scores, labels, top-1 accuracy and its budget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_export.activation import Evidence, of_values
from edgeproof_export.class_order import settle_class_order
from edgeproof_export.contract_checks import training_notes
from edgeproof_export.gate import labelled_tensors, tensors_of
from edgeproof_export.heads import BINARY_LABELS
from edgeproof_export.images import Images, evenly
from edgeproof_export.labels import Labels, settle_labels
from edgeproof_export.tasks.budget import Scores
from edgeproof_export.tasks.record import Advance, ExportSteps, Measured, Reference, Request, TaskModel, model_metadata
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.manifest import Activation, OutputEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.bands import bands_of, reading, visible_notes
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.accuracy import AccuracyMeter, wilson_interval
from edgeproof_runtime.metrics.label_check import check_labels
from edgeproof_runtime.metrics.paired import ClassChange, Paired, class_changes
from edgeproof_runtime.tasks.classify import TASK, probabilities

if TYPE_CHECKING:
    from edgeproof_export.golden import Golden
    from edgeproof_export.models import Source
    from edgeproof_export.prepared import Prepared

__all__ = ["STEPS", "Top1Budget"]


def _prepare(source: Source, request: Request) -> TaskModel:
    # Both import PyTorch, which takes seconds and is not needed by `optimize`.
    from edgeproof_export.golden import make_golden
    from edgeproof_export.prepared import prepare

    prepared = prepare(source, request.contract, request.folder, output=request.output, activation=request.activation)
    contract = prepared.contract
    options = request.options
    own = source.labels or prepared.labels or (Labels(BINARY_LABELS) if prepared.binary else None)
    labels, notes = settle_labels(own, prepared.classes, labels=request.labels, class_ids=options.class_ids)
    trained = _trained(source.weights)

    def reference(batch: NDArray[np.generic]) -> tuple[NDArray[np.generic], ...]:
        return (prepared.reference(batch),)

    with reading(bands_of(contract)):
        settled = settle_class_order(request.data, labels, options, contract, reference, trained=trained)
    images = settled.images
    if settled.labels.names != labels.names:
        notes = [f"No labels: classes are named after the folders of {request.data}; add --labels FILE for others."]
    labels = settled.labels
    files = _write_labels(request.folder, labels)
    positions = evenly(len(images.images), request.gate_images)
    shown = [positions[i] for i in evenly(len(positions), request.golden_images)]
    cases = make_golden(images.images, shown, contract, reference)
    evidence = _evidence(prepared, request.activation, [case.output for case in cases])
    activation = evidence.activation
    output = OutputEntry(prepared.output_name, (prepared.classes,), activation)
    facts = {
        "edgeproof.contract": json.dumps(contract.to_json(), sort_keys=True),
        "edgeproof.classes": str(prepared.classes),
        "edgeproof.activation": activation,
    }
    labelled = images.labelled

    def measure(advance: Advance) -> Measured:
        if labelled is None:
            raise TypeError("accuracy: requires labelled images")
        return _accuracy(labelled, labels, trained, contract, reference, advance)

    told = [*prepared.notes, *training_notes(prepared.statistics, cases)]
    told += [*_activation_notes(prepared, request.activation, evidence), *notes, *images.notes]
    return TaskModel(
        model=prepared.model,
        reference=reference,
        reference_name=prepared.reference_name,
        reference_engine=prepared.reference_engine,
        weights_sha256=prepared.weights_sha256,
        input=TensorSpec(prepared.input_name, contract.tensor_shape()[1:], contract.dtype),
        max_batch=contract.batch.max,
        outputs=(output,),
        metadata=model_metadata(TASK.name, prepared.weights_sha256, facts),
        contract=contract,
        manifest=files,
        cases=cases,
        golden_labels=labels.names,
        inputs=tensors_of(images.images, positions, contract),
        total=len(positions),
        data=images.name,
        settings={"contract": contract.summary(), "gate_images": request.gate_images},
        images=images.images,
        measure=None if labelled is None else measure,
        samples=lambda _bundle: _samples(cases, output, labels, images),
        notes=(*told, *visible_notes(contract)),
        precision=prepared.precision,
        facts={"activation": evidence.sentence, **prepared.facts},
        adapt=prepared.adapt,
    )


def _write_labels(folder: Path, labels: Labels) -> dict[str, str | None]:
    """Write files of labels and class ids, one per line; return the manifest's fields that name them."""
    found: dict[str, str | None] = {"labels": "labels.txt", "class_ids": None}
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in labels.names), encoding="utf-8")
    if labels.ids is not None:
        (folder / "class_ids.txt").write_text("".join(f"{name}\n" for name in labels.ids), encoding="utf-8")
        found["class_ids"] = "class_ids.txt"
    return found


def _evidence(prepared: Prepared, given: Activation | None, outputs: list[NDArray[np.generic]]) -> Evidence:
    """Return the activation of the class scores: as given, as the graph tells, or as the golden cases' values tell."""
    if prepared.binary:
        return Evidence("sigmoid", "(1 - p, p) of a head with one value")
    if given is not None:
        return Evidence(given, "as given by --activation")
    by_values = of_values(outputs)
    told = prepared.evidence
    # A softmax over another axis gives no distribution of the classes.
    return by_values if told is None or (told.activation, by_values.activation) == ("softmax", "none") else told


def _activation_notes(prepared: Prepared, given: Activation | None, used: Evidence) -> list[str]:
    told = prepared.evidence
    if prepared.binary:
        return []
    if given is not None and told is not None and told.activation != given:
        return [f"--activation {given} is kept, although the output looks like {told.sentence}."]
    if given is None and used.activation == "sigmoid":
        return [
            f"The output is {used.sentence}: probabilities are shown as they are. If an image may show several "
            "labels, export it with --task multilabel; if these are logits, with --activation none."
        ]
    return []


def _accuracy(
    data: LabelledData,
    labels: Labels,
    trained: bool | None,
    contract: InputContract,
    reference: Reference,
    advance: Advance,
) -> Measured:
    """Measure the reference on all readable labelled images, for later comparisons."""
    meter, correct = AccuracyMeter(len(labels.names)), 0
    for targets, tensors in labelled_tensors(data, contract):
        (scores,) = reference(tensors)
        meter.update(scores, targets)
        correct += int((scores.argmax(axis=1) == targets).sum())
        advance(meter.n, len(data))
    advance(len(data), len(data))
    result = meter.result()
    section = {**result.to_json(labels.names), "torch_correct": correct, "fingerprint": data.fingerprint()}
    check = check_labels(meter.halves, len(labels.names), labels.names)
    suspicious = [] if trained is False else check.sentences()
    counts = {"torch_correct": correct, "labelled": result.n}
    return Measured({"accuracy": section}, counts, check.gates(trained=trained), suspicious)


def _trained(weights: str) -> bool | None:
    """Return whether a source's weights are trained; None if nobody can know."""
    if weights.startswith("random"):
        return False
    return None if weights.startswith(("as the factory", "as they were", "in the .")) else True


def _samples(cases: Sequence[Golden], output: OutputEntry, labels: Labels, images: Images) -> list[Thumbnail]:
    samples = []
    for case in cases:
        shares = probabilities(case.output[None], output.activation)[0]
        truth = None if images.labelled is None else labels.names[images.labelled.targets[case.position]]
        samples.append(Thumbnail.of(case.name, case.frame, labels.names[case.top1], float(shares[case.top1]), truth))
    return samples


@dataclass(frozen=True, slots=True)
class Top1Budget:
    """A budget of top-1 accuracy; targets are class indices.

    Attributes:
        labels: labels of the classes; may be empty.
        logits: whether the scores are logits.
    """

    labels: tuple[str, ...]
    logits: bool
    metric: str = "top-1"
    output: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, bundle: Bundle, _names: Sequence[str] = ()) -> Top1Budget:
        """Return the budget of a classifier's bundle."""
        return cls(bundle.labels, bundle.manifest.outputs[0].activation == "none")

    def divergence(self, reference: Scores, candidate: Scores) -> float:
        """Return the mean Kullback-Leibler divergence of the probabilities from the reference's, nats.

        Source: S. Kullback, R. A. Leibler, "On information and sufficiency", Ann. Math. Stat. 22 (1951). Unlike
        accuracy it needs no labels and depends on every image, so that a few hundred images rank layers.
        """
        p, q = (self._log_shares(values) for values in (reference, candidate))
        return float((np.exp(p) * (p - q)).sum(axis=1).mean())

    def _log_shares(self, values: Scores) -> NDArray[np.float64]:
        wide = values.astype(np.float64)
        if not self.logits:
            wide = np.log(np.clip(wide, 1e-12, None))
        wide -= wide.max(axis=1, keepdims=True)
        shares: NDArray[np.float64] = wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))
        return shares

    def compare(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> Paired:
        """Compare top-1 predictions image by image."""
        return Paired.of(_top1(reference), _top1(candidate), targets)

    def losses(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> NDArray[np.float64]:
        """Return 1 for each lost image, -1 for each gained one, else 0."""
        return np.subtract(self.right(reference, targets), self.right(candidate, targets), dtype=np.float64)

    def right(self, scores: Scores, targets: Sequence[Any]) -> NDArray[np.bool_]:
        """Return whether each top-1 prediction is the target."""
        found: NDArray[np.bool_] = _top1(scores) == np.asarray(targets)
        return found

    def changes(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> tuple[ClassChange, ...]:
        """Return classes with images that only one of the two predicts correctly."""
        return class_changes(_top1(reference), _top1(candidate), targets)

    def summary(self, scores: Scores, targets: Sequence[Any]) -> str:
        """Return the number and share of correct images as text."""
        correct, n = int(self.right(scores, targets).sum()), len(targets)
        return f"{correct} of {n} validation images correct ({correct / n:.2%})"

    def figures(self, scores: Scores, targets: Sequence[Any]) -> Mapping[str, Any]:
        """Return top-1 accuracy with Wilson's interval."""
        correct, n = int(self.right(scores, targets).sum()), len(targets)
        return {"top1": correct / n, "correct": correct, "n": n, "ci95": list(wilson_interval(correct, n))}

    def class_label(self, index: int) -> str:
        """Return the label of a class, or its index if the bundle has no labels."""
        return self.labels[index] if self.labels else str(index)

    def answer(self, scores: NDArray[np.float32]) -> str:
        """Return the label of the top-1 prediction."""
        index = int(_top1(scores[None])[0])
        return "not a number" if index < 0 else self.class_label(index)

    def truth(self, target: Any) -> str:
        """Return the label of a class index."""
        return self.class_label(int(target))


def _top1(scores: Scores) -> NDArray[np.int64]:
    """Return top-1 predictions; NaN scores give class -1, which is never correct."""
    answers: NDArray[np.int64] = scores.argmax(axis=1).astype(np.int64)
    answers[~np.isfinite(scores).all(axis=1)] = -1
    return answers


STEPS = ExportSteps(
    task=TASK.name,
    options=("labels", "class_ids", "activation", "contract", "output"),
    prepare=_prepare,
    budget=Top1Budget.of,
)
