"""`serve` under strangers: half-open, idle, slow and endless connections, other protocols, few files, a path prefix."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import h11
import httpx
import pytest

from bundles import make_bundle
from edgeproof.dashboard import connections as module
from edgeproof.dashboard.connections import Connections, Protocol, check_proxies, connection_bound
from edgeproof.dashboard.prefix import check_root_path
from edgeproof.dashboard.server import _AcceptErrors
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.sources import StreamSpec
from serving import PLAIN, Served, serving, started
from waiting import until

TOKEN = "5f1d2e0b9c"  # noqa: S105 - of a server that lives for a test
HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("serve") / "tiny.edge")


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[Served]:
    with serving(bundle, [StreamSpec(name="card", source="synthetic://64x48@10")], engine="null") as running:
        yield running


def connect(port: int, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(data)
    return connection


def answer(connection: socket.socket) -> bytes:
    """All bytes until the server closes."""
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


@contextmanager
def many(port: int, count: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(connect(port, data))) for _ in range(count)]


@contextmanager
def flood(port: int, clients: int) -> Iterator[None]:
    """Half-open connections, each made again as soon as the server ends it."""

    async def stranger() -> None:
        while not over.is_set():
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(HALF)
                with suppress(asyncio.TimeoutError):  # before Python 3.11 not the built-in one
                    while not over.is_set() and await asyncio.wait_for(reader.read(4096), 0.5):
                        pass
                writer.close()

    async def strangers() -> None:
        await asyncio.gather(*(stranger() for _ in range(clients)))

    over = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=[strangers()])
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def drip(connection: socket.socket, data: bytes, seconds: float = 10) -> bool:
    """Send a few bytes again and again; whether the server ended it within the time."""
    end_s = time.monotonic() + seconds
    try:
        while time.monotonic() < end_s:
            connection.sendall(data)
            time.sleep(0.05)
    except OSError:
        return True
    return False


def ended(connection: socket.socket) -> bool:
    """Whether the server ends the connection without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def assert_healthy(served: Served) -> None:
    begin_s = time.monotonic()
    assert served.get("/healthz").json() == {"healthy": True}
    assert time.monotonic() - begin_s < 5, "1 s on a quiet machine"


@pytest.mark.slow
def test_half_open_and_idle_connections_lock_nobody_out(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = served.service.server.connections
    monkeypatch.setattr(connections, "bound", 100)
    with many(served.port, 300, HALF), many(served.port, 60):
        assert_healthy(served)
        assert served.get("/v2").status_code == 200
        until(lambda: len(connections) <= 100)


@pytest.mark.slow
def test_bodies_that_do_not_come_lock_nobody_out(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = served.service.server.connections
    monkeypatch.setattr(connections, "bound", 40)
    head = b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{"
    with many(served.port, 80, head):
        assert_healthy(served)
        assert served.get("/v2").status_code == 200
    until(lambda: len(connections) == 0)


def test_a_header_has_a_deadline_that_drops_do_not_move(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEADER_S", 0.4)
    with closing(connect(served.port, HALF)) as dripping, closing(connect(served.port)) as silent:
        assert drip(dripping, b"X: y\r\n")
        assert ended(silent)
    with closing(connect(served.port, HEALTH.replace(b"Connection: close\r\n", b""))) as kept:
        found = b""
        while not found.endswith(b'{"healthy":true}'):
            found += kept.recv(4096)
        kept.sendall(HALF)
        assert ended(kept)
    until(lambda: len(served.service.server.connections) == 0)


@pytest.mark.parametrize(("request_bytes", "status"), [
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"403"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"400"),
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 600_000 + b"\r\n\r\n", b"400"),
    (b"GET /v2 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(9000)), b"400"),
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 6000 + b"\r\n", b"400"),  # whole in one read
    (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n"
     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", b"200"),
    (b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n", b"400"),
    (b"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
     b"Connection: close\r\n\r\nzz\r\n", b"400"),
    (HEALTH.replace(b"Connection: close\r\n", b"") * 20 + HEALTH, b"200"),
])  # fmt: skip
def test_other_protocols_and_odd_requests(
    served: Served, caplog: pytest.LogCaptureFixture, request_bytes: bytes, status: bytes
) -> None:
    with closing(connect(served.port)) as connection:
        try:
            connection.sendall(request_bytes)
            found = answer(connection)
        except ConnectionError:
            found = b""  # it had not read all that was sent
    assert not found or found.split()[1] == status
    assert found or len(request_bytes) > 16 << 10
    if request_bytes.endswith(HEALTH) and len(request_bytes) > len(HEALTH):
        assert found.count(b'{"healthy":true}') == 21
    assert_healthy(served)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("host", ["127.0.0.1", "elsewhere"])  # the second is refused before the body is read
@pytest.mark.parametrize("pause_s", [0, 0.05])
def test_a_bad_chunk_leaves_no_traceback(
    served: Served, caplog: pytest.LogCaptureFixture, host: str, pause_s: float
) -> None:
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with closing(connect(served.port, head if pause_s else head + b"zz\r\nabc\r\n")) as connection:
        if pause_s:
            time.sleep(pause_s)
            connection.sendall(b"zz\r\nabc\r\n")
        assert answer(connection).split()[1] in (b"400", b"403")
    assert_healthy(served)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("host", ["127.0.0.1", "elsewhere"])
def test_a_body_in_tiny_chunks_is_refused(served: Served, caplog: pytest.LogCaptureFixture, host: str) -> None:
    """400,000 chunks of one byte kept the server from answering others."""
    head = f"POST /v2/models/tiny/infer HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with closing(connect(served.port, head)) as connection:
        with suppress(ConnectionError):  # it closes before it has read all
            connection.sendall(b"1\r\na\r\n" * 100_000)
        found = b""
        with suppress(ConnectionError):
            found = answer(connection)
        assert not found or found.split()[1] in (b"400", b"403")
    assert_healthy(served)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("sizes", "fine"),
    [
        ([1] * 1_000, True),
        ([1] * 2_000, False),
        ([100] * 5_000, True),
        ([4096] * 200 + [1] * 3_000, True),
        ([4096] * 200 + [1] * 20_000, False),
    ],
)
def test_chunks_are_counted_against_their_bytes(sizes: list[int], fine: bool) -> None:
    protocol = Protocol(h11.SERVER)
    protocol.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(protocol.next_event(), h11.Request)

    def read() -> int:
        total = 0
        for size in sizes:
            protocol.receive_data(b"%x\r\n" % size + b"a" * size + b"\r\n")
            while isinstance(event := protocol.next_event(), h11.Data):
                total += len(event.data)
        return total

    if fine:
        assert read() == sum(sizes)
    else:
        with pytest.raises(h11.RemoteProtocolError, match="chunks too small"):
            read()


def test_a_body_without_end_that_nobody_reads_ends_the_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REST_S", 0.4)
    head = b"POST /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    with closing(connect(served.port, head)) as connection:
        assert drip(connection, b"1\r\nx\r\n")


@pytest.mark.slow
def test_a_viewer_that_does_not_read_is_let_go(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_READER_S", 0.4)
    pages = served.service.server.dashboard.pages
    with socket.socket() as viewer:
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        viewer.connect(("127.0.0.1", served.port))
        viewer.sendall(b"GET /streams/0.mjpeg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        until(lambda: pages.viewers == 1)
        monkeypatch.setattr(type(served.service.live.streams["0"]), "picture", lambda _self: bytes(8 << 20))
        until(lambda: pages.viewers == 0, 20)


@pytest.mark.slow
def test_viewers_are_counted_before_the_answer(served: Served) -> None:
    pages = served.service.server.dashboard.pages
    watch = b"GET /streams/0.mjpeg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with many(served.port, 64, watch) as viewers:
        codes = sorted(viewer.recv(13).split()[1] for viewer in viewers)
        assert codes == [b"200"] * 32 + [b"503"] * 32
    until(lambda: pages.viewers == 0)
    assert httpx.head(f"{served.url}/streams/0.mjpeg", **PLAIN).headers["content-type"].startswith("multipart/x-mixed")
    assert pages.viewers == 0


def test_a_lone_surrogate_in_a_name_is_a_bad_request(served: Served) -> None:
    body = b'{"inputs": [{"name": "\\ud800", "datatype": "FP32", "shape": [1], "data": [0]}]}'
    tensor = {"name": "input", "shape": [1, 3, 16, 16], "datatype": "FP32", "data": [0.5] * 768}
    identity = json.dumps({"id": "\ud800", "inputs": [tensor]}).encode()
    for content in (body, body.replace(b"name", b"na\\ud800me"), body.replace(b"FP32", b"\\udfff"), identity):
        refused = httpx.post(f"{served.model}/infer", content=content, **PLAIN)
        assert refused.status_code == 400
        assert refused.json()["error"]
    assert served.get("/streams/%ED%A0%80.jpg").status_code == 404
    assert served.get("/v2/models/%ED%A0%80").status_code == 404


class FakeConnection:
    def __init__(self) -> None:
        self.address, self.app, self.aborted = "", None, False

    def abort(self) -> None:
        self.aborted = True
        self.connections.lost(self)


def admitted(connections: Connections, host: str, *, busy: bool = False) -> tuple[FakeConnection, bool]:
    connection = FakeConnection()
    connection.connections = connections
    ok = connections.admit(connection, host)  # type: ignore[arg-type]
    if ok and busy:
        connections.works(connection)  # type: ignore[arg-type]
    return connection, ok


def test_an_address_makes_room_for_itself_and_has_at_most_half() -> None:
    connections = Connections(10, trusted=["10.0.0.2"])
    first, _ = admitted(connections, "10.0.0.1")
    for _ in range(4):
        admitted(connections, "10.0.0.1")
    other, _ = admitted(connections, "10.0.0.9")
    assert len(connections) == 6
    _, ok = admitted(connections, "10.0.0.1")
    assert ok
    assert (first.aborted, len(connections)) == (True, 6)
    for _ in range(20):  # the proxy takes what is left, then its own
        assert admitted(connections, "10.0.0.2")[1]
    assert len(connections) == 10
    assert not other.aborted
    assert admitted(connections, "2001:db8::1")[0].address == admitted(connections, "2001:db8::2")[0].address


def test_beyond_the_bound_only_health_is_answered() -> None:
    connections = Connections(4, trusted=["10.0.0.2"])
    for _ in range(4):
        assert admitted(connections, "10.0.0.2", busy=True)[0].app is None
    for _ in range(16):
        found, ok = admitted(connections, "10.0.0.3", busy=True)
        assert ok
        assert found.app is not None
    assert not admitted(connections, "10.0.0.4")[1]
    assert len(connections) == 20


@pytest.mark.slow
def test_health_is_answered_where_all_connections_are_busy(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = served.service.server.connections
    monkeypatch.setattr(connections, "bound", 8)
    watch = b"GET /streams/0.mjpeg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(4):
            viewer = stack.enter_context(closing(connect(served.port, watch)))
            assert b"200" in viewer.recv(13)
        assert_healthy(served)
        assert served.get("/v2").status_code == 503
    until(lambda: len(connections) == 0)


def test_the_bound_follows_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"soft": 1024}
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (limits["soft"], 4096))
    assert 300 < connection_bound() < 760
    limits["soft"] = 1 << 20
    assert connection_bound() == 1000
    limits["soft"] = resource.RLIM_INFINITY
    assert connection_bound() == 1000
    limits["soft"] = 20
    with pytest.raises(UnavailableError, match="open files"):
        connection_bound()


def test_accept_errors_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    handler = _AcceptErrors()
    context = {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
    for _ in range(1000):
        handler(None, context)  # type: ignore[arg-type]
    assert [record.getMessage() for record in caplog.records] == [
        "serve: cannot accept connections: Too many open files (1 times)"
    ]


FEW_FILES = """
import resource, sys
sys.argv = ["edgeproof", "serve", sys.argv[1], "--port", "0", "--engine", "null"]
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from edgeproof.cli import main
main()
"""


@pytest.mark.slow
def test_few_files_flood_no_log(bundle: Bundle) -> None:
    with started(bundle.path, program=[sys.executable, "-c", FEW_FILES]) as server:
        assert server.port is not None, server.first
        with flood(server.port, 300):
            for _ in range(8):
                with closing(connect(server.port, HEALTH)) as connection:
                    assert b"200" in answer(connection)[:13]
                time.sleep(0.25)
        code, _, err = server.end()
    assert len(err.splitlines()) < 10, err
    assert code == 0


def test_two_servers_on_a_host_keep_their_cookies(bundle: Bundle) -> None:
    with (
        serving(bundle, engine="null", token=TOKEN) as one, serving(bundle, engine="null", token=TOKEN[::-1]) as two,
        httpx.Client(**PLAIN) as browser,
    ):  # fmt: skip
        for server, token in ((one, TOKEN), (two, TOKEN[::-1])):
            assert browser.post(f"{server.url}/login", data={"token": token}).status_code == 303
        for server in (one, two):
            assert browser.get(f"{server.url}/readyz").status_code == 200


@pytest.mark.parametrize("taken_off", [False, True], ids=["kept by the proxy", "taken off by the proxy"])
def test_a_path_prefix(bundle: Bundle, taken_off: bool) -> None:
    sent = "" if taken_off else "/line/3"
    with serving(bundle, engine="null", token=TOKEN, root_path="/line/3") as served, httpx.Client(**PLAIN) as browser:
        assert served.get(f"{sent}/healthz").status_code == 200
        assert served.get("/healthz").status_code == 200
        asked = browser.get(f"{served.url}{sent}/", headers={"accept": "text/html"})
        assert asked.status_code == 401
        assert 'action="login"' in asked.text
        login = browser.post(f"{served.url}{sent}/login", data={"token": TOKEN})
        assert (login.status_code, login.headers["location"]) == (303, "/line/3/")
        assert "Path=/line/3;" in login.headers["set-cookie"]
        by_address = browser.get(f"{served.url}{sent}/?token={TOKEN}")
        assert (by_address.status_code, by_address.headers["location"]) == (303, "/line/3/")
        headers = {"authorization": f"Bearer {TOKEN}"}
        for path in ("/", "/app.js", "/style.css", "/icon.svg", "/api/state", "/metrics", "/v2/models/tiny"):
            assert served.get(sent + path, headers=headers).status_code == 200, path
        described = served.get(f"{sent}/openapi.json", headers=headers).json()
        assert described["servers"] == [{"url": "/line/3"}]
        assert served.get("/line/3", headers=headers).headers["location"] == "/line/3/"


def test_cookies_are_secure_behind_a_trusted_proxy_with_tls(bundle: Bundle) -> None:
    said = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.9"}
    for trusted, secure in (((), False), (("127.0.0.1",), True)):
        with serving(bundle, engine="null", token=TOKEN, trusted_proxies=trusted) as served:
            login = httpx.post(f"{served.url}/login", data={"token": TOKEN}, headers=said, **PLAIN)
            assert ("Secure" in login.headers["set-cookie"]) is secure


@pytest.mark.parametrize("text", ["line", "//evil.example", "/a/../b", "/a b", "/a?b", "/ü", "/a\r\nb"])
def test_what_is_no_path_prefix(text: str) -> None:
    with pytest.raises(InputError, match="--root-path"):
        check_root_path(text)
    assert [check_root_path(good) for good in ("", "/", "/a/", "/a/b-1")] == ["", "", "/a", "/a/b-1"]


def test_a_trusted_proxy_is_an_address() -> None:
    assert check_proxies(["10.0.0.2", "::1"]) == ("10.0.0.2", "::1")
    with pytest.raises(InputError, match="--trusted-proxy"):
        check_proxies(["proxy.example"])
