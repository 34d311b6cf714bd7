"""A model live on a source: status line, sinks, accuracy and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgeproof.cli._anomaly import anomaly_table
from edgeproof.cli._shared import (
    SampleKeeper,
    err,
    out,
    print_skipped,
    settings_of,
)
from edgeproof.cli.evaluate import accuracy_table
from edgeproof_runtime.bundle import Bundle
from edgeproof_runtime.decision import Decision
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.heads import head_of
from edgeproof_runtime.host import host_warnings
from edgeproof_runtime.judging import Judge, judge_of
from edgeproof_runtime.latency import STAGES, LatencyRecorder
from edgeproof_runtime.outcomes import Decided, Lost
from edgeproof_runtime.pipeline import Pipeline, Worker, stop_on_interrupt
from edgeproof_runtime.preprocess import Preprocessor
from edgeproof_runtime.report import BundleFacts, EngineRow, Gate, Report, Sample, command_line
from edgeproof_runtime.select import load_engine
from edgeproof_runtime.sinks import AnnotatedVideo, PredictionsFile, Sink, Window
from edgeproof_runtime.sources import ClipLabels, PictureSource, Source, open_source
from edgeproof_runtime.streams import Policy, Stream
from edgeproof_runtime.timeline import Timeline

__all__ = ["RunOptions", "run_source"]

_STATUS_HZ = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `run_source` is asked for; the fields are the command's options."""

    source: str
    engine: str = "auto"
    precision: str = "auto"
    policy: Policy | None = None
    labels_from: str | None = None
    save: Path | None = None
    show: bool = False
    predictions: Path | None = None
    top_k: int = 5
    max_frames: int | None = None
    duration_s: float | None = None
    threads: int | None = None
    min_top1: float | None = None


@dataclass(slots=True)
class _Run:
    """What is collected while frames are decided."""

    bundle: Bundle
    recorder: LatencyRecorder = field(default_factory=LatencyRecorder)
    timeline: Timeline = field(default_factory=Timeline)
    keeper: SampleKeeper = field(default_factory=SampleKeeper)
    said: Counter[str] = field(default_factory=Counter)
    judge: Judge = field(init=False)
    first_ns: int | None = None

    def __post_init__(self) -> None:
        self.judge = judge_of(self.bundle)

    def decided(self, decided: Decided[Decision]) -> None:
        frame, decision = decided.frame, decided.decision
        self.timeline.add(self._time_s(frame.captured_ns), decided.end_to_end_ms, "classified")
        self.said[decision.label] += 1
        truth = frame.label
        if truth is not None:
            truth = self.judge.add(decision, truth, frame.name)
        if self.keeper.wants():
            picture = decision.over(frame.image)
            self.keeper.keep(Sample.of(frame.name, picture, decision.label, decision.probability, truth))

    def lost(self, lost: Lost) -> None:
        state: Literal["dropped", "failed"] = "failed" if lost.cause == "failed" else "dropped"
        self.timeline.add(self._time_s(lost.captured_ns), None, state)

    def _time_s(self, captured_ns: int) -> float:
        if self.first_ns is None:
            self.first_ns = captured_ns
        return max(0.0, (captured_ns - self.first_ns) / 1e9)


def run_source(
    bundle: Bundle, options: RunOptions, *, host: dict[str, Any], kind: Literal["run", "demo"] = "run"
) -> Report:
    """Decide about a source's frames and return the report; status and summary go to the terminal.

    Raises:
        SourceError: the source cannot be opened, or gave no frame.
        UnavailableError: the engine or the window is not to be had here.
    """
    head = head_of(bundle)
    if options.min_top1 is not None and bundle.manifest.task != "classify":
        raise InputError("--min-top1 is for classifiers", got=f"task {bundle.manifest.task}", fix="leave it out")
    collected = _Run(bundle)
    with ExitStack() as stack:
        source = stack.enter_context(_open(options, bundle))
        # Of pictures people want to know what they show; of a stream's thousand frames the status line tells.
        pictures = isinstance(source, PictureSource)
        engine = stack.enter_context(load_engine(bundle, options.engine, options.precision, threads=options.threads))
        info = engine.describe()
        pipeline = Pipeline(
            Stream.of(source, policy=options.policy, max_frames=options.max_frames),
            [Worker(Preprocessor(bundle.contract), engine, head)],
            recorder=collected.recorder,
            on_lost=collected.lost,
            duration_s=options.duration_s,
        )
        sinks: list[Sink] = []
        completed = False
        try:
            sinks.extend(_sinks(options, source, pipeline))  # those before one that fails are closed below
            with (
                stop_on_interrupt(pipeline),
                Live(console=err, refresh_per_second=_STATUS_HZ, transient=True, auto_refresh=False) as live,
                pipeline,
            ):
                next_status_s = 0.0
                for decided in pipeline:
                    collected.decided(decided)
                    for sink in sinks:
                        sink.write(decided)
                    if pictures:
                        out.print(f"{decided.frame.name}: {decided.decision.headline}")
                    if err.is_terminal and pipeline.elapsed_s >= next_status_s:
                        next_status_s = pipeline.elapsed_s + 1 / _STATUS_HZ
                        live.update(_status(pipeline, collected, decided), refresh=True)
            completed = True
        finally:
            for sink in sinks:
                sink.close(failed=not completed)
    return _report(bundle, options, kind, host, source, pipeline, info, collected)


def _open(options: RunOptions, bundle: Bundle) -> Source:
    if options.labels_from == "parent":
        source = open_source(options.source, label_by_folder=True)
        if not isinstance(source, PictureSource):
            source.close()
            raise InputError("--labels-from parent is for pictures", got=source.name, fix="give a labels file instead")
        return source
    if options.labels_from is not None:
        return open_source(options.source, labels=ClipLabels.open(options.labels_from, known=bundle.labels))
    return open_source(options.source)


def _sinks(options: RunOptions, source: Source, pipeline: Pipeline[Decision]) -> Iterator[Sink]:
    if options.show:
        yield Window(f"edgeproof: {source.name}", pipeline.stop)
    if options.save is not None:
        yield AnnotatedVideo(options.save, source.fps or (30.0 if source.live else 1.0), real_time=source.live)
    if options.predictions is not None:
        yield PredictionsFile(options.predictions, options.top_k)


def _status(pipeline: Pipeline[Decision], collected: _Run, decided: Decided[Decision]) -> Text:
    counts = pipeline.counts
    summary = collected.recorder.summary("end_to_end")
    fps = counts.decided / pipeline.elapsed_s if pipeline.elapsed_s else 0.0
    p50 = f"{summary.p50_ms:.1f} ms" if summary.p50_ms is not None else "–"
    frame_count = pipeline.snapshots()[0].frame_count
    total = f"/{frame_count}" if frame_count else ""
    return Text(
        f"{decided.decision.headline}  frame {counts.decided}{total}  {fps:5.1f} fps  "
        f"latency p50 {p50}  age {decided.frame_age_ms:.1f} ms  dropped {counts.dropped}",
        no_wrap=True,
        overflow="ellipsis",
    )


def _report(
    bundle: Bundle,
    options: RunOptions,
    kind: Literal["run", "demo"],
    host: dict[str, Any],
    source: Source,
    pipeline: Pipeline[Decision],
    info: Any,
    collected: _Run,
) -> Report:
    counts = pipeline.counts
    fps = counts.decided / pipeline.elapsed_s if pipeline.elapsed_s else None
    accuracy, anomaly = collected.judge.accuracy, collected.judge.anomaly
    inference_ms = collected.recorder.summary("inference").p50_ms
    gates = []
    if options.min_top1 is not None:
        gates.append(
            Gate.judge(
                "top-1",
                "top-1 accuracy of the labelled frames with --min-top1",
                {"top1": accuracy.top1 if accuracy is not None else float("nan")},
                at_least={"top1": options.min_top1},
            )
        )
    notes = []
    policy = pipeline.snapshots()[0].policy
    if policy == "every-frame" and counts.decided > 1:
        notes.append(
            "Frames of a file are read ahead and wait for the engine: end to end and frame age contain that wait, "
            "which a camera's newest frame does not have."
        )
    warnings = notes + host_warnings(host) + print_skipped(source.skipped) + print_skipped(pipeline.failed, "frame")
    out.print(
        f"{counts.frames_in} frames in = {counts.decided} classified + {counts.dropped} dropped"
        + (f" + {counts.failed} failed" if counts.failed else "")
        + (f", {fps:.1f} frames/s" if fps else "")
        + f" on {info.name} {info.version}"
    )
    if collected.said and not isinstance(source, PictureSource):
        most = ", ".join(f"{label} {n / counts.decided:.0%}" for label, n in collected.said.most_common(3))
        out.print(f"most often: {most}")
    out.print(_latency_table(collected.recorder))
    if accuracy is not None:
        out.print(accuracy_table(accuracy, f"accuracy of {accuracy.n} labelled frames"))
    if anomaly is not None:
        out.print(anomaly_table(anomaly, f"defects among {anomaly.n} labelled frames"))
    return Report(
        kind=kind,
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings=settings_of(
            bundle,
            engine=info.name,
            precision=info.precision,
            threads=info.threads,
            source=source.name,
            policy=policy,
        ),
        counts={
            "frames_in": counts.frames_in,
            "frames_classified": counts.decided,
            "frames_dropped": counts.dropped,
            "frames_failed": counts.failed,
            "files_skipped": len(source.skipped),
        },
        throughput_fps=fps,
        accuracy=accuracy.to_json(bundle.labels) if accuracy is not None else None,
        anomaly=anomaly,
        gates=gates,
        engines=[EngineRow(info.name, info.version, inference_ms, None, chosen=True)],
        samples=collected.keeper.samples,
        timeline=collected.timeline.to_json(),
        warnings=warnings,
        **Report.latency(collected.recorder),
    )


def _latency_table(recorder: LatencyRecorder) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("latency, ms")
    for column in ("mean", "p50", "p90", "p99", "max"):
        table.add_column(column, justify="right")
    for stage in STAGES:
        if not recorder.count(stage):
            continue
        summary = recorder.summary(stage)
        values = (summary.mean_ms, summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.max_ms)
        table.add_row(stage.replace("_", " "), *("–" if value is None else f"{value:.2f}" for value in values))
    return table
