"""The HTTP server: binds its socket before slow work, and shuts down cleanly."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from edgeproof.dashboard.app import Dashboard
from edgeproof.dashboard.connections import Connection, Connections, connection_bound
from edgeproof_runtime.errors import InputError

__all__ = ["HttpServer", "bind"]

_LOG = logging.getLogger("edgeproof.serve")
_BACKLOG = 1024
_ACCEPTED_AT_ONCE = 100  # asyncio reports an error for each
_SHARE_AT_ONCE = 8  # of the bound: a newcomer is read before half of the connections could be replaced by later ones
_MAX_HEADER_BYTES = 16 << 10
_LOG_EVERY_S = 60.0
_GRACE_S = 5  # for responses in progress at shutdown


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free port.

    Raises:
        InputError: the address is not this machine's, or the port is in use or not permitted.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=_BACKLOG)
    except OSError as error:
        fixes = {
            errno.EADDRINUSE: "choose another --port, or 0 for any free one",
            errno.EACCES: "--port 1024 or above",
        }
        raise InputError(
            f"{host}, port {port}: cannot listen",
            got=error.strerror or error,
            fix=fixes.get(error.errno or 0, "set --host to an address of this machine, such as 127.0.0.1 or 0.0.0.0"),
        ) from error


class HttpServer:
    """Serve a dashboard on a socket.

    Args:
        dashboard: dashboard to serve.
        listener: socket from `bind`; closed at the end.

    Raises:
        UnavailableError: the process may open too few files.
    """

    def __init__(self, dashboard: Dashboard, listener: socket.socket) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # clients can cause any number of warnings
        self.dashboard = dashboard
        settings = dashboard.settings
        bound = connection_bound()
        self.connections: Connections = Connections(
            bound, settings.trusted_proxies, {"/healthz", f"{settings.root_path}/healthz"}
        )
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(
                dashboard.app,
                http=partial(Connection, self.connections),  # type: ignore[arg-type]  # called as the class is
                h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
                backlog=min(_ACCEPTED_AT_ONCE, max(1, bound // _SHARE_AT_ONCE)),
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    def run(self) -> None:
        """Serve until `stop`; responses in progress get five seconds to end."""
        self._server.run(sockets=[self._listener])

    @property
    def started(self) -> bool:
        """Return whether requests are answered."""
        return bool(self._server.started)

    def stop(self) -> None:
        """Stop `run`; safe from any thread or signal handler."""
        self.dashboard.stop_pictures()
        self._server.should_exit = True


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_AcceptErrors())
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)  # asyncio made it as short as the number that it accepts at once

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn would raise the signal again after its end and change the exit code.
        yield


class _AcceptErrors:
    """Exception handler of a loop that logs failures to accept once a minute; asyncio repeats them without end."""

    def __init__(self) -> None:
        self._unlogged = 0
        self._logged_s = float("-inf")

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or "accept" not in context.get("message", ""):
            loop.default_exception_handler(context)
            return
        self._unlogged += 1
        if time.monotonic() - self._logged_s >= _LOG_EVERY_S:
            _LOG.error("serve: cannot accept connections: %s (%d times)", error.strerror, self._unlogged)
            self._unlogged, self._logged_s = 0, time.monotonic()
