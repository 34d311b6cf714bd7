"""The application of the server: inference API, page, health, metrics."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeproof.dashboard.access import Access
from edgeproof.dashboard.api import InferenceApi
from edgeproof.dashboard.assets import SECURITY_HEADERS
from edgeproof.dashboard.gauges import Gauges
from edgeproof.dashboard.live import LiveStreams
from edgeproof.dashboard.metrics import Metrics, RequestMetrics
from edgeproof.dashboard.openapi import openapi
from edgeproof.dashboard.pages import Pages
from edgeproof.dashboard.prefix import Prefix
from edgeproof.dashboard.refusals import REFUSED, BodyReader, refuse
from edgeproof.dashboard.serving import Serving
from edgeproof_runtime.system.host_load import LoadSampler

__all__ = ["Dashboard", "Settings"]

_BODIES_AT_ONCE = 8  # of the largest size; sets the memory for all request bodies


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Access and limits of the server.

    Attributes:
        host: address that the server is bound to.
        token: token that requests must carry; None only on loopback.
        max_body_bytes: largest request body.
        root_path: path prefix of every route, without a slash at its end.
        trusted_proxies: addresses whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed, and whose number of
            connections is not limited.
    """

    host: str
    token: str | None = None
    max_body_bytes: int = 32 << 20
    root_path: str = ""
    trusted_proxies: tuple[str, ...] = ()


class Dashboard:
    """The ASGI application `app` and its parts.

    Args:
        serving: the served bundle with its engine.
        metrics: metrics of this server only.
        live: the streams; None without streams.
        settings: access and limits.
    """

    def __init__(
        self,
        serving: Serving,
        metrics: Metrics,
        live: LiveStreams | None,
        settings: Settings,
    ) -> None:
        self.settings = settings
        self._serving = serving
        self._metrics = metrics
        self._needs_token = settings.token is not None
        self._load = LoadSampler()
        self._begin_s = time.monotonic()
        bodies = BodyReader(settings.max_body_bytes, _BODIES_AT_ONCE * settings.max_body_bytes)
        self._api = InferenceApi(serving, bodies, metadata.version("edgeproof"))
        self.pages: Pages = Pages(live, self._facts)
        metrics.registry.register(Gauges(serving, live))
        self.app: Starlette = Starlette(
            routes=[
                Route("/healthz", self.health),
                Route("/readyz", self._api.ready),
                Route("/metrics", self.metrics),
                Route("/openapi.json", self.describe),
                *self._api.routes(),
                *self.pages.routes(),
            ],
            middleware=[
                Middleware(Prefix, root_path=settings.root_path),
                Middleware(_Headers),
                Middleware(RequestMetrics, metrics=metrics),
                Middleware(Access, token=settings.token, host=settings.host),
            ],
            exception_handlers=dict.fromkeys(REFUSED, refuse),
        )

    def stop_pictures(self) -> None:
        """End the endless MJPEG responses."""
        self.pages.closing = True

    def close(self) -> None:
        """Stop the threads; the server must not accept requests any more."""
        self._api.close()

    async def health(self, _request: Request) -> Response:
        """Return whether the server is running; requires no token."""
        return JSONResponse({"healthy": True})

    async def metrics(self, _request: Request) -> Response:
        """Return the metrics in Prometheus' text format."""
        content, media_type = await asyncio.to_thread(self._metrics.page)
        return Response(content, headers={"content-type": media_type})

    async def describe(self, _request: Request) -> Response:
        """Return the API's description in OpenAPI 3.1."""
        model = self._serving.now.model
        found = openapi(model, metadata.version("edgeproof"), self._needs_token, self.settings.root_path)
        return JSONResponse(found)

    def _facts(self) -> dict[str, Any]:
        edition = self._serving.now
        model, batcher = edition.model, edition.batcher
        return {
            "server": {
                "version": metadata.version("edgeproof"),
                "uptime_s": time.monotonic() - self._begin_s,
                "model": model.name,
                "model_version": model.version,
                "platform": model.platform,
                "task": edition.bundle.manifest.task,
                "takes_pictures": model.head is not None,
                "needs_token": self._needs_token,
                "error": batcher.error,
            },
            "requests": {
                "under_way": batcher.under_way,
                "capacity": batcher.capacity,
                "by_code": self._metrics.inference_requests_by_code(),
                "latency_ms": self._metrics.inference_latency_ms().to_json(),
            },
            "host": self._load.sample().to_json(),
        }


class _Headers:
    """ASGI middleware that adds `SECURITY_HEADERS` to every response without own ones."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = [(n.encode(), v.encode()) for n, v in SECURITY_HEADERS.items() if n.encode() not in present]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self._app(scope, receive, with_headers)
