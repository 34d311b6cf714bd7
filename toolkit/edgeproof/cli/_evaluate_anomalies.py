"""`edgeproof evaluate` of a bundle that finds defects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeproof.cli._anomaly import anomaly_table
from edgeproof.cli._shared import (
    SampleKeeper,
    err,
    fail_on,
    out,
    print_gates,
    print_skipped,
    progress_bar,
    settings_of,
    write_reports,
)
from edgeproof_runtime.bundle import Bundle
from edgeproof_runtime.data import Sample
from edgeproof_runtime.evaluate_anomalies import evaluate_anomalies, open_kinds
from edgeproof_runtime.host import host_warnings
from edgeproof_runtime.reconstruct import DEFECT, GOOD, Anomaly
from edgeproof_runtime.report import BundleFacts, EngineRow, Gate, Report, command_line
from edgeproof_runtime.report import Sample as ReportSample
from edgeproof_runtime.select import load_engine
from edgeproof_runtime.verify import frame_gates, load_golden, output_gate

__all__ = ["evaluate_defects"]


def evaluate_defects(
    bundle: Bundle,
    data: str,
    host: dict[str, Any],
    *,
    engine: str,
    precision: str,
    split: str,
    batch: int,
    limit: int | None,
    min_auroc: float | None,
    threads: int | None,
    json_file: Path | None,
    html_file: Path | None,
) -> None:
    """AUROC of each kind of defect, after the golden cases; the arguments are the command's.

    Raises:
        InputError: the data has no folder of good pictures, or no defects.
        GateError: a golden case or the lowest AUROC was missed.
    """
    labelled, keeper, seen = open_kinds(data, split=split), SampleKeeper(), 0
    cases = load_golden(bundle)
    total = min(len(labelled.data), limit or len(labelled.data))
    with (
        progress_bar() as tell,
        load_engine(bundle, engine, precision, max_batch=batch, threads=threads, progress=tell) as loaded,
    ):
        info = loaded.describe()
        parity = output_gate(bundle, loaded, cases)

        def on_sample(sample: Sample, decision: Anomaly) -> None:
            nonlocal seen
            seen += 1
            tell(f"evaluating on {info.name}", seen, total)
            if keeper.wants():
                truth = GOOD if labelled.kinds[sample.target] == GOOD else DEFECT
                picture, name = decision.over(sample.frame), f"{sample.name}: {decision.score:.3g}"
                keeper.keep(ReportSample.of(name, picture, decision.label, None, truth))

        found = evaluate_anomalies(bundle, loaded, labelled, batch=batch, limit=limit, on_sample=on_sample)
    gates = [*frame_gates(bundle, cases), parity]
    if min_auroc is not None:
        mean = found.result.mean_auroc
        measured = {"mean_auroc": float("nan") if mean is None else mean}
        gates.append(
            Gate.judge("AUROC", "mean over the kinds with --min-auroc", measured, at_least={"mean_auroc": min_auroc})
        )
    out.print(anomaly_table(found.result, f"{info.name} {info.version}, {info.precision}"))
    none_good = "No good picture was among them, so there is no AUROC: raise --limit, which goes folder by folder."
    notes = [] if found.result.good_n else [none_good]
    for note in notes:
        err.print(f"note: {note}")
    warnings = notes + host_warnings(host) + print_skipped(labelled.data.skipped)
    print_gates(gates)
    report = Report(
        kind="evaluate",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings=settings_of(
            bundle,
            engine=info.name,
            precision=info.precision,
            data=data,
            split=split,
            batch=batch,
            threads=info.threads,
        ),
        counts={
            "frames_in": found.result.n + len(labelled.data.skipped),
            "frames_classified": found.result.n,
            "frames_failed": len(labelled.data.skipped),
        },
        throughput_fps=found.result.n / found.elapsed_s,
        anomaly=found.result,
        gates=gates,
        engines=[
            EngineRow(info.name, info.version, found.recorder.summary("inference").p50_ms, parity.passed, chosen=True)
        ],
        samples=keeper.samples,
        warnings=warnings,
        **Report.latency(found.recorder),
    )
    write_reports(report, json_file, html_file)
    fail_on(gates, f"{bundle.name} on {data}")
