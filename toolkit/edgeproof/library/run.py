"""Run a bundle live on cameras, videos, folders and streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from edgeproof.library.bounds import bound_of
from edgeproof.library.evidence import rules_of
from edgeproof.library.inputs import open_bundle
from edgeproof.library.live_follow import BundleChange, Follow, identity_of, prove, real_path, trust_of
from edgeproof.library.live_reload import StreamsReload
from edgeproof.library.live_report import RunReport, report_of
from edgeproof.library.live_sinks import LiveSinks, SinkOptions
from edgeproof.library.live_streams import RunStreams
from edgeproof.library.progress import Progress
from edgeproof.library.sources import specs_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import EdgeproofError, InputError
from edgeproof_runtime.live.collector import Collector
from edgeproof_runtime.live.events import EventSettings, events_by_stream
from edgeproof_runtime.live.gaps import GapMeter
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.soak import Soak
from edgeproof_runtime.live.workers import Crew, crew
from edgeproof_runtime.sinks import Recording
from edgeproof_runtime.sources import HealthOptions, SourceOptions
from edgeproof_runtime.system import heap
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.bounds import require_duration
from edgeproof_runtime.system.redact import redact_address
from edgeproof_runtime.system.steps import step
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.registry import head_of, judge_of
from edgeproof_runtime.tasks.unknown import UnknownRule

__all__ = ["RunObserver", "run"]

_BATCH_WAIT_MS = 5.0  # a sixth of a camera's frame interval: enough to collect frames of other cameras


class RunObserver:
    """Observe a run; override the methods of interest, which do nothing by default.

    The methods are called from the thread that called `run`.
    """

    def watching(
        self,
        pipeline: Pipeline[Decision],  # noqa: ARG002
        reload: StreamsReload,  # noqa: ARG002
    ) -> AbstractContextManager[object]:
        """Return a context manager entered before the streams start and left after they end.

        Args:
            pipeline: the running streams.
            reload: reads the files of streams again; call it from another thread.
        """
        return nullcontext()

    def problem(self, sentence: str) -> None:
        """Handle a message about a sink that is not connected yet."""

    def changed(self, change: BundleChange) -> None:
        """Handle a change of the followed bundle, or its refusal; called from another thread."""

    def decided(self, decided: Decided[Decision], *, still: bool) -> None:
        """Handle a decided frame; ``still`` is whether its source gives still images."""


@bounded
def run(
    bundle: str | Path | Bundle,
    source: str | Sequence[str],
    *,
    engine: str = "auto",
    precision: str = "auto",
    policy: str | None = None,
    labels_from: str | None = None,
    save: str | Path | None = None,
    segment: Sequence[str] = (),
    keep: Sequence[str] = (),
    clips: str | Path | None = None,
    pre_s: float = 5.0,
    post_s: float = 5.0,
    snapshots: str | Path | None = None,
    show: bool = False,
    predictions: str | Path | None = None,
    rotate_files: str | None = None,
    top_k: int = 5,
    max_frames: int | None = None,
    duration_s: float | None = None,
    soak: bool = False,
    reconnect: str = "auto",
    stall_timeout_s: float | None = None,
    workers: int | None = None,
    batch: int = 1,
    sink: Sequence[str] = (),
    events: EventSettings | None = None,
    unknown: str | None = None,
    home_assistant: bool = False,
    source_options: SourceOptions | None = None,
    health: HealthOptions | None = None,
    min_top1: float | None = None,
    min_auroc: float | None = None,
    min_map: float | None = None,
    threads: int | None = None,
    follow: bool = False,
    other_labels: bool = False,
    settings: str | Path | None = None,
    host: Mapping[str, Any] | None = None,
    observer: RunObserver | None = None,
    progress: Progress | None = None,
) -> RunReport:
    """Run a bundle on the frames of streams until they end.

    The caller handles signals: `edgeproof_runtime.live.signals.stop_on_interrupt`, entered by an observer's
    ``watching``, stops a run cleanly on Ctrl-C.

    Args:
        bundle: path of a bundle, or an opened one.
        source: camera, address, file, folder, pipeline or ``streams.toml``, one or several.
        engine: engine name, or ``auto`` for the fastest that passes the golden cases on this machine.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``auto`` for the fastest on this machine that the bundle has.
        policy: ``every-frame`` or ``latest-frame``; None means the default of the kind of source.
        labels_from: file of labels (CSV or JSON of start, end, label), or ``parent`` for each image's folder name.
        save: annotated video to write; with several streams, each file name contains the stream's name.
        segment: when ``save`` goes on in a new file, ``NAME.TIME.mp4``: times such as ``10m``, sizes such as ``500MB``.
        keep: which segments, clips and snapshots are kept: ages such as ``7d``, sizes such as ``20GB``; of the streams
            together, for each of the three.
        clips: folder of a clip per event.
        pre_s: seconds before an event that its clip holds.
        post_s: seconds after it.
        snapshots: folder of a JPEG file per event.
        show: whether to open a window for each stream.
        predictions: file of JSON lines to append to, one per frame.
        rotate_files: when ``predictions`` and files of ``sink`` are set aside: ``day`` or a size such as ``100MB``.
        top_k: classes per line of ``predictions``.
        max_frames: most frames per stream; None means all.
        duration_s: seconds until the run stops; None means until the streams end.
        soak: record memory, threads, frame age and more over ``duration_s``.
        reconnect: ``auto``, ``always`` or ``never`` reconnect a live stream.
        stall_timeout_s: seconds without a frame before a stream counts as stalled; after twice this it is reconnected.
        workers: engines in parallel; None chooses by machine and streams.
        batch: most frames per inference.
        sink: event sinks: ``FILE.csv``, ``mqtt://host/topic``, ``http://host/path``.
        events: thresholds of the event detector, of streams without their own.
        unknown: ``SCORE:LIMIT`` below which a frame shows none of the classes, of streams without their own.
        home_assistant: whether MQTT brokers of ``sink`` announce the streams to Home Assistant.
        source_options: how to open each source.
        health: limits of healthy frames, for live sources and videos.
        min_top1: with ``labels_from``: bound of a gate on top-1, 0..1.
        min_auroc: with ``labels_from``: bound of a gate on the mean AUROC, 0..1.
        min_map: with ``labels_from``: bound of a gate on mAP, 0..1.
        threads: CPU threads of each engine.
        follow: change to each new bundle that the path of ``bundle`` names, between two frames; it is loaded and its
            golden cases are replayed first. A bundle that fails is refused, and the current one goes on.
        other_labels: with ``follow``: accept bundles with other labels.
        settings: file of `edgeproof init` among ``source`` whose options are in force already; only its streams are
            read.
        host: host facts from before other work; None collects them now.
        observer: observer of the run.
        progress: called with (phase, done, total) while engines are measured.

    Returns:
        A report. Its ``failure`` is an error if a stream failed for good or an output lost every item; its ``passed``
        is False if a gate failed.

    Raises:
        BundleError: the bundle is damaged.
        InputError: an argument is invalid.
        SourceError: a file or the only stream cannot be opened, or no frame arrived.
        UnavailableError: the engine or a window is not available on this machine.
    """
    heap.share()  # before any thread starts
    if policy not in (None, "every-frame", "latest-frame"):
        raise InputError("--policy: unknown", got=policy, expected="every-frame or latest-frame")
    require_duration(duration_s, "--duration")
    require_duration(stall_timeout_s, "--stall-timeout")
    if reconnect not in ("auto", "always", "never"):
        raise InputError("--reconnect: unknown", got=reconnect, expected="auto, always or never")
    of_parent = labels_from == "parent"
    read = partial(
        specs_of,
        [source] if isinstance(source, str) else source,
        None if of_parent else labels_from,
        source_options,
        health,
        settings=settings,
    )
    specs = read()
    if soak and duration_s is None:
        raise InputError("--soak: requires --duration", fix="add --duration, such as --duration 8h")
    options = SinkOptions(
        show=show,
        recording=Recording.of(
            save=save, segment=segment, keep=keep, clips=clips, pre_s=pre_s, post_s=post_s, snapshots=snapshots
        ),
        predictions=None if predictions is None else Path(predictions),
        top_k=top_k,
        rotate_files=rotate_files,
        sinks=tuple(sink),
        events=events or EventSettings(),
        home_assistant=home_assistant,
        bundles=follow,
    )
    followed = bundle.path if isinstance(bundle, Bundle) else Path(bundle)
    if other_labels and not follow:
        raise InputError("--other-labels: requires --follow", fix="add --follow")
    if other_labels and labels_from is not None:
        raise InputError("--other-labels: does not fit --labels-from", got="labels of one model only", fix="omit one")
    seen = identity_of(followed)
    opened = open_bundle(bundle)
    if follow:
        opened = Bundle.open(real_path(followed), trust=trust_of(opened))  # not the link, which will change
    stream_events = events_by_stream(options.events, specs, opened.labels)
    facts = host_facts() if host is None else dict(host)
    rule = None if unknown is None else UnknownRule.parse(unknown)
    head = head_of(opened, rule)
    for spec in specs:
        head_of(opened, spec.unknown or rule)
    streams = RunStreams(
        opened,
        of_parent=of_parent,
        rule=rule,
        policy=policy,  # type: ignore[arg-type]  # checked above, like the next one
        reconnect=reconnect,  # type: ignore[arg-type]
        stall_timeout_s=stall_timeout_s,
        max_frames=max_frames,
    )
    bound = bound_of(opened, min_top1=min_top1, min_auroc=min_auroc, min_map=min_map)
    if bound is not None and labels_from is None:
        raise InputError(
            f"{bound.metric.option}: requires ground truth", fix="add --labels-from FILE or --labels-from parent"
        )
    watcher = observer or RunObserver()
    collector = Collector(judge_of(opened))
    with ExitStack() as stack:
        early = streams.open_early(specs, stack, alone=True)
        stills = streams.stills
        alone = len(specs) == 1 and all(one.live or one.frame_count == 1 for one in early.values())
        hire = partial(
            crew,
            engine=engine,
            precision=precision,
            workers=workers,
            threads=threads,
            max_batch=batch,
            alone=alone and policy != "every-frame",
        )
        held = stack.enter_context(ExitStack())  # what the current bundle opened
        hands = held.enter_context(hire(opened, head, progress=progress))
        pipeline = Pipeline(
            streams.make(specs, early),
            hands.workers,
            recorder=collector.recorder,
            on_lost=collector.lost,
            duration_s=duration_s,
            max_batch=batch,
            max_wait_ms=_BATCH_WAIT_MS,
            bundle=opened.manifest_sha256 if follow else "",
        )
        looks = Soak(lambda: pipeline.counts, duration_s) if soak and duration_s else None
        with LiveSinks(pipeline, options, stream_events, model=opened.name) as sinks:
            for sentence in sinks.problems:
                watcher.problem(sentence)
            pipeline.on_removed = sinks.leave
            reload = StreamsReload(
                specs,
                read=read,
                events=lambda specs: events_by_stream(options.events, specs, streams.bundle.labels),
                make=streams.remake,
                pipeline=pipeline,
                sinks=sinks,
            )

            def load(bundle: Bundle, stack: ExitStack) -> Crew[Decision]:
                events_by_stream(options.events, reload.specs, bundle.labels)  # thresholds of labels that it lacks
                found: Crew[Decision] = stack.enter_context(hire(bundle, head_of(bundle, rule)))
                prove(bundle, [worker.engine for worker in found.workers])  # type: ignore[misc]  # they are engines
                return found

            def change(bundle: Bundle, found: Crew[Decision]) -> None:
                heads = {spec.name: head_of(bundle, spec.unknown or rule) for spec in reload.specs}
                pipeline.switch(found.workers, heads, bundle=bundle.manifest_sha256)
                streams.bundle = bundle

            def tell(change: BundleChange) -> None:
                sinks.tell(change.event)
                watcher.changed(change)

            gaps = GapMeter()
            follower = Follow(
                followed,
                opened,
                hands,
                seen=seen,
                load=load,
                change=change,
                held=held,
                gaps=gaps,
                tell=tell,
                other_labels=other_labels,
            )
            reload.before, reload.lock = follower.look, follower.lock
            following = follower if follow else nullcontext()
            frames = step(f"classify frames of {len(specs)} stream{'' if len(specs) == 1 else 's'}")
            watching = watcher.watching(pipeline, reload)
            with frames, watching, looks or nullcontext(), heap.settled(), pipeline, following:
                try:
                    for decided in pipeline:
                        collector.decided(decided)
                        gaps.decided(decided)
                        if looks is not None:
                            looks.decided(decided.frame_age_ms)
                        sinks.write(decided)
                        for sentence in sinks.news():
                            watcher.problem(sentence)
                        watcher.decided(decided, still=decided.stream in stills)
                except EdgeproofError as error:
                    # Report what was decided before the last stream failed.
                    if error not in pipeline.failures.values() or not pipeline.counts.decided:
                        raise
    return report_of(
        follower.bundle,
        pipeline,
        collector,
        engine=follower.loaded.info,
        host=facts,
        settings={
            "source": ", ".join({spec.capture: redact_address(spec.source) for spec in reload.specs}.values()),
            "policy": ", ".join(sorted({s.policy or "unknown" for s in pipeline.snapshots()})),
            "workers": len(follower.loaded.workers),
            "max_batch": batch,
            "duration_s": duration_s,
            **({"follow": str(followed), "other_labels": other_labels} if follow else {}),
            "unknown": rules_of(rule, reload.specs),
        },
        stills=stills.issuperset(spec.name for spec in reload.specs),
        bound=bound,
        sink_counts=sinks.counts,
        events=sinks.events,
        soak=looks.record() if looks is not None else None,
        switches=follower.section() if follow else None,
    )
