"""Tokens, redirections and who is told a password: against servers of the test's own."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgeproof.fleet import registry as client
from edgeproof.fleet.credentials import VARIABLES, Credentials
from edgeproof.fleet.reference import Reference
from edgeproof.fleet.registry import Registry, RegistryError

SECRET = "s3cret-of-the-test"  # noqa: S105
MANIFEST = b'{"schemaVersion": 2}'
Answer = tuple[int, dict[str, str], bytes]


class Seen:
    """What a server was asked: path and ``Authorization`` of each request."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.requests: list[tuple[str, str | None]] = []


@contextmanager
def server(answer: Callable[[str, str | None], Answer]) -> Iterator[Seen]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            seen.requests.append((self.path, given))
            code, headers, content = answer(self.path, given)
            self.send_response(code)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # the client has seen enough
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen = Seen(f"127.0.0.1:{running.server_address[1]}")
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield seen
    finally:
        running.shutdown()
        running.server_close()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def of(host: str, **credentials: str) -> Registry:
    return Registry(Reference.parse(f"oci://{host}/a/b"), credentials=Credentials(**credentials))


def test_a_token_of_the_server_that_the_registry_names() -> None:
    basic = "Basic " + base64.b64encode(f"site:{SECRET}".encode()).decode()

    def tokens(path: str, given: str | None) -> Answer:
        assert "service=reg" in path
        assert "scope=repository%3Aa%2Fb%3Apull" in path
        return (200, {}, b'{"token": "t0k"}') if given == basic else (401, {}, b"")

    with server(tokens) as authority:

        def answer(_path: str, given: str | None) -> Answer:
            if given == "Bearer t0k":
                return 200, {}, MANIFEST
            realm = f'Bearer realm="http://{authority.host}/t",service="reg",scope="repository:a/b:pull"'
            return 401, {"WWW-Authenticate": realm}, b""

        with server(answer) as registry:
            found = of(registry.host, user="site", password=SECRET)
            assert found.manifest("latest")[0] == MANIFEST
            assert found.manifest("latest")[0] == MANIFEST
            assert [given for _, given in registry.requests] == [None, "Bearer t0k", "Bearer t0k"]
            assert len(authority.requests) == 1
            with pytest.raises(RegistryError, match="login refused") as caught:
                of(registry.host, user="site", password=SECRET + "-not").manifest("latest")
            assert SECRET not in str(caught.value)


def test_a_password_is_not_told_to_the_host_of_a_redirection() -> None:
    digest = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
    with server(lambda _path, _given: (200, {}, MANIFEST)) as store:

        def answer(_path: str, given: str | None) -> Answer:
            if given is None:
                return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
            return 307, {"Location": f"http://{store.host}/blob"}, b""

        with server(answer) as registry:
            assert of(registry.host, user="site", password=SECRET).blob(digest, 1000) == MANIFEST
            assert store.requests == [("/blob", None)]
            assert [given is None for _, given in registry.requests] == [True, False]


def test_a_registry_that_is_busy_is_asked_again_and_one_that_refuses_is_not() -> None:
    codes = [503, 429, 200]

    def answer(_path: str, _given: str | None) -> Answer:
        return codes.pop(0), {"Retry-After": "0"}, MANIFEST

    with server(answer) as registry:
        assert of(registry.host).manifest("latest")[0] == MANIFEST
        assert len(registry.requests) == 3
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no"}]}).encode()
    with server(lambda _path, _given: (403, {}, body)) as registry:
        with pytest.raises(RegistryError, match="access refused") as caught:
            of(registry.host).manifest("latest")
        assert "DENIED: no" in str(caught.value)
        assert len(registry.requests) == 1


def test_what_a_registry_must_not_send() -> None:
    with server(lambda _path, _given: (200, {}, b"x" * (5 << 20))) as registry:
        with pytest.raises(RegistryError, match="more than"):
            of(registry.host).manifest("latest")
        with pytest.raises(RegistryError, match="another size or digest"):
            of(registry.host).blob(f"sha256:{'0' * 64}", 100)
    short = server(lambda _path, _given: (200, {"Content-Length": "100"}, b"x"))
    with short as registry, pytest.raises(RegistryError, match=r"ends early|connection lost"):
        of(registry.host).manifest("latest")
