"""Build the report of a live run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeproof.library.bounds import Bound
from edgeproof.library.evidence import settings_of, skipped_warnings, unknown_frames
from edgeproof.library.live_sinks import lost_outputs
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.bands import visible_notes
from edgeproof_runtime.engines import EngineInfo
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import EdgeproofError, Skipped, SourceError, UnavailableError, one_line
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.live.collector import Collector
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.soak import SoakRecord
from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.live.stream_health import health_section
from edgeproof_runtime.sinks import SinkCounts, incomplete
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["RunReport", "report_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport(Report):
    """Report of `run`, with typed results that the JSON document does not hold.

    Attributes:
        engine: the engines of the workers.
        failure: one error for all failed streams, or for outputs that lost every item; None if neither.
        stills: whether every source gives still images.
        labels: number of frames by predicted label, most frequent first.
        snapshots: final state of each stream.
        sink_counts: written, dropped and failed items by sink.
        skipped: what could not be read from the sources.
        failed: frames that could not be processed.
        switches: changes of the followed bundle; the document holds them as well. None: no bundle was followed.
    """

    engine: EngineInfo
    failure: EdgeproofError | None = None
    stills: bool = False
    labels: Mapping[str, int] = field(default_factory=dict)
    snapshots: Sequence[StreamSnapshot] = ()
    sink_counts: Sequence[SinkCounts] = ()
    skipped: Sequence[Skipped] = ()
    failed: Sequence[Skipped] = ()
    switches: Mapping[str, Any] | None = None


def report_of(
    bundle: Bundle,
    pipeline: Pipeline[Decision],
    collector: Collector,
    *,
    engine: EngineInfo,
    host: dict[str, Any],
    settings: Mapping[str, Any],
    stills: bool,
    bound: Bound | None,
    sink_counts: Sequence[SinkCounts],
    events: int | None,
    soak: SoakRecord | None,
    switches: dict[str, Any] | None = None,
) -> RunReport:
    """Build the report of a finished run.

    Args:
        bundle: the bundle that ran.
        pipeline: the finished pipeline.
        collector: results collected from the frames.
        engine: the engines of the workers.
        host: host facts from before the run.
        settings: further settings of the run.
        stills: whether every source gives still images.
        bound: lower bound of the task's metric; None without a gate.
        sink_counts: written, dropped and failed items by sink.
        events: number of started events; None without event sinks.
        soak: section of the soak recorder, if any.
        switches: section of the changes of the followed bundle; None if no bundle was followed.
    """
    counts, snapshots = pipeline.counts, (*pipeline.snapshots(), *pipeline.removed)
    judge = collector.judge
    skipped, failed = tuple(pipeline.skipped), tuple(pipeline.failed)
    gates = []
    if bound is not None and judge is not None:
        gates.append(bound.metric.gate(judge.figures(), bound.least, " of the labelled frames"))
    return RunReport(
        kind="run" if soak is None else "soak",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(bundle),
        settings=settings_of(
            bundle, engine=engine.name, precision=engine.precision, threads=engine.threads, **settings
        ),
        counts={
            "frames_in": counts.frames_in,
            "frames_classified": counts.decided,
            "frames_dropped": counts.dropped,
            "frames_overtaken": counts.overtaken,
            "frames_unhealthy": counts.unhealthy,
            "frames_failed": counts.failed,
            "files_skipped": len(skipped),
            **unknown_frames(settings, collector),
            **({"events": events} if events is not None else {}),
        },
        throughput_fps=counts.decided / pipeline.elapsed_s if pipeline.elapsed_s else None,
        gates=gates,
        engines=[
            EngineRow(engine.name, engine.version, collector.recorder.summary("inference").p50_ms, None, chosen=True)
        ],
        streams=[snapshot.to_json() for snapshot in snapshots],
        health=health_section(snapshots),
        sinks=[sink.to_json() for sink in sink_counts],
        soak=soak.to_json() if soak is not None else None,
        warnings=[
            *_notes(snapshots),
            *visible_notes(bundle.manifest.contract),
            *incomplete(sink_counts),
            *host_warnings(host),
            *(skipped_warnings(skipped) if stills else [f"{fault.name}: {fault.reason}." for fault in skipped]),
            *skipped_warnings(failed),
        ],
        engine=engine,
        failure=_failure(pipeline.failures, len(pipeline.snapshots())) or lost_outputs(sink_counts),
        stills=stills,
        labels=dict(collector.labels.most_common()),
        snapshots=snapshots,
        sink_counts=sink_counts,
        skipped=skipped,
        failed=failed,
        **collector.report_fields(),
        switches=switches,
        sections={
            **({} if judge is None else judge.sections()),
            **({} if switches is None else {"switches": switches}),
        },
    )


def _notes(snapshots: Sequence[StreamSnapshot]) -> list[str]:
    notes = []
    if any(s.policy == "every-frame" and s.counts.decided > 1 for s in snapshots):
        notes.append(
            "Frames of a file are read ahead and wait for the engine. End-to-end latency and frame age include this "
            "wait; a camera's newest frame has no such wait."
        )
    for s in snapshots:
        notes.extend(f"{s.name}: {note}" for note in s.notes)
        if s.state == "failed":
            notes.append(f"{s.name}: stream failed: {s.reason}")
        if s.reconnections:
            times = "once" if s.reconnections == 1 else f"{s.reconnections} times"
            notes.append(f"{s.name}: reconnected {times}.")
        notes.extend(f"{s.name}: {frames} {cause} frames left out." for cause, frames in s.unhealthy.items())
        notes.extend(
            f"{s.name}: {frames} {cause} frames classified all the same."
            for cause, frames in s.unhealthy_classified.items()
        )
        notes.extend(f"{s.name}: {frames} frames left out: {cause}." for cause, frames in s.left_out.items())
    return notes


def _failure(failures: Mapping[str, BaseException], streams: int) -> EdgeproofError | None:
    """Return one error naming the failed streams, with the exit code of a single failed stream."""
    if not failures:
        return None
    lacking = all(isinstance(error, UnavailableError) for error in failures.values())
    return (UnavailableError if lacking else SourceError)(
        f"{len(failures)} of {streams} streams failed" if streams > 1 else "the stream failed",
        got="; ".join(f"{name}: {one_line(error)}" for name, error in failures.items()),
        expected="frames until the end of every stream",
    )
