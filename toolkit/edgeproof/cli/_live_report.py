"""What a live run collects, and the summary and report that it becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.table import Table

from edgeproof.cli._anomaly import anomaly_table
from edgeproof.cli._shared import SampleKeeper, count, err, out, print_skipped, settings_of
from edgeproof.cli.evaluate import accuracy_table
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import EngineInfo
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import Skipped
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.live.outcomes import Decided, Lost
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.soak import SoakRecord
from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.live.timeline import Timeline
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.latency import STAGES, LatencyRecorder
from edgeproof_runtime.sinks import SinkCounts
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.record import Judge
from edgeproof_runtime.tasks.registry import judge_of

__all__ = ["Collected", "report_of"]

_FAULTS_NAMED = 10


@dataclass(slots=True)
class Collected:
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
            self.keeper.keep(Thumbnail.of(frame.name, picture, decision.label, decision.probability, truth))

    def lost(self, lost: Lost) -> None:
        state: Literal["dropped", "failed"] = "failed" if lost.cause == "failed" else "dropped"
        self.timeline.add(self._time_s(lost.captured_ns), None, state)

    def _time_s(self, captured_ns: int) -> float:
        if self.first_ns is None:
            self.first_ns = captured_ns
        return max(0.0, (captured_ns - self.first_ns) / 1e9)


def report_of(
    bundle: Bundle,
    pipeline: Pipeline[Decision],
    collected: Collected,
    *,
    kind: Literal["run", "demo", "soak"],
    host: dict[str, Any],
    info: EngineInfo,
    settings: dict[str, Any],
    pictures: bool,
    min_top1: float | None,
    sinks: Sequence[SinkCounts],
    events: int | None,
    soak: SoakRecord | None,
) -> Report:
    """Print the summary of a run that has ended, and return its report.

    Args:
        bundle: what ran.
        pipeline: that has ended.
        collected: while it ran.
        kind: of the report.
        host: facts of before the run.
        info: of the engines.
        settings: what else was chosen.
        pictures: whether each frame stands for itself.
        min_top1: bound of the gate on accuracy, if there is one.
        sinks: what became of what was written, by sink.
        events: how many began; None where nobody asked.
        soak: what was seen over time.
    """
    counts, snapshots = pipeline.counts, pipeline.snapshots()
    fps = counts.decided / pipeline.elapsed_s if pipeline.elapsed_s else None
    accuracy = getattr(collected.judge, "accuracy", None)
    anomaly = collected.judge.sections().get("anomaly")
    inference_ms = collected.recorder.summary("inference").p50_ms
    gates = []
    if min_top1 is not None:
        gates.append(
            Gate.judge(
                "top-1",
                "top-1 accuracy of the labelled frames with --min-top1",
                {"top1": accuracy.top1 if accuracy is not None else float("nan")},
                at_least={"top1": min_top1},
            )
        )
    warnings = [
        *_notes(snapshots),
        *(f"Not everything was written to {sink.sentence}." for sink in sinks if not sink.whole),
        *host_warnings(host),
        *(print_skipped if pictures else _print_faults)(pipeline.skipped),
        *print_skipped(pipeline.failed, "frame"),
    ]
    out.print(
        f"{counts.frames_in} frames in = {counts.decided} classified + {counts.dropped} dropped"
        + (f" + {counts.failed} failed" if counts.failed else "")
        + (f", {fps:.1f} frames/s" if fps else "")
        + f" on {info.name} {info.version}"
        + (f", {settings['workers']} workers" if settings["workers"] > 1 else "")
    )
    if len(snapshots) > 1:
        out.print(_streams_table(snapshots))
    if collected.said and not pictures:
        most = ", ".join(f"{label} {n / counts.decided:.0%}" for label, n in collected.said.most_common(3))
        out.print(f"most often: {most}")
    if events is not None:
        out.print(count(events, "event"))
    for sink in sinks:
        out.print(sink.sentence)
    out.print(_latency_table(collected.recorder))
    if soak is not None:
        out.print(_soak_table(soak))
    if accuracy is not None:
        out.print(accuracy_table(accuracy, f"accuracy of {accuracy.n} labelled frames"))
    if anomaly is not None:
        out.print(anomaly_table(anomaly, f"defects among {anomaly['n']} labelled frames"))
    return Report(
        kind=kind,
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings=settings_of(bundle, engine=info.name, precision=info.precision, threads=info.threads, **settings),
        counts={
            "frames_in": counts.frames_in,
            "frames_classified": counts.decided,
            "frames_dropped": counts.dropped,
            "frames_overtaken": counts.overtaken,
            "frames_failed": counts.failed,
            "files_skipped": len(pipeline.skipped),
            **({"events": events} if events is not None else {}),
        },
        throughput_fps=fps,
        accuracy=accuracy.to_json(bundle.labels) if accuracy is not None else None,
        anomaly=anomaly,
        gates=gates,
        engines=[EngineRow(info.name, info.version, inference_ms, None, chosen=True)],
        samples=collected.keeper.samples,
        timeline=collected.timeline.to_json(),
        streams=[snapshot.to_json() for snapshot in snapshots],
        sinks=[sink.to_json() for sink in sinks],
        soak=soak.to_json() if soak is not None else None,
        warnings=warnings,
        **Report.latency(collected.recorder),
    )


def _print_faults(faults: Sequence[Skipped]) -> list[str]:
    """Say on stderr what videos and streams could not give; returns the same as sentences."""
    sentences = [f"{fault.name}: {fault.reason}." for fault in faults]
    for sentence in sentences[:_FAULTS_NAMED]:
        err.print(sentence, style="yellow")
    if len(sentences) > _FAULTS_NAMED:
        err.print(f"and {count(len(sentences) - _FAULTS_NAMED, 'more fault')}", style="yellow")
    return sentences


def _notes(snapshots: tuple[StreamSnapshot, ...]) -> list[str]:
    notes = []
    if any(s.policy == "every-frame" and s.counts.decided > 1 for s in snapshots):
        notes.append(
            "Frames of a file are read ahead and wait for the engine: end to end and frame age contain that wait, "
            "which a camera's newest frame does not have."
        )
    for s in snapshots:
        notes.extend(f"{s.name}: {note}" for note in s.notes)
        if s.state == "failed":
            notes.append(f"The stream {s.name} failed: {s.reason}")
        if s.reconnections:
            times = "once" if s.reconnections == 1 else f"{s.reconnections} times"
            notes.append(f"{s.name} was opened again {times}.")
        notes.extend(f"{s.name}: {frames} frames left out: {cause}." for cause, frames in s.left_out.items())
    return notes


def _streams_table(snapshots: tuple[StreamSnapshot, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stream")
    table.add_column("state")
    for column in ("in", "classified", "overtaken", "failed", "reconnected"):
        table.add_column(column, justify="right")
    for s in snapshots:
        c = s.counts
        figures = (c.frames_in, c.decided, c.overtaken, c.failed, s.reconnections)
        table.add_row(s.name, s.state, *(str(figure) for figure in figures))
    return table


def _soak_table(soak: SoakRecord) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"after {soak.warm_up_s:.0f} s of warm-up")
    for column in ("first", "last", "per hour", "95 % interval"):
        table.add_column(column, justify="right")
    for name, series in soak.to_json()["series"].items():
        values = [value for value in series["values"] if value is not None]
        if not values:
            continue
        per_hour = series["per_hour"]
        table.add_row(
            name.replace("_", " "),
            f"{values[0]:.1f}",
            f"{values[-1]:.1f}",
            f"{per_hour['estimate']:+.2f}" if per_hour else "too few looks",
            f"{per_hour['low']:+.2f} to {per_hour['high']:+.2f}" if per_hour else "",
        )
    for name, why in soak.unavailable.items():
        table.add_row(name.replace("_", " "), "–", "–", why)
    return table


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
