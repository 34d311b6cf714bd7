"""Evaluate a bundle on a labelled dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeproof.library.bounds import bound_of
from edgeproof.library.evidence import keep_evidence, settings_of, skipped_warnings
from edgeproof.library.hop_loss import Question, compared_with, loss_by_hop
from edgeproof.library.inputs import open_bundle, open_data
from edgeproof.library.progress import Progress, no_progress
from edgeproof.library.top_one import TopOne
from edgeproof.remote.engine import RemoteEngine, open_server
from edgeproof.remote.gate import remote_gates
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.data.bands import bands_of, reading, visible_notes
from edgeproof_runtime.data.dataset import ImageList, LabelledData, LabelledImages, Sample
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.engines import Engine, EngineInfo
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError, Skipped
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.evidence.thumbnail import SampleKeeper, Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import load_engine, remembered
from edgeproof_runtime.selection.choices import Scope
from edgeproof_runtime.selection.worth import not_worth_it
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.host import cpu_features, host_warnings
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.registry import head_of, task_of
from edgeproof_runtime.tasks.unknown import SCORES, UnknownRule
from edgeproof_runtime.verify.evaluate import Evaluation
from edgeproof_runtime.verify.evaluate import evaluate as evaluate_data
from edgeproof_runtime.verify.golden import frame_gates, output_gate
from edgeproof_runtime.verify.hops import Walk
from edgeproof_runtime.verify.image_results import ImageResults
from edgeproof_runtime.verify.unknown import KnownScores, choose_rule, scores_of_images

__all__ = ["EvaluationReport", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport(Report):
    """Report of `evaluate`, with typed results that the JSON document does not hold.

    Attributes:
        engine: the evaluated engine.
        walk: accuracy by hop, if requested.
        notes: the ``warnings`` about the model and the data.
        skipped: files that could not be read.
        evidence_problem: why the report was not stored in the bundle; None if stored or not requested.
        top_one: predicted and true class of each image; empty for tasks without classes.
    """

    engine: EngineInfo
    walk: Walk | None = None
    notes: Sequence[str] = ()
    skipped: Sequence[Skipped] = ()
    evidence_problem: str | None = None
    top_one: TopOne = field(default_factory=lambda: TopOne(()), compare=False)


@bounded
def evaluate(
    bundle: str | Path | Bundle,
    data: str | Path,
    *,
    engine: str = "auto",
    precision: str = "auto",
    split: str | None = None,
    class_ids: str | Path | None = None,
    class_order: str | None = None,
    exif: bool = False,
    batch: int = 1,
    limit: int | None = None,
    min_top1: float | None = None,
    min_auroc: float | None = None,
    min_map: float | None = None,
    max_drop: float = 0.01,
    threads: int | None = None,
    hops: bool = False,
    model: str | None = None,
    weights: str | None = None,
    camera: str = "mp4v",
    against: str | None = None,
    unknown: str | Path | None = None,
    predictions: str | Path | None = None,
    on: str | None = None,
    workers: int | None = None,
    evidence: bool = True,
    url: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Replay a bundle's golden cases, then evaluate the bundle on labelled images.

    Measures accuracy of a classifier, mAP of a multi-label model, and AUROC by kind of defect for ``reconstruct``.

    Args:
        bundle: path of a bundle, or an opened one.
        data: a dataset in any form of `edgeproof_runtime.data.forms.registry`, or ``cifar10``.
        engine: engine name, or ``auto`` for the fastest that passes the golden cases on this machine.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``auto`` for the fastest on this machine that the bundle has.
        split: split of the dataset; None means ``test``, else ``val``.
        class_ids: file of folder names in class order; None means the bundle's.
        class_order: ``text`` or ``natural`` order of the dataset's class names; None means by name.
        exif: turn images by their EXIF orientation.
        batch: images per inference.
        limit: evaluate only the first images.
        min_top1: bound of a gate on top-1 accuracy, 0..1.
        min_auroc: bound of a gate on the mean AUROC, 0..1.
        min_map: bound of a gate on mAP, 0..1.
        max_drop: bound of the gates on the drop of top-1 from PyTorch or at a hop, 0..1.
        threads: CPU threads of the engine; None lets the engine choose.
        hops: measure the drop at each hop, from PyTorch to the engine behind a camera codec.
        model: MODEL as for export, for the hops in PyTorch; None means the one recorded in the bundle. With ``url``:
            name of the server's model; None means the bundle's.
        weights: weights of ``model``.
        camera: codec of the last hop, or ``none``.
        against: another engine or precision to compare with, image by image.
        unknown: images of none of the classes, a dataset in any form whose labels are not read: which score tells them
            from ``data``, and from which value on.
        predictions: file to replace with a row per image: ``.csv``, ``.jsonl`` or ``.parquet``.
        on: compute the outputs on a Ray cluster, as `edgeproof.label` does; None for this process.
        workers: workers of the cluster; None fills its cores.
        evidence: whether to store the report in the bundle; never with ``url``.
        url: address of a server of the Open Inference Protocol that is evaluated instead of an engine of this machine,
            as for `verify`. Where it takes images, its preprocessing is evaluated too.
        token: token of the server.
        progress: called with (phase, done, total).

    Returns:
        A report whose ``passed`` is False if a gate failed.

    Raises:
        BundleError: the bundle is damaged.
        InputError: the data cannot be read, or an argument does not fit the task.
        UnavailableError: the engine is not available on this machine, or Parquet requires pyarrow.
    """
    if hops and against is not None:
        raise InputError("--hops and --against: mutually exclusive", fix="run evaluate once with each")
    if url is not None and (engine != "auto" or hops or any((threads, against, weights, on))):
        excluded = "--engine, --threads, --hops, --against, --weights and --on"
        raise InputError(f"--url: excludes {excluded}", fix="leave them out")
    if token is not None and url is None:
        raise InputError("--token: requires --url", fix="leave it out")
    if (model or weights) and not hops and url is None:
        raise InputError("--model and --weights: require --hops", fix="add --hops")
    if on is not None and (hops or against is not None or unknown is not None):
        raise InputError("--on: excludes --hops, --against and --unknown", fix="run evaluate once with each")
    if workers is not None and on is None:
        raise InputError("--workers: requires --on", fix="add --on ray")
    if on is not None:
        from edgeproof.scale.pools import check_place

        check_place(on)
    results = None if predictions is None else ImageResults(predictions)
    opened = open_bundle(bundle)
    host, tell = host_facts(), progress or no_progress
    bound = bound_of(opened, min_top1=min_top1, min_auroc=min_auroc, min_map=min_map)
    chain = _chain_options(opened, hops=hops, against=against)
    ids = None if class_ids is None else Path(class_ids)
    strangers = None if unknown is None else _strangers(opened, unknown, exif=exif)
    labelled = open_data(opened, data, DataOptions(split=split, class_ids=ids, class_order=class_order, exif=exif))
    cases = load_golden(opened)
    walked = None
    with (
        load_engine(opened, engine, precision, max_batch=batch, threads=threads, judged=True, progress=progress)
        if url is None
        else open_server(opened, url, model, token, precision, max_batch=batch)
    ) as loaded:
        info = loaded.describe()
        golden, unseen = _golden_gates(opened, loaded, cases)
        passed = all(gate.passed for gate in golden if gate.name not in ("preprocessing", "labels"))
        if chain:
            question = Question(
                bundle=opened, engine=loaded, data=_with_classes(labelled), batch=batch, limit=limit, max_drop=max_drop
            )
            if against is None:
                walked = loss_by_hop(question, tell, model=model, weights=weights, camera=camera)
            else:
                walked = compared_with(question, tell, against, threads=threads)
        # Non-finite outputs have no metrics; the walk names the hop that produces them.
        finite = walked is None or not any(cost.not_finite for cost in walked.costs)
        total = min(len(labelled), limit or len(labelled))
        samples = _Samples(f"evaluating on {info.name}", total, tell, opened.labels)
        found = rule = None
        if finite:
            known = None if strangers is None else KnownScores(opened)
            with _workers(on, opened, info, labelled, data, batch, limit, threads, workers, exif=exif) as elsewhere:
                found = evaluate_data(
                    opened,
                    loaded,
                    labelled,
                    batch=batch,
                    limit=limit,
                    on_sample=samples.take,
                    on_outputs=None if known is None else known.add,
                    results=results,
                    outputs_from=elsewhere,
                )
            if known is not None and strangers is not None:
                seen = scores_of_images(opened, loaded, strangers, batch=batch, limit=limit)
                rule = choose_rule(known, seen)
    n = walked.total.n if walked is not None else 0
    if results is not None and found is not None:
        results.write()
    gates, notes = list(golden), [*unseen, *labelled.notes]
    if results is not None and found is None:
        notes.append("No predictions were written: outputs of a hop are not finite.")
    if found is not None:
        n = found.judge.n
        notes += found.judge.notes(labelled)
        gates += found.judge.label_gates()
        gates += [] if bound is None else [bound.metric.gate(found.judge.figures(), bound.least)]
        reference = _reference(opened, labelled) if limit is None else None
        gate = None if reference is None else found.judge.reference_gate(reference, max_drop)
        gates += [] if gate is None else [gate]
    if walked is not None:
        gates += walked.gates
        notes += walked.notes
    automatic = url is None and "auto" in (engine, precision)
    choice = remembered(opened, Scope(engine, precision, threads)) if automatic else None
    notes += [] if choice is None else not_worth_it(choice.rows, cpu_features())
    skipped = (*labelled.skipped, *(() if strangers is None else strangers.skipped))
    sections = {} if found is None else found.judge.sections()
    if rule is not None:
        sections = {**sections, "unknown": rule.to_json()}
    report = EvaluationReport(
        kind="evaluate",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(
            opened,
            engine=info.name,
            precision=info.precision,
            data=str(data),
            split=labelled.split,
            class_order=class_order,
            exif=exif or None,
            batch=batch,
            threads=info.threads if on is None else threads or 1,
            on=on,
            url=url,
            model=None if url is None else model or opened.name,
            against=against,
            unknown=None if unknown is None else str(unknown),
            camera=camera if hops else None,
        ),
        counts={
            "frames_in": n + len(labelled.skipped),
            "frames_classified": n,
            "frames_failed": len(labelled.skipped),
            **({} if found is None else found.judge.counts()),
        },
        throughput_fps=None if found is None else n / found.elapsed_s,
        sections=sections,
        hops=None if walked is None else walked.to_json(),
        gates=gates,
        engines=[_own_row(info, found, passed=passed)] if choice is None else choice.rows,
        samples=samples.kept,
        warnings=[*notes, *visible_notes(opened.manifest.contract), *host_warnings(host), *skipped_warnings(skipped)],
        engine=info,
        walk=walked,
        notes=notes,
        skipped=skipped,
        top_one=samples.top_one,
        **({} if found is None else Report.latency(found.recorder)),
    )
    return replace(report, evidence_problem=keep_evidence(opened, report)) if evidence and url is None else report


def _golden_gates(bundle: Bundle, engine: Engine, cases: Sequence[GoldenCase]) -> tuple[list[Gate], list[str]]:
    """Replay the golden cases; return the gates, and what was not compared."""
    if isinstance(engine, RemoteEngine):
        return remote_gates(bundle, engine, cases)
    return [*frame_gates(bundle, cases), output_gate(bundle, engine, cases)], []


@contextmanager
def _workers(
    on: str | None,
    bundle: Bundle,
    info: EngineInfo,
    labelled: LabelledImages[Any],
    data: str | Path,
    batch: int,
    limit: int | None,
    threads: int | None,
    workers: int | None,
    *,
    exif: bool,
) -> Iterator[Any]:
    """Open the workers that compute the outputs; yields None where they are computed here."""
    if on is None:
        yield None
        return
    from edgeproof.scale.evaluation import outputs_on, require_files
    from edgeproof.scale.pools import opened_pool

    require_files(labelled, data)
    with opened_pool(on, engine=info.name, threads=threads, workers=workers) as pool:
        yield lambda recorder: outputs_on(pool, bundle, info, labelled, recorder, batch=batch, limit=limit, exif=exif)


def _strangers(bundle: Bundle, path: str | Path, *, exif: bool) -> ImageList:
    """Open images of none of the classes.

    Raises:
        InputError: the task has no unknown images, or there are no images.
    """
    head_of(bundle, UnknownRule(SCORES[0], 0.0))
    with reading(bands_of(bundle.manifest.contract)):
        return ImageList.open(path, exif=exif)


class _Samples:
    """Tells the progress of an evaluation; keeps a few samples for the report, and all predictions of a class."""

    def __init__(self, phase: str, total: int, tell: Progress, labels: Sequence[str]) -> None:
        self.top_one = TopOne(labels)
        self._phase, self._total, self._tell = phase, total, tell
        self._seen = 0
        self._keeper = SampleKeeper()

    @property
    def kept(self) -> Sequence[Thumbnail]:
        """Thumbnails of the samples that were kept."""
        return self._keeper.samples

    def take(self, sample: Sample, decision: Decision, truth: str) -> None:
        """Take an evaluated sample."""
        self._seen += 1
        self._tell(self._phase, self._seen, self._total)
        self.top_one.add(sample.name, sample.target, decision)
        if self._keeper.wants():
            shown = decision.over(sample.frame)
            name = sample.name if decision.detail is None else f"{sample.name}: {decision.detail}"
            self._keeper.keep(Thumbnail.of(name, shown, decision.label, decision.probability, truth))


def _own_row(info: EngineInfo, found: Evaluation | None, *, passed: bool) -> EngineRow:
    """Return the evaluated engine's row of the report."""
    return EngineRow(
        info.name,
        info.version,
        None if found is None else found.recorder.summary("inference").p50_ms,
        passed,
        chosen=True,
        precision=info.precision,
        threads=info.threads,
    )


def _with_classes(labelled: LabelledImages[Any]) -> LabelledData:
    """Return the dataset of a ranked task, whose targets are class indices."""
    if not isinstance(labelled, LabelledData):
        raise TypeError(f"a ranked task opens class indices, not {type(labelled).__name__}")
    return labelled


def _chain_options(bundle: Bundle, *, hops: bool, against: str | None) -> bool:
    """Return whether to run the samples along a chain of hops.

    Raises:
        InputError: the bundle's task has no top-1 predictions.
    """
    named = [option for option, given in (("--hops", hops), ("--against", against is not None)) if given]
    if named and not task_of(bundle).ranked:
        raise InputError(f"{named[0]}: requires a classifier", got=f"task {bundle.manifest.task}", fix="leave it out")
    return bool(named)


def _reference(bundle: Bundle, data: LabelledImages[Any]) -> dict[str, Any] | None:
    """Return the task's section of metrics that the export measured on the same samples, or None."""
    metric = task_of(bundle).metric
    evidence = None if metric is None else bundle.read_evidence("export")
    if metric is None or evidence is None:
        return None
    section: dict[str, Any] = evidence.get(metric.section) or {}
    return section if section.get("fingerprint") == data.fingerprint() else None
