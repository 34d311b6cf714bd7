"""Connections of strangers: deadlines, a bound from the limit of open files, and who makes room for whom."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import resource
from collections.abc import Collection, Sequence
from typing import Any

import h11
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["Connection", "Connections", "check_proxies", "connection_bound"]

HEADER_S = 10.0
"""Time limit for a request's header, from the connection's begin or the header's first byte."""
_REST_S = 10.0  # for the rest of a body that nobody reads, and for a response's last bytes after closing
_READER_S = 30.0  # without a byte taken by a client that has a response to read
_MOST = 1000
_FEWEST = 8
_PIECE_BYTES = 4096
_FREE_CHUNKS, _CHUNK_BYTES = 1024, 64  # of a body: so many chunks of any size, then these bytes for each more
_SPARE = 16  # connections beyond the bound that are asked for /healthz only


def connection_bound() -> int:
    """Return the most connections: three quarters of the files that this process may still open, 1,000 at most.

    Raises:
        UnavailableError: the process may open too few files.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST
    in_use = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64  # noqa: PTH112, PTH208
    bound = min(_MOST, (soft - in_use - _SPARE) * 3 // 4)
    if bound < _FEWEST:
        raise UnavailableError(
            "serve: too few open files allowed",
            got=f"{soft}, {in_use} of them in use",
            expected=f"at least {in_use + _SPARE + 2 * _FEWEST}",
            fix="ulimit -n 1024",
        )
    return bound


def check_proxies(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of proxies.

    Raises:
        InputError: one is none.
    """
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise InputError(
                "--trusted-proxy: invalid", got=address, expected="an address, such as 10.0.0.2"
            ) from error
    return tuple(addresses)


class Connections:
    """All connections of a server. A newcomer replaces the connection that has waited longest for a complete request.

    No address has more than half of the connections. At the bound, room is made by the address with the most waiting
    connections, so a flood replaces itself. Where all are busy with requests, `_SPARE` more are asked for
    ``/healthz`` only.

    Args:
        bound: most connections.
        trusted: addresses of proxies, which may have all connections.
        health: paths that are answered beyond the bound.
    """

    def __init__(self, bound: int, trusted: Collection[str] = (), health: Collection[str] = ("/healthz",)) -> None:
        self.bound = bound
        self._trusted = trusted
        self._health = health
        self._by_address: dict[str, int] = {}
        self._waiting: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        return sum(self._by_address.values())

    def admit(self, connection: Connection, host: str) -> bool:
        """Count a new connection, which waits for its first request; False refuses it.

        Args:
            connection: the connection.
            host: address of the client.
        """
        address = connection.address = _network(host)
        crowded = host not in self._trusted and self._by_address.get(address, 0) >= max(1, self.bound // 2)
        full = len(self) >= self.bound
        if crowded:
            room = self._evict(address)
        elif full:
            room = bool(self._waiting) and self._evict(max(self._waiting, key=lambda one: len(self._waiting[one])))
        else:
            room = True
        if not room and len(self) >= self.bound + _SPARE:
            return False
        self._by_address[address] = self._by_address.get(address, 0) + 1
        self.waits(connection)
        if not room:
            connection.app = self._only_health(connection.app)
        return True

    def waits(self, connection: Connection) -> None:
        """Note that a connection waits for a request, or the rest of one, so that it may be replaced."""
        self._waiting.setdefault(connection.address, {})[connection] = None

    def works(self, connection: Connection) -> None:
        """Note that a connection has a request in progress."""
        waiting = self._waiting.get(connection.address, {})
        waiting.pop(connection, None)
        if not waiting:
            self._waiting.pop(connection.address, None)

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self.works(connection)
        left = self._by_address.pop(connection.address) - 1
        if left:
            self._by_address[connection.address] = left

    def _evict(self, address: str) -> bool:
        oldest = next(iter(self._waiting.get(address, ())), None)
        if oldest is not None:
            oldest.abort()
        return oldest is not None

    def _only_health(self, app: Any) -> ASGIApp:
        async def restricted(scope: Scope, receive: Receive, send: Send) -> None:
            refused = PlainTextResponse("Service Unavailable", 503, {"connection": "close", "retry-after": "1"})
            await (app if scope["path"] in self._health else refused)(scope, receive, send)

        return restricted


def _network(host: str) -> str:
    """Return an address, or the /64 of an IPv6 address, which is one customer's."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


class Protocol(h11.Connection):
    """A server's protocol that refuses bodies in tiny chunks: each costs as much as a large one."""

    def next_event(self) -> Any:
        """Return the next event.

        Raises:
            h11.RemoteProtocolError: the request is invalid, or its chunks are too small.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > _FREE_CHUNKS + self._bytes // _CHUNK_BYTES:
                raise h11.RemoteProtocolError("chunks too small")
        return event


class Connection(H11Protocol):
    """Uvicorn's connection with a deadline for whatever the client has to do next.

    Args:
        connections: all connections of the server.
        options: as `H11Protocol` takes them.
    """

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self.conn: Protocol = Protocol(h11.SERVER, self.config.h11_max_incomplete_event_size or _PIECE_BYTES)
        self.address = ""
        self._connections = connections
        self._admitted = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit the connection, and expect the header of a request."""
        super().connection_made(transport)
        self._admitted = self._connections.admit(self, self.client[0] if self.client else "")
        if self._admitted:
            self._expect(HEADER_S)
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._done()
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a header or a body."""
        if not self._answering and self._timer is None:
            self._expect(HEADER_S)
        # h11 bounds a header that is incomplete: one that arrives whole would have no bound.
        for begin in range(0, len(data), _PIECE_BYTES):
            if not self.transport.is_closing():
                super().data_received(data[begin : begin + _PIECE_BYTES])
        self._settle()

    def on_response_complete(self) -> None:
        """Wait for the next request, or begin with one that is here already."""
        self._done()
        before = self.cycle
        super().on_response_complete()
        if self.cycle is before and self.conn.their_state is h11.SEND_BODY:
            self._expect(_REST_S)
        self._settle()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; in the middle of a response the connection ends."""
        if self._answering:
            self.cycle.disconnected = True  # the refusal is the response; the application's would be an error
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:
            self.transport.close()

    def pause_writing(self) -> None:
        """Wait for a client that does not take its response."""
        super().pause_writing()
        self._expect(_READER_S)

    def resume_writing(self) -> None:
        """Go on with the response."""
        super().resume_writing()
        self._done()
        self._settle()

    def abort(self) -> None:
        """End the connection, whatever is left to send."""
        self._done()
        self._forget()  # not counted until the loop reports the loss
        self.transport.abort()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _settle(self) -> None:
        if not self._admitted:
            return
        if self.transport.is_closing():
            self._connections.works(self)
            if self._timer is None:
                self._expect(_REST_S)
        elif self._answering:
            # A client that sends its body may be replaced too: slow bodies must not hold all connections.
            if self.conn.their_state is h11.SEND_BODY:
                self._connections.waits(self)
            else:
                self._connections.works(self)
            if not self.flow.write_paused:
                self._done()
        else:
            self._connections.waits(self)

    def _expect(self, seconds: float) -> None:
        self._done()
        self._timer = self.loop.call_later(seconds, self.abort)

    def _done(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget(self) -> None:
        if self._admitted:
            self._connections.lost(self)
            self._admitted = False
