"""`edgeproof evaluate` of a bundle that finds defects."""

from __future__ import annotations

from edgeproof.cli._anomaly import anomaly_table
from edgeproof.cli._evaluation import Asked
from edgeproof.cli._shared import SampleKeeper, out, progress_bar
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.task_settings import DEFECT, GOOD
from edgeproof_runtime.data.dataset import Sample
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.reconstruct import Anomaly
from edgeproof_runtime.verify.evaluate_anomalies import evaluate_anomalies, open_kinds
from edgeproof_runtime.verify.golden import frame_gates, output_gate

__all__ = ["evaluate_defects"]


def evaluate_defects(asked: Asked, *, min_auroc: float | None) -> None:
    """AUROC of each kind of defect, after the golden cases.

    Args:
        asked: for a bundle of task ``reconstruct``.
        min_auroc: bound of the gate on the mean over the kinds, if there is one.

    Raises:
        InputError: the data has no folder of good pictures, or no defects.
        GateError: a golden case or the lowest AUROC was missed.
    """
    bundle, keeper, seen = asked.bundle, SampleKeeper(), 0
    labelled = open_kinds(asked.data, split=asked.split)
    cases = load_golden(bundle)
    total = asked.pictures(labelled.data)
    with progress_bar() as tell, asked.load(tell) as engine:
        info = engine.describe()
        parity = output_gate(bundle, engine, cases)

        def on_sample(sample: Sample, decision: Anomaly) -> None:
            nonlocal seen
            seen += 1
            tell(f"evaluating on {info.name}", seen, total)
            if keeper.wants():
                truth = GOOD if labelled.kinds[sample.target] == GOOD else DEFECT
                picture, name = decision.over(sample.frame), f"{sample.name}: {decision.score:.3g}"
                keeper.keep(Thumbnail.of(name, picture, decision.label, None, truth))

        found = evaluate_anomalies(bundle, engine, labelled, batch=asked.batch, limit=asked.limit, on_sample=on_sample)
    gates = [*frame_gates(bundle, cases), parity]
    if min_auroc is not None:
        mean = found.result.mean_auroc
        measured = {"mean_auroc": float("nan") if mean is None else mean}
        gates.append(
            Gate.judge("AUROC", "mean over the kinds with --min-auroc", measured, at_least={"mean_auroc": min_auroc})
        )
    out.print(anomaly_table(found.result.to_json(), f"{info.name} {info.version}, {info.precision}"))
    none_good = "No good picture was among them, so there is no AUROC: raise --limit, which goes folder by folder."
    asked.conclude(
        info,
        gates,
        parity=parity,
        labelled=labelled.data,
        n=found.result.n,
        timed=found,
        notes=[] if found.result.good_n else [none_good],
        samples=keeper.samples,
        anomaly=found.result.to_json(),
    )
