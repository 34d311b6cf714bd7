"""`edgeproof run`: run a model live on a camera, video, folder or stream."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproof.cli._live import TerminalObserver, print_run
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
    fail_on,
    open_trusted,
    seconds_of,
    seconds_or_zero,
    write_reports,
)
from edgeproof.cli._sources import (
    CameraClock,
    ClassifyUnhealthy,
    Crop,
    Every,
    Fps,
    HardwareDecode,
    Health,
    Loop,
    Mjpeg,
    OnMotion,
    OpenTimeout,
    RateLimit,
    ReadTimeout,
    Resolution,
    Rotate,
    options_of,
)
from edgeproof.library.run import run as run_bundle
from edgeproof_runtime.sources import HealthOptions

__all__ = ["run"]


def run(
    ctx: typer.Context,
    bundle: LiveBundle,
    source: Annotated[
        list[str],
        typer.Option(
            help="Camera (0, /dev/video0, csi://0), video, image, folder, glob, rtsp://..., synthetic://640x480@30, "
            "a GStreamer pipeline, or a streams.toml. Repeat for several streams.",
            metavar="SRC",
            show_default=False,
        ),
        Reads(),
    ],
    engine: EngineName = "auto",
    precision: Precision = "auto",
    policy: Annotated[
        str | None,
        typer.Option(help="every-frame or latest-frame (default: every-frame for files, latest-frame for cameras)."),
    ] = None,
    labels_from: Annotated[
        str | None,
        typer.Option(help="Ground truth: a CSV/JSON of start,end,label, or 'parent' for each image's folder name."),
        Reads(),
    ] = None,
    save: Save = None,
    show: Annotated[bool, typer.Option("--show", help="Show frames in a window; q or Esc stops.")] = False,
    predictions: Predictions = None,
    rotate_files: RotateFiles = None,
    top_k: TopK = 5,
    max_frames: Annotated[int | None, typer.Option(help="Stop after this many frames per stream.", min=1)] = None,
    duration: Annotated[
        str | None, typer.Option(help="Stop after this time: 90 (seconds), 30m, 8h.", metavar="TIME")
    ] = None,
    soak: Annotated[
        bool,
        typer.Option(
            "--soak", help="With --duration: record memory, threads, frame age and more over time, with slopes."
        ),
    ] = False,
    reconnect: Annotated[
        str, typer.Option(help="Reconnect a live stream: auto (if it was connected before), always or never.")
    ] = "auto",
    stall_timeout: Annotated[
        str | None,
        typer.Option(
            help="Time without a frame before a stream counts as stalled; after twice this it is reconnected.",
            metavar="TIME",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Engines in parallel (default: one per core for files and for several streams).", min=1),
    ] = None,
    batch: Annotated[int, typer.Option(help="Most frames per inference, from all streams.", min=1)] = 1,
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
    resolution: Resolution = None,
    fps: Fps = None,
    mjpeg: Mjpeg = False,
    rotate: Rotate = 0,
    crop: Crop = None,
    rate_limit: RateLimit = None,
    every: Every = None,
    on_motion: OnMotion = None,
    loop: Loop = False,
    hardware_decode: HardwareDecode = False,
    camera_clock: CameraClock = False,
    open_timeout: OpenTimeout = None,
    read_timeout: ReadTimeout = None,
    health: Health = "",
    classify_unhealthy: ClassifyUnhealthy = "",
    min_top1: Annotated[
        float | None, typer.Option(help="With --labels-from: fail if top-1 is below this (0..1).", min=0.0, max=1.0)
    ] = None,
    min_auroc: Annotated[
        float | None,
        typer.Option(help="With --labels-from: fail when the mean AUROC is below this (0..1).", min=0.0, max=1.0),
    ] = None,
    min_map: Annotated[
        float | None, typer.Option(help="With --labels-from: fail when the mAP is below this (0..1).", min=0.0, max=1.0)
    ] = None,
    threads: Threads = None,
    follow: Follow = False,
    other_labels: OtherLabels = False,
    trust: Trust = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Classify the frames of a source live, and report latency per stage, dropped frames and accuracy.

    Each stream has its own capture thread and is reconnected when its camera disappears; workers take frames from all
    streams in rotation. Every frame of a file is classified; from a camera always the newest one, and the frames it
    replaces count as dropped. Ctrl-C stops cleanly. Exits 2 if a stream failed or an output
    lost every item, after the report of all streams.

    Examples:

      edgeproof run model.edge --source 0 --show

      edgeproof run model.edge --source clip.mp4 --save labelled.mp4 --report run.html

      edgeproof run edgeproof.toml --show

      edgeproof run current.edge --source rtsp://door --follow

      edgeproof run model.edge --source streams.toml --smooth 5 --sink events.csv --sink mqtt://broker/site

      edgeproof run model.edge --source rtsp://door --save door.mp4 --segment 10m --keep 7d --clips events

      edgeproof run model.edge --source rtsp://door --source rtsp://gate --duration 8h --soak --report soak.html
    """
    settings = settings_of(ctx)
    report = run_bundle(
        open_trusted(bundle, trust),
        source,
        engine=engine,
        precision=precision,
        policy=policy,
        labels_from=labels_from,
        save=save,
        segment=segment or (),
        keep=keep or (),
        clips=clips,
        pre_s=seconds_or_zero(pre, "--pre"),
        post_s=seconds_or_zero(post, "--post"),
        snapshots=snapshots,
        show=show,
        predictions=predictions,
        rotate_files=rotate_files,
        top_k=top_k,
        max_frames=max_frames,
        duration_s=seconds_of(duration, "--duration"),
        soak=soak,
        reconnect=reconnect,
        stall_timeout_s=seconds_of(stall_timeout, "--stall-timeout"),
        workers=workers,
        batch=batch,
        sink=sink or (),
        events=events_of(smooth=smooth, threshold=threshold, threshold_of=threshold_of, stable=stable, at_once=at_once),
        unknown=unknown,
        home_assistant=home_assistant,
        source_options=options_of(
            resolution=resolution,
            fps=fps,
            mjpeg=mjpeg,
            rotate=rotate,
            crop=crop,
            rate_limit=rate_limit,
            every_s=seconds_of(every, "--every"),
            on_motion=on_motion,
            loop=loop,
            hardware_decode=hardware_decode,
            camera_clock=camera_clock,
            open_timeout_s=seconds_of(open_timeout, "--open-timeout"),
            read_timeout_s=seconds_of(read_timeout, "--read-timeout"),
        ),
        health=HealthOptions(limits=health, classify=classify_unhealthy),
        min_top1=min_top1,
        min_auroc=min_auroc,
        min_map=min_map,
        threads=threads,
        follow=follow,
        other_labels=other_labels,
        settings=None if settings is None else settings.file,
        observer=TerminalObserver(),
    )
    write_reports(report, json_file, html_file)  # first: the terminal may be gone
    print_run(report)
    fail_on(report.gates, ", ".join(stream.name for stream in report.snapshots))
    if report.failure is not None:
        raise report.failure
