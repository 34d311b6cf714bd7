"""Routes of the page: files, frames of streams, and the state as JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from edgeproof.dashboard.assets import asset
from edgeproof.dashboard.live import LiveStream, LiveStreams
from edgeproof.dashboard.prefix import route_of
from edgeproof.dashboard.refusals import RefusedError

__all__ = ["Pages"]

_PICTURES_HZ = 15.0
_MAX_VIEWERS = 32
_STATE_AGE_S = 0.4
_BOUNDARY = "edgeproof-frame"
_FILES = {"/": "index.html", "/style.css": "style.css", "/app.js": "app.js", "/icon.svg": "icon.svg"}


class Pages:
    """Routes that a browser requests.

    Args:
        live: the streams; None without streams.
        facts: returns the state of everything except the streams.
    """

    def __init__(self, live: LiveStreams | None, facts: Callable[[], dict[str, Any]]) -> None:
        self._live = live
        self._facts = facts
        self.viewers: int = 0
        self._state: dict[str, Any] = {}
        self._state_made_s = float("-inf")
        self._making = asyncio.Lock()
        self.closing = False
        """Set at shutdown: endless MJPEG responses end."""

    def routes(self) -> list[Route]:
        """Return the routes for Starlette."""
        files = [Route(path, self.file, name=name) for path, name in _FILES.items()]
        return [
            *files,
            Route("/api/state", self.state),
            Route("/streams/{stream}.mjpeg", self.mjpeg),
            Route("/streams/{stream}.jpg", self.jpeg),
        ]

    async def file(self, request: Request) -> Response:
        """Return a file of the page."""
        content, media_type = asset(_FILES[route_of(request.scope)])
        return Response(content, media_type=media_type, headers={"cache-control": "no-cache"})

    async def state(self, _request: Request) -> Response:
        """Return the state for the page; built once for all requests within 0.4 s."""
        async with self._making:
            if time.monotonic() - self._state_made_s > _STATE_AGE_S:
                self._state = await asyncio.to_thread(self._make_state)
                self._state_made_s = time.monotonic()
        return JSONResponse(self._state, headers={"cache-control": "no-store"})

    async def jpeg(self, request: Request) -> Response:
        """Return a stream's newest frame; small with ``?small=1``, for a wall of many streams."""
        small = request.query_params.get("small") == "1"
        picture = await asyncio.to_thread(self._stream(request).picture, small=small)
        if picture is None:
            raise RefusedError(404, "stream: no frame yet", {"retry-after": "1"})
        return Response(picture, media_type="image/jpeg", headers={"cache-control": "no-store"})

    async def mjpeg(self, request: Request) -> Response:
        """Send a stream's frames as they arrive, at most fifteen per second; slow clients get fewer."""
        stream = self._stream(request)
        media_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        headers = {"cache-control": "no-store"}
        if request.method == "HEAD":
            return Response(media_type=media_type, headers=headers)
        if self.viewers >= _MAX_VIEWERS:
            raise RefusedError(503, f"stream: already has {_MAX_VIEWERS} viewers", {"retry-after": "10"})
        self.viewers += 1  # before the answer: requests come faster than answers begin
        return _Watched(self._left, self._frames(stream), media_type=media_type, headers=headers)

    def _stream(self, request: Request) -> LiveStream:
        wanted = request.path_params["stream"]
        streams = self._live.streams if self._live is not None else {}
        if wanted not in streams:
            got = f"got: {wanted[:80]}; expected: {', '.join(streams) or 'none, add --source'}"
            raise RefusedError(404, f"stream: not found; {got}")
        return streams[wanted]

    def _left(self) -> None:
        self.viewers -= 1

    async def _frames(self, stream: LiveStream) -> AsyncIterator[bytes]:
        yield f"--{_BOUNDARY}\r\n".encode()
        sent = 0
        while not self.closing:
            next_s = time.monotonic() + 1 / _PICTURES_HZ
            version = stream.version
            if version != sent:
                picture = await asyncio.to_thread(stream.picture)
                if picture is not None:
                    sent = version
                    # Browsers show a part once they receive the boundary after it.
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    yield b"".join([head.encode(), picture, f"\r\n--{_BOUNDARY}\r\n".encode()])
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    def _make_state(self) -> dict[str, Any]:
        streams = self._live.state() if self._live is not None else []
        outputs = self._live.outputs() if self._live is not None else []
        error = self._live.error if self._live is not None else None
        return {
            **self._facts(),
            "streams": streams,
            "streams_error": None if error is None else str(error),
            "outputs": outputs,
        }


class _Watched(StreamingResponse):
    """Response that says when its client has left, also one that left before the first byte."""

    def __init__(self, left: Callable[[], None], content: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(content, **options)
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()
