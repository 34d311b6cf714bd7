"""`edgeproof serve`: dashboard, metrics and the inference API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from typing import Annotated

import typer

from edgeproof.cli._live import frames_sentence, say_change, say_reload, switches_sentence
from edgeproof.cli._outputs import (
    EVENTS,
    AtOnce,
    EventSink,
    HomeAssistant,
    Predictions,
    RotateFiles,
    Save,
    Smooth,
    Stable,
    Threshold,
    ThresholdOf,
    TopK,
    Unknown,
    events_of,
)
from edgeproof.cli._paths import Reads
from edgeproof.cli._recording import Clips, KeepFor, Post, Pre, SegmentAt, Snapshots
from edgeproof.cli._settings import settings_of
from edgeproof.cli._shared import (
    EngineName,
    Follow,
    HtmlFile,
    JsonFile,
    LiveBundle,
    OtherLabels,
    Precision,
    Threads,
    Trust,
    err,
    open_trusted,
    out,
    progress_bar,
    seconds_of,
    seconds_or_zero,
    write_reports,
)
from edgeproof.cli._sources import (
    ClassifyUnhealthy,
    Every,
    Health,
    Loop,
    OnMotion,
    OpenTimeout,
    RateLimit,
    ReadTimeout,
    options_of,
)
from edgeproof.library.evidence import rules_of
from edgeproof.library.live_follow import identity_of, real_path, trust_of
from edgeproof.library.live_sinks import SinkOptions, lost_outputs
from edgeproof.library.sources import specs_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.live.collector import Collector
from edgeproof_runtime.live.signals import Reloading, stop_on_interrupt
from edgeproof_runtime.live.watchdog import Watchdog
from edgeproof_runtime.sinks import Recording, SinkCounts
from edgeproof_runtime.sources import HealthOptions
from edgeproof_runtime.system import heap
from edgeproof_runtime.tasks.unknown import UnknownRule

__all__ = ["serve"]

_MIB = 1 << 20
_MODULES = ("starlette", "uvicorn", "prometheus_client")


def serve(
    ctx: typer.Context,
    bundle: LiveBundle,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Camera, RTSP or HTTP stream, video, folder or streams.toml. Repeat for several.", metavar="SRC"
        ),
        Reads(),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback requires a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes any free one.", min=0, max=65535)] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            help="Token that requests must carry as 'Authorization: Bearer TOKEN'; browsers ask for it.",
            envvar="EDGEPROOF_TOKEN",
            show_envvar=True,
        ),
    ] = None,
    rate_limit: RateLimit = None,
    every: Every = None,
    on_motion: OnMotion = None,
    loop: Loop = False,
    open_timeout: OpenTimeout = None,
    read_timeout: ReadTimeout = None,
    health: Health = "",
    classify_unhealthy: ClassifyUnhealthy = "",
    save: Save = None,
    predictions: Predictions = None,
    rotate_files: RotateFiles = None,
    top_k: TopK = 5,
    sink: EventSink = None,
    smooth: Smooth = EVENTS.half_life_frames,
    threshold: Threshold = EVENTS.threshold,
    threshold_of: ThresholdOf = None,
    unknown: Unknown = None,
    stable: Stable = EVENTS.stable_frames,
    at_once: AtOnce = EVENTS.top_k,
    home_assistant: HomeAssistant = False,
    segment: SegmentAt = None,
    keep: KeepFor = None,
    clips: Clips = None,
    pre: Pre = "5s",
    post: Post = "5s",
    snapshots: Snapshots = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    max_batch: Annotated[
        int | None, typer.Option(help="Most rows per inference for requests (default: the bundle's bound).", min=1)
    ] = None,
    queue: Annotated[
        int, typer.Option(help="Most requests in progress; further ones get 429.", min=1, max=65_536)
    ] = 128,
    max_body_mb: Annotated[
        int, typer.Option(help="Largest request body in MiB; larger ones get 413.", min=1, max=4096)
    ] = 32,
    root_path: Annotated[
        str, typer.Option(help="Path prefix of all routes, behind a proxy (example: /line-3).", metavar="PATH")
    ] = "",
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address of a proxy whose X-Forwarded-For and -Proto are believed. Repeat for several.",
            metavar="ADDRESS",
        ),
    ] = None,
    follow: Follow = False,
    other_labels: OtherLabels = False,
    trust: Trust = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Serve a live page of streams, Prometheus metrics, and inference over HTTP; write what `run` writes.

    The Open Inference Protocol v2 (JSON and binary tensors) is at /v2, predictions for images at
    /v2/models/NAME/predict, metrics at /metrics, the list of routes at /openapi.json. Ctrl-C, SIGTERM or SIGHUP
    stops cleanly and writes the reports; in a systemd service SIGHUP reloads streams.toml. Exits 2 if an output
    lost every item.

    Examples:

      edgeproof serve model.edge --source rtsp://camera/stream --source 0

      edgeproof serve model.edge --source 0 --sink mqtt://broker/site --home-assistant --save live.mp4

      edgeproof serve edgeproof.toml --port 9000

      edgeproof serve current.edge --source 0 --follow

      EDGEPROOF_TOKEN=... edgeproof serve model.edge --host 0.0.0.0
    """
    missing = [module for module in _MODULES if find_spec(module) is None]
    if missing:
        raise UnavailableError(f"serve: requires {', '.join(missing)}", fix='pip install "edgeproof[serve]"')
    from edgeproof.dashboard.access import check_token
    from edgeproof.dashboard.app import Settings
    from edgeproof.dashboard.connections import check_proxies
    from edgeproof.dashboard.prefix import check_root_path
    from edgeproof.dashboard.report import report_of
    from edgeproof.dashboard.server import bind
    from edgeproof.dashboard.service import EngineOptions, FollowOptions, open_service

    heap.share()  # before any thread starts
    check_token(token, host)
    root_path = check_root_path(root_path)
    proxies = check_proxies(trusted_proxy or ())
    followed = None
    if other_labels and not follow:
        raise InputError("--other-labels: requires --follow", fix="add --follow")
    opened = open_trusted(bundle, trust)
    if follow:
        seen = identity_of(bundle)
        opened = Bundle.open(real_path(bundle), trust=trust_of(opened))  # not the link, which will change
        followed = FollowOptions(path=bundle, seen=seen, other_labels=other_labels, tell=say_change)
    options = options_of(
        rate_limit=rate_limit,
        every_s=seconds_of(every, "--every"),
        on_motion=on_motion,
        loop=loop,
        open_timeout_s=seconds_of(open_timeout, "--open-timeout"),
        read_timeout_s=seconds_of(read_timeout, "--read-timeout"),
    )
    settings = settings_of(ctx)
    read = partial(
        specs_of,
        source or (),
        options=options,
        health=HealthOptions(limits=health, classify=classify_unhealthy),
        settings=None if settings is None else settings.file,
    )
    specs = read()
    outputs = SinkOptions(
        recording=Recording.of(
            save=save,
            segment=segment or (),
            keep=keep or (),
            clips=clips,
            pre_s=seconds_or_zero(pre, "--pre"),
            post_s=seconds_or_zero(post, "--post"),
            snapshots=snapshots,
        ),
        predictions=predictions,
        rotate_files=rotate_files,
        top_k=top_k,
        sinks=tuple(sink or ()),
        events=events_of(smooth=smooth, threshold=threshold, threshold_of=threshold_of, stable=stable, at_once=at_once),
        home_assistant=home_assistant,
        bundles=follow,
        shown=True,
    )
    if outputs.any and not specs:
        raise InputError("outputs of streams: require --source", fix="add --source")
    rule = None if unknown is None else UnknownRule.parse(unknown)
    facts = host_facts()
    collector = Collector()
    with ExitStack() as stack:
        listener = stack.enter_context(bind(host, port))
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}{root_path}"
        with progress_bar() as tell:
            service = stack.enter_context(
                open_service(
                    opened,
                    listener,
                    EngineOptions(
                        engine=engine, precision=precision, threads=threads, max_batch=max_batch, capacity=queue
                    ),
                    Settings(
                        host=host,
                        token=token,
                        max_body_bytes=max_body_mb * _MIB,
                        root_path=root_path,
                        trusted_proxies=proxies,
                    ),
                    specs,
                    outputs,
                    read=read,
                    unknown=rule,
                    recorder=collector.recorder,
                    on_decided=collector.decided,
                    on_lost=collector.lost,
                    progress=tell,
                    follow=followed,
                )
            )
        info = service.engine
        for sentence in service.live.problems if service.live is not None else ():
            err.print(sentence)
        err.print(f"{opened.name} on {info.name} {info.version}, {info.precision}: {address} (Ctrl-C stops)")
        shots = (lambda: ()) if service.live is None else service.live.pipeline.snapshots
        reload = None if service.live is None else service.live.reload
        changes: Callable[[], str] | None = reload
        if reload is None and service.follow is not None:
            changes = service.follow.look_now
        reloading = None if changes is None else Reloading(changes, say_reload)
        watchdog = Watchdog(shots, ready=lambda: service.server.started)
        with stop_on_interrupt(service.server, reloading), watchdog, heap.settled():
            service.server.run()
    watched = specs if reload is None else reload.specs
    report = report_of(
        service,
        collector,
        host=facts,
        sources=[spec.name for spec in watched],
        unknown=rules_of(rule, watched),
    )
    counts = () if service.live is None else service.live.sink_counts
    write_reports(report, json_file, html_file)  # first: the terminal may be gone
    _print(report, counts, streams=bool(specs))
    lost = lost_outputs(counts)
    if lost is not None:
        raise lost


def _print(report: Report, sinks: Sequence[SinkCounts], *, streams: bool) -> None:
    counts = report.counts
    by_code = {name: number for name, number in counts.items() if name.startswith("requests_")}
    answered = sum(number for name, number in by_code.items() if name.startswith("requests_2"))
    if "switches" in report.sections:
        out.print(switches_sentence(report.sections["switches"]))
    out.print(f"{sum(by_code.values())} inference requests, {answered} answered")
    if streams:
        out.print(frames_sentence(counts, "decided", report.throughput_fps))
    for sink in sinks:
        out.print(sink.sentence)
