"""The HTTP server: binds its socket before slow work, and shuts down cleanly."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from edgeproof.dashboard.app import Dashboard
from edgeproof_runtime.errors import InputError

__all__ = ["HttpServer", "bind"]

_BACKLOG = 1024
_MAX_CONNECTIONS = 1000
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
    """

    def __init__(self, dashboard: Dashboard, listener: socket.socket) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # clients can cause any number of warnings
        self.dashboard = dashboard
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(
                dashboard.app,
                http="h11",
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    def run(self) -> None:
        """Serve until `stop`; responses in progress get five seconds to end."""
        self._server.run(sockets=[self._listener])

    def stop(self) -> None:
        """Stop `run`; safe from any thread or signal handler."""
        self.dashboard.stop_pictures()
        self._server.should_exit = True


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Uvicorn would raise the signal again after its end and change the exit code.
        yield
