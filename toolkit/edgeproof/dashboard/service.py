"""The running parts of `edgeproof serve`: engine, streams and HTTP server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgeproof.dashboard.api import ServedModel
from edgeproof.dashboard.app import Dashboard, Settings
from edgeproof.dashboard.batching import Batcher
from edgeproof.dashboard.live import LiveStreams
from edgeproof.dashboard.metrics import Metrics
from edgeproof.dashboard.server import HttpServer
from edgeproof.library.live_reload import StreamsReload
from edgeproof.library.live_sinks import LiveSinks, SinkOptions
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.bands import bands_of
from edgeproof_runtime.engines import Engine, EngineInfo
from edgeproof_runtime.live.events import events_by_stream
from edgeproof_runtime.live.outcomes import Decided, Lost
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.live.workers import crew
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.sources import StreamSpec
from edgeproof_runtime.sources.opening import check_bands, is_path
from edgeproof_runtime.tasks.record import Head
from edgeproof_runtime.tasks.registry import head_of, task_of
from edgeproof_runtime.tasks.unknown import UnknownRule

__all__ = ["EngineOptions", "Service", "open_service"]


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


@dataclass(frozen=True, slots=True)
class Service:
    """Parts of a running service.

    Attributes:
        engine: engine for requests; frames have separate copies.
        model: the bundle as clients see it.
        metrics: metrics of this server.
        live: the streams; None without streams.
        server: server to run; `HttpServer.stop` stops it.
    """

    engine: EngineInfo
    model: ServedModel
    metrics: Metrics
    live: LiveStreams | None
    server: HttpServer


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

    Raises:
        InputError: the engine or the batch is invalid for the bundle, or an output cannot be opened.
        UnavailableError: the engine is not available on this machine.
    """
    outputs = outputs or SinkOptions()
    events = events_by_stream(outputs.events, specs, bundle.labels)
    with ExitStack() as stack:
        engine = stack.enter_context(
            load_engine(
                bundle,
                options.engine,
                options.precision,
                max_batch=options.max_batch,
                threads=options.threads,
                progress=progress,
            )
        )
        model = _served_model(bundle, engine)
        metrics = Metrics(model.name, engine.name, model.version)
        fewest, most = bundle.batch.min, engine.artifact.max_batch
        batcher = Batcher(
            engine,
            min_batch=min(fewest, most),
            max_batch=most if options.max_batch is None else min(most, options.max_batch),
            capacity=options.capacity,
            on_batch=metrics.on_batch,
        )
        stack.callback(batcher.close)
        live = None
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

            def make(specs: Sequence[StreamSpec], _stack: ExitStack) -> list[Stream]:
                return [_stream(spec, bundle, head_of(bundle, spec.unknown or unknown)) for spec in specs]

            streams = make(specs, stack)
            workers = stack.enter_context(found).workers
            pipeline: Pipeline[Any] = Pipeline(streams, workers, recorder=recorder, on_lost=on_lost)
            sinks = LiveSinks(pipeline, outputs, events, model=bundle.name)
            live = LiveStreams(pipeline, metrics, stack.enter_context(sinks), events, on_decided)
            live.reload = StreamsReload(
                specs,
                read=read or (lambda: specs),
                events=lambda specs: events_by_stream(outputs.events, specs, bundle.labels),
                make=make,
                pipeline=pipeline,
                sinks=sinks,
                add=live.add,
            )
        dashboard = Dashboard(bundle, model, batcher, metrics, live, settings)
        stack.callback(dashboard.close)
        if live is not None:
            live.start()
            stack.callback(live.stop)
        yield Service(engine.describe(), model, metrics, live, HttpServer(dashboard, listener))


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


def _served_model(bundle: Bundle, engine: Engine) -> ServedModel:
    artifact, info = engine.artifact, engine.describe()
    return ServedModel(
        name=bundle.name,
        version=artifact.digests[artifact.path][:12],
        platform=f"{info.name} {info.version}",
        input=artifact.input,
        outputs=artifact.outputs,
        head=head_of(bundle) if task_of(bundle).takes_frames else None,
    )
