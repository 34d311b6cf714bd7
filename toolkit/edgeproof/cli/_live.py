"""A model live on its streams: opening them, status, sinks and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeproof.cli._events import Events
from edgeproof.cli._live_report import Collected, report_of
from edgeproof.cli._outputs import Outputs
from edgeproof.cli._shared import out
from edgeproof.cli._status import Status
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import EdgeproofError, InputError, SourceError, UnavailableError
from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline, stop_on_interrupt
from edgeproof_runtime.live.soak import Soak
from edgeproof_runtime.live.stream import Policy, Reconnect, Stream
from edgeproof_runtime.live.workers import crew
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.sources import Source, StreamSpec, open_source
from edgeproof_runtime.sources.opening import is_path
from edgeproof_runtime.system.redact import redact
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.registry import head_of

__all__ = ["RunOptions", "run_streams"]

_BATCH_WAIT_MS = 5.0  # a sixth of a camera's frame: enough for frames of other cameras to come along
_SOAK_LATENCIES = 1 << 13  # small enough to be full before the warm-up is over, so that it is not what grows


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `run_streams` is asked for; the fields are the command's options."""

    specs: tuple[StreamSpec, ...]
    engine: str = "auto"
    precision: str = "auto"
    policy: Policy | None = None
    reconnect: Reconnect = "auto"
    stall_timeout_s: float | None = None
    label_by_folder: bool = False
    save: Path | None = None
    show: bool = False
    predictions: Path | None = None
    top_k: int = 5
    event_sinks: tuple[str, ...] = ()
    events: EventSettings = field(default_factory=EventSettings)
    max_frames: int | None = None
    duration_s: float | None = None
    soak: bool = False
    workers: int | None = None
    threads: int | None = None
    max_batch: int = 1
    min_top1: float | None = None

    def __post_init__(self) -> None:
        if self.soak and self.duration_s is None:
            raise InputError("--soak needs to know how long", fix="add --duration, such as --duration 8h")
        if self.events != EventSettings() and not self.event_sinks:
            raise InputError("events would go nowhere", fix="add --sink events.csv, an mqtt:// or an http:// address")


def run_streams(
    bundle: Bundle, options: RunOptions, *, host: dict[str, Any], kind: Literal["run", "demo"] = "run"
) -> tuple[Report, EdgeproofError | None]:
    """Decide about the frames of streams; status and summary go to the terminal.

    Returns:
        The report, and what the command is to end with where a stream failed for good.

    Raises:
        SourceError: a file or the only stream cannot be opened, or no stream gave a frame.
        UnavailableError: the engine or the window is not to be had here.
    """
    head = head_of(bundle)
    if options.min_top1 is not None and bundle.manifest.task != "classify":
        raise InputError("--min-top1 is for classifiers", got=f"task {bundle.manifest.task}", fix="leave it out")
    collected = Collected(bundle)
    if options.soak:
        collected.recorder = LatencyRecorder(_SOAK_LATENCIES)
    newest: dict[str, Decided[Decision]] = {}
    with ExitStack() as stack:
        opened = _open_early(bundle, options, stack)
        # Of pictures people want to know what they show; of a stream's thousand frames the status line tells.
        pictures = {name for name, source in opened.items() if source.of_pictures}
        alone = len(options.specs) == 1 and all(s.live or s.frame_count == 1 for s in opened.values())
        hands = stack.enter_context(
            crew(
                bundle,
                head,
                options.engine,
                options.precision,
                workers=options.workers,
                threads=options.threads,
                max_batch=options.max_batch,
                alone=alone and options.policy != "every-frame",
            )
        )
        pipeline = Pipeline(
            [_stream(spec, opened.get(spec.name), bundle, options) for spec in options.specs],
            hands.workers,
            recorder=collected.recorder,
            on_lost=collected.lost,
            duration_s=options.duration_s,
            max_batch=options.max_batch,
            max_wait_ms=_BATCH_WAIT_MS,
        )
        soak = Soak(lambda: pipeline.counts, options.duration_s) if options.soak and options.duration_s else None
        with (
            Outputs(
                pipeline,
                show=options.show,
                save=options.save,
                predictions=options.predictions,
                top_k=options.top_k,
                several=len(options.specs) > 1,
            ) as outputs,
            Events(options.event_sinks, options.events, pipeline) as events,
            stop_on_interrupt(pipeline),
            Status(pipeline, newest),
            soak or nullcontext(),
            pipeline,
        ):
            try:
                for decided in pipeline:
                    newest[decided.stream] = decided
                    collected.decided(decided)
                    if soak is not None:
                        soak.decided(decided.frame_age_ms)
                    outputs.write(decided)
                    events.write(decided)
                    if decided.stream in pictures:
                        out.print(f"{decided.frame.name}: {decided.decision.headline}")
            except EdgeproofError as error:
                # What was decided until the last stream failed is reported all the same.
                if error not in pipeline.failures.values() or not pipeline.counts.decided:
                    raise
    report = report_of(
        bundle,
        pipeline,
        collected,
        kind="soak" if soak is not None else kind,
        host=host,
        info=hands.info,
        settings={
            "source": ", ".join(redact(spec.source) for spec in options.specs),
            "policy": ", ".join(sorted({s.policy or "unknown" for s in pipeline.snapshots()})),
            "workers": len(hands.workers),
            "max_batch": options.max_batch,
            "duration_s": options.duration_s,
        },
        pictures=len(pictures) == len(options.specs),
        min_top1=options.min_top1,
        sinks=[*outputs.counts, *events.counts],
        events=events.count if options.event_sinks else None,
        soak=soak.record() if soak is not None else None,
    )
    return report, _failure(pipeline.failures, len(options.specs))


def _failure(failures: Mapping[str, BaseException], streams: int) -> EdgeproofError | None:
    """One error that names the streams that failed; its exit code is the one that they have alone."""
    if not failures:
        return None
    lacking = all(isinstance(error, UnavailableError) for error in failures.values())
    return (UnavailableError if lacking else SourceError)(
        f"{len(failures)} of {streams} streams failed" if streams > 1 else "the stream failed",
        got="; ".join(f"{name}: {' '.join(str(error).split())}" for name, error in failures.items()),
        expected="frames of every stream until its end",
    )


def _open_early(bundle: Bundle, options: RunOptions, stack: ExitStack) -> dict[str, Source]:
    """Files, test cards, and a stream that is alone: what is wrong with them is said before an engine is loaded.

    Cameras would grow old meanwhile, and one of several may be away, so that they are opened when their turn comes.
    """
    opened = {}
    for spec in options.specs:
        lasts = is_path(spec.source) or spec.source.lower().startswith("synthetic:")
        if lasts or (len(options.specs) == 1 and options.reconnect != "always"):
            source = stack.enter_context(_opener(spec, bundle, options)())
            if options.label_by_folder and not source.of_pictures:
                raise InputError(
                    "--labels-from parent is for pictures", got=source.name, fix="give a labels file instead"
                )
            opened[spec.name] = source
    return opened


def _opener(spec: StreamSpec, bundle: Bundle, options: RunOptions) -> Callable[[], Source]:
    if options.label_by_folder:
        return lambda: open_source(spec.source, options=spec.options, label_by_folder=True)
    return lambda: spec.open(bundle.labels)


def _stream(spec: StreamSpec, opened: Source | None, bundle: Bundle, options: RunOptions) -> Stream:
    again = _opener(spec, bundle, options)
    early = [opened] if opened is not None else []
    return Stream(
        spec.name,
        lambda: early.pop() if early else again(),
        policy=options.policy,
        reconnect=options.reconnect,
        stall_timeout_s=options.stall_timeout_s,
        max_frames=options.max_frames,
    )
