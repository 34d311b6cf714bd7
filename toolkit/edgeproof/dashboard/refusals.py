"""Requests that are not answered, and why: one JSON form, ``{"error": "what; got ...; expected ..."}``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from edgeproof.dashboard.batching import ClosingError, InferenceError, QueueFullError
from edgeproof_runtime.errors import EdgeproofError, InputError

__all__ = ["REFUSED", "BodyReader", "RefusedError", "refuse"]


_LINGER_S = 2.0
_LINGER_BYTES = 32 << 20


class RefusedError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status code, 400 and above.
        message: for the client.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = dict(headers or {})
        super().__init__(message)


def _one_line(error: EdgeproofError) -> str:
    parts = [error.what]
    parts += [f"{name}: {text}" for name in ("got", "expected", "fix") if (text := getattr(error, name)) is not None]
    return "; ".join(parts)


class BodyReader:
    """Reads bodies within bounds; what lies beyond them is never read.

    Args:
        max_body_bytes: of one body.
        max_total_bytes: of all the bodies that are being read at once.
        timeout_s: until a body has arrived.
    """

    def __init__(self, max_body_bytes: int, max_total_bytes: int, timeout_s: float = 30.0) -> None:
        self.max_body_bytes = max_body_bytes
        self._max_total_bytes = max_total_bytes
        self._timeout_s = timeout_s
        self._total_bytes = 0

    async def read(self, request: Request) -> bytes:
        """The request's body.

        Raises:
            RefusedError: it is too large (413), late (408), encoded (415), or too much is being read already (429).
        """
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise RefusedError(415, f"the body is encoded; got: {encoding[:40]}; expected: no Content-Encoding")
        declared = request.headers.get("content-length", "0")
        if len(declared) > 18 or int(declared) > self.max_body_bytes:
            raise self._too_large(f"{declared[:40]} bytes declared")
        held = 0
        chunks = []
        try:
            async with asyncio.timeout(self._timeout_s):
                async for chunk in request.stream():
                    held += len(chunk)
                    self._total_bytes += len(chunk)
                    if held > self.max_body_bytes:
                        raise self._too_large(f"more than {self.max_body_bytes} bytes")
                    if self._total_bytes > self._max_total_bytes:
                        raise RefusedError(
                            429, "too many large requests at once; try again in 1 s", {"retry-after": "1"}
                        )
                    chunks.append(chunk)
        except TimeoutError:
            message = f"the body did not arrive; got: {held} bytes in {self._timeout_s:g} s"
            raise RefusedError(408, message, {"connection": "close"}) from None
        except ClientDisconnect:
            raise RefusedError(400, f"the client went away; got: {held} bytes of the body") from None
        finally:
            self._total_bytes -= held
        return b"".join(chunks)

    def _too_large(self, got: str) -> RefusedError:
        message = f"the body is too large; got: {got}; expected: at most {self.max_body_bytes} bytes (--max-body-mb)"
        return RefusedError(413, message, {"connection": "close"})


async def refuse(request: Request, error: Exception) -> Response:
    """The answer to a request that failed; what nobody foresaw is 500 without details."""
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
    if "connection" in refusal.headers or _is_long(request):
        headers = {**refusal.headers, "connection": "close"}
        return _LingeringResponse({"error": str(refusal)}, refusal.status, headers)
    return JSONResponse({"error": str(refusal)}, refusal.status, refusal.headers)


def _is_long(request: Request) -> bool:
    """Whether more may follow than is worth reading for keeping the connection."""
    declared = request.headers.get("content-length", "0")
    return "transfer-encoding" in request.headers or len(declared) > 18 or int(declared) > _LINGER_BYTES


class _LingeringResponse(JSONResponse):
    """An answer to a client that is still sending: a little more is taken and thrown away before the connection closes.

    Closed at once, the connection would be reset, and a client that reads only after it has sent would never see why.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - the base's
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        thrown_away = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while thrown_away < _LINGER_BYTES and (message := await receive()).get("more_body", False):
                    thrown_away += len(message["body"])
        await send({"type": "http.response.body", "body": b"", "more_body": False})


REFUSED = (RefusedError, QueueFullError, ClosingError, InputError, HTTPException, InferenceError, Exception)
"""What `refuse` is to be the handler of."""
