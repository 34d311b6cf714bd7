"""The running parts of `edgeproof serve`: engine, streams and HTTP server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgeproof.dashboard.app import Dashboard, Settings
from edgeproof.dashboard.batching import Batcher
from edgeproof.dashboard.live import LiveStreams
from edgeproof.dashboard.metrics import Metrics
from edgeproof.dashboard.model import ServedModel
from edgeproof.dashboard.server import HttpServer
from edgeproof.dashboard.serving import Edition, Serving
from edgeproof.library.live_follow import BundleChange, Follow, Identity, prove
from edgeproof.library.live_reload import StreamsReload
from edgeproof.library.live_sinks import LiveSinks, SinkOptions
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.bands import bands_of
from edgeproof_runtime.engines import Engine, EngineInfo
from edgeproof_runtime.live.events import events_by_stream
from edgeproof_runtime.live.gaps import GapMeter
from edgeproof_runtime.live.outcomes import Decided, Lost
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.live.workers import Crew, crew
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.sources import StreamSpec
from edgeproof_runtime.sources.opening import check_bands, is_path
from edgeproof_runtime.tasks.record import Head
from edgeproof_runtime.tasks.registry import head_of, task_of
from edgeproof_runtime.tasks.unknown import UnknownRule

__all__ = ["EngineOptions", "FollowOptions", "Service", "open_service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Engine and limits for requests.

    Attributes:
        engine, precision, threads: as `edgeproof_runtime.selection.auto.load_engine` takes them.
        max_batch: most rows per inference for requests; None means the bundle's bound.
        capacity: most requests in progress.
    """

    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    max_batch: int | None = None
    capacity: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """Path whose bundles are followed.

    Attributes:
        path: the path.
        seen: its identity before the first bundle was opened.
        other_labels: whether bundles with other labels are accepted.
        tell: called with every outcome, in a thread of its own.
    """

    path: Path
    seen: Identity
    other_labels: bool = False
    tell: Callable[[BundleChange], None] = lambda _change: None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What is loaded of a bundle: its edition for requests, and workers for frames."""

    edition: Edition
    hands: Crew[Any] | None


@dataclass(frozen=True, slots=True)
class Service:
    """Parts of a running service.

    Attributes:
        serving: the served bundle with the engine for requests; frames have separate copies.
        metrics: metrics of this server.
        live: the streams; None without streams.
        server: server to run; `HttpServer.stop` stops it.
        follow: follows the bundle's path; None: it does not change.
    """

    serving: Serving
    metrics: Metrics
    live: LiveStreams | None
    server: HttpServer
    follow: Follow[_Loaded] | None

    @property
    def engine(self) -> EngineInfo:
        """Return the engine for requests."""
        return self.serving.now.engine

    @property
    def model(self) -> ServedModel:
        """Return the bundle as clients see it."""
        return self.serving.now.model

    @property
    def bundle(self) -> Bundle:
        """Return the served bundle."""
        return self.serving.now.bundle


@contextmanager
def open_service(
    bundle: Bundle,
    listener: socket.socket,
    options: EngineOptions,
    settings: Settings,
    specs: Sequence[StreamSpec] = (),
    outputs: SinkOptions | None = None,
    *,
    read: Callable[[], Sequence[StreamSpec]] | None = None,
    unknown: UnknownRule | None = None,
    recorder: LatencyRecorder | None = None,
    on_decided: Callable[[Decided[Any]], None] = lambda _decided: None,
    on_lost: Callable[[Lost], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    follow: FollowOptions | None = None,
) -> Iterator[Service]:
    """Load the bundle, start its streams and prepare the server; all of them stop when the context exits.

    Args:
        bundle: bundle to serve.
        listener: socket from `edgeproof.dashboard.server.bind`.
        options: engine and limits for requests.
        settings: access and limits of the server.
        specs: streams to watch; live ones are always reconnected.
        outputs: what the streams' decisions are written to.
        read: reads the streams again; None: they never change.
        unknown: when a frame of a stream shows none of the classes; None: it always shows one.
        recorder: receives the latencies by stage of every decided frame.
        on_decided: called with every decided frame.
        on_lost: called with every frame without a decision.
        progress: called with (phase, done, total) while engines are measured.
        follow: the path to follow; None: the bundle does not change.

    Raises:
        InputError: the engine or the batch is invalid for the bundle, or an output cannot be opened.
        UnavailableError: the engine is not available on this machine.
    """
    outputs = outputs or SinkOptions()
    events = events_by_stream(outputs.events, specs, bundle.labels)
    gaps, name, first = GapMeter(), bundle.name, bundle

    def load(bundle: Bundle, stack: ExitStack, *, proven: bool = True) -> _Loaded:
        engine = stack.enter_context(
            load_engine(
                bundle,
                options.engine,
                options.precision,
                max_batch=options.max_batch,
                threads=options.threads,
                progress=None if proven else progress,
            )
        )
        hands: Crew[Any] | None = None
        if specs:
            # Frames have separate engines so that they do not wait behind requests.
            found = crew(
                bundle,
                head_of(bundle),
                engine.name,
                engine.artifact.precision,
                threads=options.threads,
                alone=len(specs) == 1,
            )
            hands = stack.enter_context(found)
        if proven:
            events_by_stream(outputs.events, specs, bundle.labels)  # thresholds of labels that it lacks
            workers = () if hands is None else hands.workers
            prove(bundle, [engine, *(worker.engine for worker in workers)])  # type: ignore[list-item]  # they are engines
        fewest, most = bundle.batch.min, engine.artifact.max_batch
        batcher = Batcher(
            engine,
            min_batch=min(fewest, most),
            max_batch=most if options.max_batch is None else min(most, options.max_batch),
            capacity=options.capacity,
            on_batch=lambda rows, ms: metrics.on_batch(rows, ms),
        )
        edition = Edition(bundle, _served_model(bundle, engine, name), engine.describe(), batcher)
        stack.callback(batcher.close)
        stack.callback(lambda: serving.wait_until_left(edition))
        return _Loaded(edition, hands)

    def decided(one: Decided[Any]) -> None:
        gaps.decided(one)
        on_decided(one)

    with ExitStack() as stack:
        held = stack.enter_context(ExitStack())  # what the current bundle opened
        streams = _streams(specs, first, unknown)
        loaded = load(first, held, proven=False)
        serving = Serving(loaded.edition)
        metrics = Metrics(name, loaded.edition.engine.name, loaded.edition.model.version)
        live: LiveStreams | None = None
        if loaded.hands is not None:
            pipeline: Pipeline[Any] = Pipeline(
                streams,
                loaded.hands.workers,
                recorder=recorder,
                on_lost=on_lost,
                bundle="" if follow is None else first.manifest_sha256,
            )
            sinks = LiveSinks(pipeline, outputs, events, model=name)
            live = LiveStreams(pipeline, metrics, stack.enter_context(sinks), events, decided)
            live.reload = StreamsReload(
                specs,
                read=read or (lambda: specs),
                events=lambda specs: events_by_stream(outputs.events, specs, serving.now.bundle.labels),
                make=lambda specs, _stack: _streams(specs, serving.now.bundle, unknown),
                pipeline=pipeline,
                sinks=sinks,
                add=live.add,
            )

        def change(bundle: Bundle, new: _Loaded) -> None:
            if live is not None and live.reload is not None and new.hands is not None:
                heads = {spec.name: head_of(bundle, spec.unknown or unknown) for spec in live.reload.specs}
                live.pipeline.switch(new.hands.workers, heads, bundle=bundle.manifest_sha256)
            serving.replace(new.edition)
            metrics.serve(name, new.edition.engine.name, new.edition.model.version)

        def tell(change: BundleChange) -> None:
            metrics.bundle_changes.labels(change.outcome, change.cause or "").inc()
            if live is not None:
                live.tell(change.event)
            if follow is not None:
                follow.tell(change)

        follower = None
        if follow is not None:
            follower = Follow(
                follow.path,
                first,
                loaded,
                seen=follow.seen,
                load=load,
                change=change,
                held=held,
                gaps=gaps,
                tell=tell,
                other_labels=follow.other_labels,
            )
            if live is not None and live.reload is not None:
                live.reload.before, live.reload.lock = follower.look, follower.lock
        dashboard = Dashboard(serving, metrics, live, settings)
        stack.callback(dashboard.close)
        if live is not None:
            live.start()
            stack.callback(live.stop)
        if follower is not None:
            stack.enter_context(follower)
        yield Service(serving, metrics, live, HttpServer(dashboard, listener), follower)


def _streams(specs: Sequence[StreamSpec], bundle: Bundle, unknown: UnknownRule | None) -> list[Stream]:
    return [_stream(spec, bundle, head_of(bundle, spec.unknown or unknown)) for spec in specs]


def _stream(spec: StreamSpec, bundle: Bundle, head: Head) -> Stream:
    bands = bands_of(bundle.manifest.contract)
    check_bands(spec.source, bands)
    # A camera may be switched on later; a missing file is an error.
    return Stream.of_spec(
        spec,
        partial(spec.open, bundle.labels, bands),
        bundle.labels,
        reconnect="auto" if is_path(spec.source) else "always",
        head=head,
    )


def _served_model(bundle: Bundle, engine: Engine, name: str) -> ServedModel:
    artifact, info = engine.artifact, engine.describe()
    return ServedModel(
        name=name,
        version=artifact.digests[artifact.path][:12],
        platform=f"{info.name} {info.version}",
        input=artifact.input,
        outputs=artifact.outputs,
        head=head_of(bundle) if task_of(bundle).takes_frames else None,
    )
