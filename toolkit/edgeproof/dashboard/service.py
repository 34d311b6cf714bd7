"""A bundle behind an HTTP server, with its streams: everything that `edgeproof serve` holds while it runs."""

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
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import Engine, EngineInfo
from edgeproof_runtime.live.outcomes import Decided, Lost
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.live.workers import crew
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.sources import StreamSpec
from edgeproof_runtime.sources.opening import is_path
from edgeproof_runtime.tasks.registry import head_of, task_of

__all__ = ["EngineOptions", "Service", "open_service"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Which engine, and how many requests at once.

    Attributes:
        engine, precision, threads: as `edgeproof_runtime.selection.auto.load_engine` takes them.
        max_batch: most rows of one inference for requests; None takes the bundle's bound.
        capacity: requests under way at once.
    """

    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    max_batch: int | None = None
    capacity: int = 128


@dataclass(frozen=True, slots=True)
class Service:
    """What runs.

    Attributes:
        engine: what answers requests; frames have copies of their own.
        model: the bundle as clients see it.
        metrics: of this server.
        live: the streams; None where there are none.
        server: run it; `HttpServer.stop` ends it.
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
    *,
    recorder: LatencyRecorder | None = None,
    on_decided: Callable[[Decided[Any]], None] = lambda _decided: None,
    on_lost: Callable[[Lost], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Service]:
    """Load the bundle, start its streams and prepare the server; all of it ends with the block.

    Args:
        bundle: what to serve.
        listener: from `edgeproof.dashboard.server.bind`.
        options: which engine.
        settings: who may ask for how much.
        specs: the streams to watch; what is not a file is opened again for ever.
        recorder: is given the stages' latencies of every decided frame.
        on_decided: is told of every decided frame.
        on_lost: is told of every frame without a decision.
        progress: is told (phase, done, total) while engines are measured.

    Raises:
        InputError: an engine or a batch that the bundle cannot have.
        UnavailableError: the engine cannot run here.
    """
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
            # Frames must not wait behind requests, so they have engines of their own.
            found = crew(
                bundle,
                head_of(bundle),
                engine.name,
                engine.artifact.precision,
                threads=options.threads,
                alone=len(specs) == 1,
            )
            streams = [_stream(spec, bundle.labels) for spec in specs]
            workers = stack.enter_context(found).workers
            live = LiveStreams(Pipeline(streams, workers, recorder=recorder, on_lost=on_lost), metrics, on_decided)
        dashboard = Dashboard(bundle, model, batcher, metrics, live, settings)
        stack.callback(dashboard.close)
        if live is not None:
            live.start()
            stack.callback(live.stop)
        yield Service(engine.describe(), model, metrics, live, HttpServer(dashboard, listener))


def _stream(spec: StreamSpec, labels: Sequence[str]) -> Stream:
    # A camera may be switched on later; a file that is not there was misspelt.
    return Stream(spec.name, partial(spec.open, labels), reconnect="auto" if is_path(spec.source) else "always")


def _served_model(bundle: Bundle, engine: Engine) -> ServedModel:
    artifact, info = engine.artifact, engine.describe()
    return ServedModel(
        name=bundle.name,
        version=bundle.sha256(artifact.path.relative_to(bundle.path).as_posix())[:12],
        platform=f"{info.name} {info.version}",
        input=artifact.input,
        outputs=artifact.outputs,
        head=head_of(bundle) if task_of(bundle).takes_frames else None,
    )
