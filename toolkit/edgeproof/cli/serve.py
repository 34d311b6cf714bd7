"""`edgeproof serve`: dashboard, metrics and the inference API."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeproof.cli._shared import (
    BundlePath,
    EngineName,
    HtmlFile,
    JsonFile,
    Precision,
    SampleKeeper,
    Threads,
    check_outputs,
    check_report_possible,
    err,
    out,
    progress_bar,
    settings_of,
    write_reports,
)
from edgeproof.cli._sources import Loop, RateLimit, specs_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.live.outcomes import Counts, Decided, Lost
from edgeproof_runtime.live.pipeline import stop_on_interrupt
from edgeproof_runtime.live.timeline import Timeline
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.sources import SourceOptions
from edgeproof_runtime.system.host import host_warnings

if TYPE_CHECKING:
    from edgeproof.dashboard.service import Service

__all__ = ["serve"]

_MIB = 1 << 20
_MODULES = ("starlette", "uvicorn", "prometheus_client")


def serve(
    bundle: BundlePath,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Camera, RTSP or HTTP stream, video, folder or streams.toml; repeat it.", metavar="SRC"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes any that is free.", min=0, max=65535)] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            help="What requests must carry: 'Authorization: Bearer TOKEN'; a browser is asked for it.",
            envvar="EDGEPROOF_TOKEN",
            show_envvar=True,
        ),
    ] = None,
    rate_limit: RateLimit = None,
    loop: Loop = False,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    max_batch: Annotated[
        int | None, typer.Option(help="Most rows of one inference for requests; else the bundle's bound.", min=1)
    ] = None,
    queue: Annotated[int, typer.Option(help="Requests under way at once; more get 429.", min=1)] = 128,
    max_body_mb: Annotated[int, typer.Option(help="Largest request in MiB; larger ones get 413.", min=1)] = 32,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Serve a page that shows streams live, Prometheus metrics, and inference over HTTP.

    The Open Inference Protocol v2 (JSON and binary tensors) at /v2, pictures to decisions at /v2/models/NAME/predict,
    metrics at /metrics, what there is at /openapi.json. Ctrl-C or SIGTERM ends in good order and writes the reports.

    Examples:

      edgeproof serve model.edge --source rtsp://camera/stream --source 0

      EDGEPROOF_TOKEN=... edgeproof serve model.edge --host 0.0.0.0
    """
    missing = [module for module in _MODULES if find_spec(module) is None]
    if missing:
        raise UnavailableError(f"serving needs {', '.join(missing)}", fix='pip install "edgeproof[serve]"')
    from edgeproof.dashboard.access import check_token
    from edgeproof.dashboard.app import Settings
    from edgeproof.dashboard.server import bind
    from edgeproof.dashboard.service import EngineOptions, open_service

    check_token(token, host)
    check_report_possible(html_file)
    check_outputs(json_file, html_file, inputs=source or ())
    opened = Bundle.open(bundle)
    specs = specs_of(source or (), options=SourceOptions(rate_limit_fps=rate_limit, loop=loop))
    facts = host_facts()
    evidence = _Evidence()
    with ExitStack() as stack:
        listener = stack.enter_context(bind(host, port))
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        with progress_bar() as tell:
            service = stack.enter_context(
                open_service(
                    opened,
                    listener,
                    EngineOptions(
                        engine=engine, precision=precision, threads=threads, max_batch=max_batch, capacity=queue
                    ),
                    Settings(host=host, token=token, max_body_bytes=max_body_mb * _MIB),
                    specs,
                    recorder=evidence.recorder,
                    on_decided=evidence.decided,
                    on_lost=evidence.lost,
                    progress=tell,
                )
            )
        info = service.engine
        err.print(f"{opened.name} on {info.name} {info.version}, {info.precision}: {address} (Ctrl-C ends)")
        with stop_on_interrupt(service.server):
            service.server.run()
    settings = settings_of(
        opened, engine=info.name, precision=info.precision, threads=info.threads, sources=[spec.name for spec in specs]
    )
    report = evidence.report(opened, service, facts, settings, token)
    write_reports(report, json_file, html_file)


@dataclass(slots=True)
class _Evidence:
    """What the report will say of the frames; written by the thread of decisions."""

    recorder: LatencyRecorder = field(default_factory=LatencyRecorder)
    timeline: Timeline = field(default_factory=Timeline)
    keeper: SampleKeeper = field(default_factory=SampleKeeper)
    first_ns: int | None = None

    def decided(self, decided: Decided[Any]) -> None:
        self.timeline.add(self._time_s(decided.frame.captured_ns), decided.end_to_end_ms, "classified")
        if self.keeper.wants():
            decision, frame = decided.decision, decided.frame
            shown = decision.over(frame.image)
            self.keeper.keep(Thumbnail.of(frame.name, shown, decision.label, decision.probability))

    def lost(self, lost: Lost) -> None:
        self.timeline.add(self._time_s(lost.captured_ns), None, "failed" if lost.cause == "failed" else "dropped")

    def _time_s(self, captured_ns: int) -> float:
        if self.first_ns is None:
            self.first_ns = captured_ns
        return max(0.0, (captured_ns - self.first_ns) / 1e9)

    def report(
        self, bundle: Bundle, service: Service, host: dict[str, Any], settings: dict[str, Any], token: str | None
    ) -> Report:
        counts, elapsed_s = Counts(), 0.0
        streams: list[dict[str, Any]] = []
        if service.live is not None:
            counts, elapsed_s = service.live.pipeline.counts, service.live.pipeline.elapsed_s
            streams = [shot.to_json() for shot in service.live.pipeline.snapshots()]
        by_code = service.metrics.inference_requests_by_code()
        answered = sum(number for code, number in by_code.items() if code.startswith("2"))
        out.print(f"{sum(by_code.values())} inference requests, {answered} answered")
        if service.live is not None:
            fps = f", {counts.decided / elapsed_s:.1f} frames/s" if elapsed_s else ""
            out.print(
                f"{counts.frames_in} frames in = {counts.decided} decided + {counts.dropped} dropped"
                + (f" + {counts.failed} failed" if counts.failed else "")
                + fps
            )
        info = service.engine
        inference_ms = self.recorder.summary("inference").p50_ms
        secret = {token: "***", f"--token={token}": "--token=***"}
        arguments = [secret.get(argument, argument) for argument in sys.argv]
        return Report(
            kind="serve",
            command=command_line(arguments),
            host=host,
            bundle=BundleFacts.of(bundle),
            settings=settings,
            counts={
                "frames_in": counts.frames_in,
                "frames_classified": counts.decided,
                "frames_dropped": counts.dropped,
                "frames_failed": counts.failed,
                **{f"requests_{code}": number for code, number in by_code.items()},
            },
            throughput_fps=counts.decided / elapsed_s if elapsed_s else None,
            engines=[EngineRow(info.name, info.version, inference_ms, None, chosen=True)],
            samples=self.keeper.samples,
            timeline=self.timeline.to_json() if service.live is not None else None,
            streams=streams,
            warnings=host_warnings(host),
            **Report.latency(self.recorder),
        )
