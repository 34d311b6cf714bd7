"""Evaluate a bundle of task ``reconstruct``: AUROC of each kind of defect."""

from __future__ import annotations

from edgeproof.library.evaluation import EvaluationRequest, TaskEvaluation
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.task_settings import DEFECT, GOOD
from edgeproof_runtime.data.dataset import Sample
from edgeproof_runtime.evidence.thumbnail import SampleKeeper, Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.reconstruct import Anomaly
from edgeproof_runtime.verify.evaluate_anomalies import evaluate_anomalies, open_kinds
from edgeproof_runtime.verify.golden import frame_gates, output_gate

__all__ = ["evaluate_defects"]

_NONE_GOOD = "No good picture was among them, so there is no AUROC: raise --limit, which goes folder by folder."


def evaluate_defects(asked: EvaluationRequest, *, min_auroc: float | None) -> TaskEvaluation:
    """Replay the golden cases, then score labelled images.

    Args:
        asked: for a bundle of task ``reconstruct``.
        min_auroc: bound of the gate on the mean over the kinds, if there is one.

    Raises:
        InputError: the data has no folder of good images, or no defects.
    """
    bundle, keeper, seen = asked.bundle, SampleKeeper(), 0
    labelled = open_kinds(asked.data, split=asked.split)
    cases = load_golden(bundle)
    total = asked.total(labelled.data)
    with asked.load() as engine:
        info = engine.describe()
        parity = output_gate(bundle, engine, cases)

        def on_sample(sample: Sample, decision: Anomaly) -> None:
            nonlocal seen
            seen += 1
            asked.tell(f"evaluating on {info.name}", seen, total)
            if keeper.wants():
                truth = GOOD if labelled.kinds[sample.target] == GOOD else DEFECT
                shown, name = decision.over(sample.frame), f"{sample.name}: {decision.score:.3g}"
                keeper.keep(Thumbnail.of(name, shown, decision.label, None, truth))

        found = evaluate_anomalies(bundle, engine, labelled, batch=asked.batch, limit=asked.limit, on_sample=on_sample)
    gates = [*frame_gates(bundle, cases), parity]
    if min_auroc is not None:
        mean = found.result.mean_auroc
        measured = {"mean_auroc": float("nan") if mean is None else mean}
        gates.append(
            Gate.judge("AUROC", "mean over the kinds with --min-auroc", measured, at_least={"mean_auroc": min_auroc})
        )
    return TaskEvaluation(
        engine=info,
        gates=gates,
        parity=parity,
        labelled=labelled.data,
        n=found.result.n,
        timed=found,
        samples=keeper.samples,
        measured={"anomaly": found.result.to_json()},
        notes=[] if found.result.good_n else [_NONE_GOOD],
    )
