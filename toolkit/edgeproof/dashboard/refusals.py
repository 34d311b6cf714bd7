"""Refused requests: one JSON form, ``{"error": "what; got ...; expected ..."}``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from edgeproof.dashboard.batching import ClosingError, InferenceError, QueueFullError
from edgeproof_runtime.errors import EdgeproofError, InputError
from edgeproof_runtime.system.text import encodable

__all__ = ["REFUSED", "BodyReader", "RefusedError", "in_time", "refuse"]


_LINGER_S = 2.0
_LINGER_BYTES = 32 << 20


class RefusedError(Exception):
    """Refusal of a request.

    Args:
        status: HTTP status code, 400 and above.
        message: message for the client.
        headers: further headers of the response.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers: dict[str, str] = dict(headers or {})
        super().__init__(message)


def _one_line(error: EdgeproofError) -> str:
    parts = [error.what]
    parts += [f"{name}: {text}" for name in ("got", "expected", "fix") if (text := getattr(error, name)) is not None]
    return "; ".join(parts)


class BodyReader:
    """Read request bodies within bounds; never read beyond them.

    Args:
        max_body_bytes: largest body.
        max_total_bytes: largest sum of the bodies being read.
        timeout_s: time limit for the arrival of a body.
    """

    def __init__(self, max_body_bytes: int, max_total_bytes: int, timeout_s: float = 30.0) -> None:
        self.max_body_bytes = max_body_bytes
        self._max_total_bytes = max_total_bytes
        self._timeout_s = timeout_s
        self._total_bytes = 0

    async def read(self, request: Request) -> bytes:
        """Read the request's body.

        Raises:
            RefusedError: too large (413), late (408), compressed (415), or too many bodies are being read (429).
        """
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise RefusedError(415, f"body: compressed; got: {encoding[:40]}; expected: no Content-Encoding")
        declared = request.headers.get("content-length", "0")
        if len(declared) > 18 or int(declared) > self.max_body_bytes:
            raise self._too_large(f"{declared[:40]} bytes declared")
        held = 0
        chunks = []
        try:
            async for chunk in in_time(request.stream(), self._timeout_s):
                held += len(chunk)
                self._total_bytes += len(chunk)
                if held > self.max_body_bytes:
                    raise self._too_large(f"more than {self.max_body_bytes} bytes")
                if self._total_bytes > self._max_total_bytes:
                    raise RefusedError(
                        429, "body: too many large requests in progress; try again in 1 s", {"retry-after": "1"}
                    )
                chunks.append(chunk)
        except asyncio.TimeoutError:
            message = f"body: did not arrive; got: {held} bytes in {self._timeout_s:g} s"
            raise RefusedError(408, message, {"connection": "close"}) from None
        except ClientDisconnect:
            raise RefusedError(400, f"body: the client disconnected; got: {held} bytes") from None
        finally:
            self._total_bytes -= held
        return b"".join(chunks)

    def _too_large(self, got: str) -> RefusedError:
        message = f"body: too large; got: {got}; expected: at most {self.max_body_bytes} bytes (--max-body-mb)"
        return RefusedError(413, message, {"connection": "close"})


async def refuse(request: Request, error: Exception) -> Response:
    """Return the response to a failed request; an unexpected error gives 500 without details."""
    match error:
        case RefusedError():
            refusal = error
        case QueueFullError():
            refusal = RefusedError(429, str(error), {"retry-after": str(error.retry_after_s)})
        case ClosingError():
            refusal = RefusedError(503, str(error), {"connection": "close"})
        case InputError():
            refusal = RefusedError(400, _one_line(error))
        case HTTPException():
            message = f"{error.detail}: {request.method} {request.url.path[:200]}; see /openapi.json"
            refusal = RefusedError(error.status_code, message, error.headers)
        case InferenceError():
            refusal = RefusedError(500, str(error))
        case _:
            refusal = RefusedError(500, "internal error; see the server's log")
    message = encodable(str(refusal))  # names of a request may hold lone surrogates
    if "connection" in refusal.headers or _is_long(request):
        headers = {**refusal.headers, "connection": "close"}
        return _LingeringResponse({"error": message}, refusal.status, headers)
    return JSONResponse({"error": message}, refusal.status, refusal.headers)


async def in_time(chunks: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """Yield the chunks of a body that must be complete after a time.

    Raises:
        asyncio.TimeoutError: the time is over; before Python 3.11 it is not the built-in `TimeoutError`.
    """
    end_s = time.monotonic() + seconds
    while (chunk := await asyncio.wait_for(anext(chunks, None), end_s - time.monotonic())) is not None:
        yield chunk


def _is_long(request: Request) -> bool:
    """Return whether more bytes may follow than are worth reading to keep the connection."""
    declared = request.headers.get("content-length", "0")
    return "transfer-encoding" in request.headers or len(declared) > 18 or int(declared) > _LINGER_BYTES


class _LingeringResponse(JSONResponse):
    """Response to a client that is still sending: discards some more bytes before the connection closes.

    An immediate close resets the connection; a client that reads only after sending would miss the response.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the base's
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_discard(receive), _LINGER_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    discarded = 0
    while discarded < _LINGER_BYTES and (message := await receive()).get("more_body", False):
        discarded += len(message["body"])


REFUSED = (RefusedError, QueueFullError, ClosingError, InputError, HTTPException, InferenceError, Exception)
"""Exceptions that `refuse` handles."""
