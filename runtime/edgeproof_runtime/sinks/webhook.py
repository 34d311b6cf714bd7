"""Send events by HTTP POST."""

from __future__ import annotations

import base64
import http
import http.client
import json
import socket
import ssl
from contextlib import suppress
from urllib.parse import SplitResult, quote, unquote

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import BundleEvent, Event
from edgeproof_runtime.system.redact import redacted_host

__all__ = ["Webhook"]

_TIMEOUT_S = 5.0
_REPLY_BYTES = 4096
_IN_TARGETS = "/?%:@!$&'()*+,;=~"  # others are percent-encoded, as browsers do


class Webhook:
    """POST each event as JSON over one persistent connection.

    An event without a 2xx response has failed. It is not sent again, except once if the server had closed the idle
    connection.

    Args:
        url: ``http`` or ``https`` URL; its user and password become basic authorization.
    """

    def __init__(self, url: SplitResult) -> None:
        host = url.hostname or ""
        if url.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, url.port, timeout=_TIMEOUT_S, context=ssl.create_default_context()
            )
        else:
            self._connection = http.client.HTTPConnection(host, url.port, timeout=_TIMEOUT_S)
        self._cancelled = False
        self._name = redacted_host(url.geturl())
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._target = quote(target, safe=_IN_TARGETS)
        self._headers = {"Content-Type": "application/json", "User-Agent": "edgeproof"}
        if url.username is not None:
            credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode("ascii")

    def write(self, event: Event | BundleEvent) -> None:
        """Send an event.

        Raises:
            InputError: the server is unreachable, does not respond in time, or refuses the event.
        """
        body = json.dumps(event.to_json(), ensure_ascii=False, allow_nan=False).encode()
        try:
            status, reason = self._post(body)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            got = " ".join(f"{type(error).__name__}: {error}".split())
            if self._cancelled:
                got = "no answer before the end"
            raise InputError(f"{self._name}: did not accept an event", got=got) from error
        if not 200 <= status < 300:
            raise InputError(f"{self._name}: refused an event", got=f"{status} {reason}", expected="2xx")

    def cancel(self) -> None:
        """Cancel a waiting `write`; safe from any thread."""
        self._cancelled = True
        waiting = self._connection.sock
        if waiting is not None:
            with suppress(OSError):  # it was closed meanwhile
                socket.socket.shutdown(waiting, socket.SHUT_RDWR)

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - sent events cannot be withdrawn
        """Finish. Safe to call twice."""
        self._connection.close()

    def _post(self, body: bytes) -> tuple[int, str]:
        kept_open = self._connection.sock is not None
        try:
            self._connection.request("POST", self._target, body, self._headers)
            response = self._connection.getresponse()
        except (ConnectionError, http.client.RemoteDisconnected):
            self._connection.close()
            if not kept_open or self._cancelled:
                raise
            self._connection.request("POST", self._target, body, self._headers)
            response = self._connection.getresponse()
        response.read(_REPLY_BYTES)
        # A 204 has no body; one that is sent all the same would precede the next response, as the rest of a long one.
        unread = response.status == http.HTTPStatus.NO_CONTENT and response.getheader("Content-Length", "0") != "0"
        if response.isclosed() and not unread:
            return response.status, response.reason
        self._connection.close()
        return response.status, response.reason
