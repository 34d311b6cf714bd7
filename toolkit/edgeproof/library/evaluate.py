"""Evaluate a bundle on labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeproof.library.evaluate_anomalies import evaluate_defects
from edgeproof.library.evaluate_classes import ClassOptions, evaluate_classes
from edgeproof.library.evaluation import EvaluationRequest, TaskEvaluation
from edgeproof.library.evidence import keep_evidence, settings_of, skipped_warnings
from edgeproof.library.inputs import open_bundle
from edgeproof.library.progress import Progress, no_progress
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import EngineInfo
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError, Skipped
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.selection.auto import remembered
from edgeproof_runtime.selection.choices import Scope
from edgeproof_runtime.selection.worth import not_worth_it
from edgeproof_runtime.system.host import cpu_features, host_warnings
from edgeproof_runtime.verify.hops import Walk

__all__ = ["EvaluationReport", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport(Report):
    """The report of `evaluate`, with what its document holds in another form or not at all.

    Attributes:
        engine: the engine that was evaluated.
        walk: the hops, if they were asked for.
        notes: those of the ``warnings`` that are about the model and the data.
        skipped: files that could not be read.
        evidence_problem: why the report could not be kept in the bundle; None if it was kept, or not to be.
    """

    engine: EngineInfo
    walk: Walk | None = None
    notes: Sequence[str] = ()
    skipped: Sequence[Skipped] = ()
    evidence_problem: str | None = None


def evaluate(
    bundle: str | Path | Bundle,
    data: str | Path,
    *,
    engine: str = "auto",
    precision: str = "auto",
    split: str = "test",
    class_ids: str | Path | None = None,
    batch: int = 1,
    limit: int | None = None,
    min_top1: float | None = None,
    min_auroc: float | None = None,
    max_drop: float = 0.01,
    threads: int | None = None,
    hops: bool = False,
    model: str | None = None,
    weights: str | None = None,
    camera: str = "mp4v",
    against: str | None = None,
    evidence: bool = True,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Replay a bundle's golden cases, then evaluate it on labelled images.

    A classifier gets accuracy; a bundle of task ``reconstruct`` gets AUROC of each kind of defect.

    Args:
        bundle: path of a bundle, or an opened one.
        data: a folder of class folders, an ``.npz``, or ``cifar10``.
        engine: name of an engine, or ``auto`` for the fastest that passes the golden cases here.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``auto`` for the fastest here that the bundle has.
        split: ``x_SPLIT`` of an ``.npz``, or a subfolder of that name.
        class_ids: file of folder names, line number = class index; None takes the bundle's.
        batch: images per inference.
        limit: evaluate only the first images.
        min_top1: bound of a gate on top-1 accuracy, 0..1.
        min_auroc: bound of a gate on the mean AUROC, 0..1.
        max_drop: bound of the gates on top-1 that is lost against PyTorch or at a hop, 0..1.
        threads: CPU threads of the engine; None leaves them to the engine.
        hops: measure the loss at each hop, from PyTorch to the engine behind a camera.
        model: MODEL as for an export, for the hops in PyTorch; None takes what the bundle says.
        weights: its weights.
        camera: codec of the last hop, or ``none``.
        against: another engine or precision to compare with, image by image.
        evidence: whether to keep the report in the bundle.
        progress: called with (phase, done, total).

    Returns:
        A report whose ``passed`` is False if a gate was missed.

    Raises:
        BundleError: the bundle is damaged.
        InputError: the data cannot be read, or an argument does not fit the task.
        UnavailableError: the engine cannot run here.
    """
    if hops and against is not None:
        raise InputError("--hops and --against are two questions", fix="ask them one after the other")
    if (model or weights) and not hops:
        raise InputError("--model and --weights are for the hops in PyTorch", fix="add --hops")
    opened = open_bundle(bundle)
    host = host_facts()
    asked = EvaluationRequest(
        bundle=opened,
        data=str(data),
        engine=engine,
        precision=precision,
        split=split,
        batch=batch,
        limit=limit,
        threads=threads,
        tell=progress or no_progress,
    )
    if opened.manifest.task == "reconstruct":
        given = {"--min-top1": min_top1, "--hops": hops or None, "--against": against, "--class-ids": class_ids}
        named = [option for option, value in given.items() if value is not None]
        if named:
            raise InputError(f"{', '.join(named)} is for classifiers", got="task reconstruct", fix="leave it out")
        found = evaluate_defects(asked, min_auroc=min_auroc)
    else:
        if min_auroc is not None:
            raise InputError("--min-auroc is for bundles that find defects", got=f"task {opened.manifest.task}")
        options = ClassOptions(
            class_ids=class_ids,
            min_top1=min_top1,
            max_drop=max_drop,
            hops=hops,
            model=model,
            weights=weights,
            camera=camera,
            against=against,
        )
        found = evaluate_classes(asked, options)
    report = _report(asked, found, host)
    if not evidence:
        return report
    return replace(report, evidence_problem=keep_evidence(opened, report))


def _report(asked: EvaluationRequest, found: TaskEvaluation, host: dict[str, Any]) -> EvaluationReport:
    bundle, engine, timed = asked.bundle, found.engine, found.timed
    automatic = "auto" in (asked.engine, asked.precision)
    choice = remembered(bundle, Scope(asked.engine, asked.precision, asked.threads)) if automatic else None
    notes = [*found.notes, *([] if choice is None else not_worth_it(choice.rows, cpu_features()))]
    skipped = tuple(found.labelled.skipped)
    own = EngineRow(
        engine.name,
        engine.version,
        None if timed is None else timed.recorder.summary("inference").p50_ms,
        found.parity.passed,
        chosen=True,
        precision=engine.precision,
        threads=engine.threads,
    )
    return EvaluationReport(
        kind="evaluate",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings=settings_of(
            bundle,
            engine=engine.name,
            precision=engine.precision,
            data=asked.data,
            split=asked.split,
            batch=asked.batch,
            threads=engine.threads,
            **found.settings,
        ),
        counts={
            "frames_in": found.n + len(skipped),
            "frames_classified": found.n,
            "frames_failed": len(skipped),
            **found.counts,
        },
        throughput_fps=None if timed is None else found.n / timed.elapsed_s,
        gates=found.gates,
        engines=[own] if choice is None else choice.rows,
        samples=found.samples,
        warnings=notes + host_warnings(host) + skipped_warnings(skipped),
        engine=engine,
        walk=found.walk,
        notes=notes,
        skipped=skipped,
        **found.measured,
        **({} if timed is None else Report.latency(timed.recorder)),
    )
