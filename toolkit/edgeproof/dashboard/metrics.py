"""Prometheus metrics at ``/metrics``. Labels carry the ids; times are in seconds, Prometheus' base unit."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeproof_runtime.metrics.latency import STAGES, LatencySummary, summarize

__all__ = ["STREAM_STAGES", "Metrics", "RequestMetrics"]

STREAM_STAGES = STAGES[:5]
"""Stages of a frame with a histogram of their own, without those that span the others."""

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# Frame intervals at 60, 30 and 15 frames/s and their multiples, the usual limits of frame age.
_FRAME_AGE_S = (0.005, 0.01, 0.0167, 0.0333, 0.0667, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)
_BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64)
_ENDLESS = "/streams/{stream}.mjpeg"
_INFERENCE = ("/infer", "/predict")
_RECENT = 1000


@dataclass(slots=True)
class _Inferences:
    """Inference requests since the start, and the latencies of the newest answered ones in ms."""

    by_code: dict[int, int] = field(default_factory=dict)
    recent_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))


class Metrics:
    """All metrics of one server, in a separate registry.

    Args:
        model: name of the bundle.
        engine: name of the engine.
        version: version of the model.
    """

    def __init__(self, model: str, engine: str, version: str) -> None:
        # Creation times would double the page, and queries do not use them.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        self.registry: CollectorRegistry = registry
        ProcessCollector(registry=registry)
        self._model_info = Gauge(
            "edgeproof_model_info",
            "The served model; always 1.",
            ["model", "engine", "version"],
            registry=registry,
        )
        self.serve(model, engine, version)
        self.bundle_changes: Counter = Counter(
            "edgeproof_bundle_changes_total",
            "New bundles at the followed path by outcome, and the cause of a refusal.",
            ["outcome", "cause"],
            registry=registry,
        )
        self.requests: Counter = Counter(
            "edgeproof_http_requests_total", "Requests by route and status.", ["route", "code"], registry=registry
        )
        self.request_seconds: Histogram = Histogram(
            "edgeproof_http_request_duration_seconds",
            "Time from a request's header to the end of its response.",
            ["route"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.batch_rows: Histogram = Histogram(
            "edgeproof_inference_batch_rows",
            "Rows inferred together for requests.",
            buckets=_BATCH_ROWS,
            registry=registry,
        )
        self.batch_seconds: Histogram = Histogram(
            "edgeproof_inference_duration_seconds",
            "Time of one inference for requests, of any number of rows.",
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.stage_seconds: Histogram = Histogram(
            "edgeproof_frame_stage_duration_seconds",
            "Time of a frame's stages, without waiting.",
            ["stream", "stage"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.frame_age_seconds: Histogram = Histogram(
            "edgeproof_frame_age_seconds",
            "Time from a frame's arrival to its decision.",
            ["stream"],
            buckets=_FRAME_AGE_S,
            registry=registry,
        )
        self.frames_unknown: Counter = Counter(
            "edgeproof_frames_unknown_total",
            "Decided frames that a rule calls unknown.",
            ["stream"],
            registry=registry,
        )

        self._inferences = _Inferences()

    def serve(self, model: str, engine: str, version: str) -> None:
        """Name another served model, and no other."""
        self._model_info.clear()
        self._model_info.labels(model, engine, version).set(1)

    def on_request(self, route: str, code: int, seconds: float) -> None:
        """Record the end of a request."""
        self.requests.labels(route, str(code)).inc()
        if route == _ENDLESS:
            return
        self.request_seconds.labels(route).observe(seconds)
        if route.endswith(_INFERENCE):
            by_code = self._inferences.by_code
            by_code[code] = by_code.get(code, 0) + 1
            if code < 400:
                self._inferences.recent_ms.append(1e3 * seconds)

    def inference_requests_by_code(self) -> dict[str, int]:
        """Return inference requests by HTTP status since the start."""
        return {str(code): number for code, number in sorted(self._inferences.by_code.copy().items())}

    def inference_latency_ms(self) -> LatencySummary:
        """Return the latency, header to response, of the newest thousand answered inference requests."""
        return summarize(list(self._inferences.recent_ms))

    def on_batch(self, rows: int, ms: float) -> None:
        """Record one inference for requests."""
        self.batch_rows.observe(rows)
        self.batch_seconds.observe(ms / 1e3)

    def forget_stream(self, name: str) -> None:
        """Leave a removed stream out from now on."""
        for stage in STREAM_STAGES:
            self.stage_seconds.remove(name, stage)
        self.frame_age_seconds.remove(name)
        self.frames_unknown.remove(name)

    def page(self) -> tuple[bytes, str]:
        """Return the exposition and its media type."""
        return prometheus_client.generate_latest(self.registry), prometheus_client.CONTENT_TYPE_LATEST


class RequestMetrics:
    """ASGI middleware that counts requests by route and code, and times requests with finite responses."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin_s = time.perf_counter()
        code = 500

        async def watched(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # The route's pattern: arbitrary client paths would create unbounded labels.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.on_request(route, code, time.perf_counter() - begin_s)
