"""Evaluate a bundle of task ``classify``: accuracy, and the hops or engines that cost it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof.library.evaluation import EvaluationRequest, TaskEvaluation
from edgeproof.library.hop_loss import Question, compared_with, loss_by_hop
from edgeproof.library.inputs import open_data
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import LabelledData, Sample
from edgeproof_runtime.evidence.thumbnail import SampleKeeper, Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.classify import Prediction, classify_head
from edgeproof_runtime.verify.evaluate import Evaluation
from edgeproof_runtime.verify.evaluate import evaluate as evaluate_data
from edgeproof_runtime.verify.golden import frame_gates, output_gate

__all__ = ["ClassOptions", "evaluate_classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassOptions:
    """The arguments of an evaluation that only classifiers have."""

    class_ids: str | Path | None
    min_top1: float | None
    max_drop: float
    hops: bool
    model: str | None
    weights: str | None
    camera: str
    against: str | None


def evaluate_classes(asked: EvaluationRequest, options: ClassOptions) -> TaskEvaluation:
    """Replay the golden cases, then classify labelled images.

    Raises:
        InputError: the bundle is of another task, or the data cannot be used.
    """
    bundle = asked.bundle
    classify_head(bundle)
    labelled = open_data(bundle, asked.data, options.class_ids, asked.split)
    cases = load_golden(bundle)
    keeper = SampleKeeper()
    found, walked, seen = None, None, 0
    with asked.load() as engine:
        info = engine.describe()
        parity = output_gate(bundle, engine, cases)
        gates = [*frame_gates(bundle, cases), parity]
        total = asked.total(labelled)
        question = Question(
            bundle=bundle,
            engine=engine,
            data=labelled,
            batch=asked.batch,
            limit=asked.limit,
            max_drop=options.max_drop,
        )
        if options.hops:
            walked = loss_by_hop(
                question, asked.tell, model=options.model, weights=options.weights, camera=options.camera
            )
        elif options.against is not None:
            walked = compared_with(question, asked.tell, options.against, threads=asked.threads)

        def on_sample(sample: Sample, prediction: Prediction) -> None:
            nonlocal seen
            seen += 1
            asked.tell(f"evaluating on {info.name}", seen, total)
            if keeper.wants():
                truth = prediction.label_of(sample.target)
                keeper.keep(Thumbnail.of(sample.name, sample.frame, prediction.label, prediction.probability, truth))

        # Outputs that are not finite have no accuracy; the walk names the hop that they come from.
        if walked is None or not any(cost.not_finite for cost in walked.costs):
            found = evaluate_data(bundle, engine, labelled, batch=asked.batch, limit=asked.limit, on_sample=on_sample)
    n = 0 if walked is None else walked.total.n
    if found is not None:
        n = found.accuracy.n
        gates += _accuracy_gates(bundle, labelled, found, limit=asked.limit, options=options)
    if walked is not None:
        gates += walked.gates
    notes = _class_notes(bundle, labelled) if asked.data.endswith(".npz") else []
    return TaskEvaluation(
        engine=info,
        gates=gates,
        parity=parity,
        labelled=labelled,
        n=n,
        timed=found,
        samples=keeper.samples,
        measured={
            "accuracy": None if found is None else found.accuracy.to_json(bundle.labels),
            "hops": None if walked is None else walked.to_json(),
        },
        notes=[*notes, *([] if walked is None else walked.notes)],
        counts={} if found is None else {"correct": found.correct},
        settings={"against": options.against, "camera": options.camera if options.hops else None},
        walk=walked,
    )


def _class_notes(bundle: Bundle, data: LabelledData) -> list[str]:
    """Say so where the data's numbered classes look like another model's: numbers cannot be compared with labels."""
    classes, highest = bundle.manifest.outputs[0].shape[0], max(data.targets, default=0)
    if highest >= classes // 2:
        return []
    return [
        f"The data has classes 0 to {highest}, the model {classes}: class 0 of the data was taken for "
        f"{bundle.labels[0] if bundle.labels else 'class 0'}."
    ]


def _accuracy_gates(
    bundle: Bundle, data: LabelledData, found: Evaluation, *, limit: int | None, options: ClassOptions
) -> list[Gate]:
    gates, accuracy = [], found.accuracy
    if options.min_top1 is not None:
        gates.append(
            Gate.judge(
                "top-1",
                "top-1 accuracy with --min-top1",
                {"top1": accuracy.top1},
                at_least={"top1": options.min_top1},
            )
        )
    reference = _torch_reference(bundle)
    if limit is None and reference is not None and reference["fingerprint"] == data.fingerprint():
        drop = (reference["torch_correct"] - found.correct) / accuracy.n
        gates.append(
            Gate.judge(
                "drop from PyTorch",
                "top-1 accuracy with PyTorch's on the same pictures at the export",
                {"n": float(accuracy.n), "torch_top1": reference["torch_correct"] / reference["n"], "drop": drop},
                at_most={"drop": options.max_drop},
            )
        )
    return gates


def _torch_reference(bundle: Bundle) -> dict[str, Any] | None:
    """Return PyTorch's own count of correct images, where the export was given labelled data."""
    name = "evidence/export.json"
    if name not in bundle.manifest.evidence:
        return None
    evidence = json.loads((bundle.path / name).read_text(encoding="utf-8"))
    accuracy = evidence.get("accuracy") or {}
    return accuracy if {"torch_correct", "n", "fingerprint"} <= set(accuracy) else None
