"""Who may ask `serve`, and what it refuses to start with."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bundles import make_bundle
from command_line import Cli
from edgeproof.dashboard.access import Access, check_token, is_loopback
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from serving import PLAIN, Served, request_raw, serving, started

TOKEN = "5f1d2e0b9c"  # noqa: S105 - of a server that lives for a test
EVERYTHING = ["/", "/readyz", "/metrics", "/openapi.json", "/api/state", "/v2", "/style.css", "/streams/0.mjpeg"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("serve") / "tiny.edge")


@pytest.fixture(scope="module")
def open_server(bundle: Bundle) -> Iterator[Served]:
    with serving(bundle, engine="null") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(bundle: Bundle) -> Iterator[Served]:
    with serving(bundle, engine="null", token=TOKEN) as running:
        yield running


@pytest.mark.parametrize(("host", "loopback"), [
    ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
    ("0.0.0.0", False),  # noqa: S104
    ("::", False), ("192.168.1.7", False), ("camera.example", False), ("127.0.0.1.example", False),
])  # fmt: skip
def test_which_addresses_need_a_token(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    check_token(TOKEN, host)
    if loopback:
        check_token(None, host)
    else:
        with pytest.raises(InputError, match="EDGEPROOF_TOKEN"):
            check_token(None, host)


def test_without_a_token_it_does_not_start_beyond_loopback(cli: Cli, bundle: Bundle) -> None:
    code, _, stderr = cli("serve", bundle.path, "--host", "0.0.0.0")  # noqa: S104
    assert code == 2
    for said in ("requires a token", "EDGEPROOF_TOKEN", "--token", "Authorization: Bearer TOKEN", "/?token=TOKEN"):
        assert said in stderr


@pytest.mark.parametrize("token", ["", "two words", "Zürich", "a\tb"])
def test_a_token_that_no_header_carries_is_refused(cli: Cli, bundle: Bundle, token: str) -> None:
    code, _, stderr = cli("serve", bundle.path, "--token", token)
    assert code == 2
    assert "not valid in a header" in stderr


@pytest.mark.parametrize("option", ["--queue", "--max-body-mb", "--max-batch", "--threads"])
def test_absurd_numbers_are_refused(cli: Cli, bundle: Bundle, option: str) -> None:
    code, _, stderr = cli("serve", bundle.path, "--engine", "null", "--port", "0", option, 10**20)
    assert code == 2
    assert option.removeprefix("--").replace("-", " ") in stderr.replace("_", " ").replace("-", " ")


def test_a_port_that_is_taken_is_named(cli: Cli, bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, stderr = cli("serve", bundle.path, "--port", taken.getsockname()[1])
    assert code == 2
    assert "Address already in use" in stderr
    assert "--port" in stderr


def test_an_address_of_another_machine_is_named(cli: Cli, bundle: Bundle) -> None:
    code, _, stderr = cli("serve", bundle.path, "--host", "203.0.113.1", "--token", TOKEN)
    assert code == 2
    assert "203.0.113.1, port 8080: cannot listen" in stderr


def test_everything_but_healthz_needs_the_token(guarded: Served) -> None:
    assert guarded.get("/healthz").json() == {"healthy": True}
    for path in EVERYTHING:
        answer = guarded.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer TOKEN" in answer.json()["error"]
    assert httpx.post(f"{guarded.model}/infer", content=b"{", **PLAIN).status_code == 401


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"])
def test_a_wrong_token_does_not_pass(guarded: Served, header: str) -> None:
    assert guarded.get("/readyz", headers={"authorization": header.encode("latin-1")}).status_code == 401
    name = Access(guarded.service.server.dashboard.app, TOKEN, "127.0.0.1").cookie
    assert guarded.get("/readyz", cookies={name: header.encode("ascii", "replace").decode()}).status_code == 401


def test_programs_send_the_token_as_a_header(guarded: Served) -> None:
    for path in EVERYTHING[:-1]:
        assert guarded.get(path, headers={"authorization": f"bearer {TOKEN}"}).status_code == 200, path


def test_a_browser_is_asked_once(guarded: Served) -> None:
    with httpx.Client(base_url=guarded.url, **PLAIN, headers={"accept": "text/html"}) as browser:
        asked = browser.get("/")
        assert asked.status_code == 401
        assert 'action="login"' in asked.text
        assert "sha256-" in asked.headers["content-security-policy"]
        wrong = browser.post("/login", data={"token": "guess"})
        assert wrong.status_code == 401
        assert "Wrong token" in wrong.text
        right = browser.post("/login", data={"token": TOKEN})
        assert (right.status_code, right.headers["location"]) == (303, "/")
        cookie = right.headers["set-cookie"]
        assert TOKEN not in cookie
        assert all(word in cookie for word in ("HttpOnly", "SameSite=strict"))
        assert browser.get("/").status_code == 200
        assert browser.get("/api/state").status_code == 200
    assert httpx.post(f"{guarded.url}/login", content=b"x" * 10_000, **PLAIN).status_code == 413


@pytest.mark.parametrize(
    ("path", "location"), [("/", "/"), ("/metrics?a=b&token=", "/metrics?a=b"), ("//evil.example/", "/evil.example/")]
)
def test_the_token_in_an_address_becomes_a_cookie(guarded: Served, path: str, location: str) -> None:
    path = path + TOKEN if "token=" in path else f"{path}?token={TOKEN}"
    with httpx.Client(**PLAIN) as browser:
        answer = browser.get(guarded.url + path)
        assert answer.status_code == 303
        assert answer.headers["location"] == location
        assert browser.get(f"{guarded.url}/readyz").status_code == 200
    assert guarded.get("/?token=guess").status_code == 401


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::1", "a@b"),
        *("a:b@localhost", "localhost/x", "localhost?x", "localhost#x", "localhost:9:9", "localhost:x", "[::1]x"),
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(open_server: Served, host: str) -> None:
    status, answer = request_raw(open_server.port, f"GET /api/state HTTP/1.1\nHost: {host}\nConnection: close")
    assert status == 403
    assert "host: unknown" in str(answer["error"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:99", "[::1]:8080", "LOCALHOST"])
def test_names_of_this_machine_pass(open_server: Served, host: str) -> None:
    status, _ = request_raw(open_server.port, f"GET /v2 HTTP/1.1\nHost: {host}\nConnection: close")
    assert status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://["])
def test_scripts_of_other_pages_are_refused(open_server: Served, guarded: Served, origin: str) -> None:
    for served in (open_server, guarded):
        headers = {"origin": origin, "authorization": f"Bearer {TOKEN}"}
        assert httpx.post(f"{served.model}/infer", content=b"{", headers=headers, **PLAIN).status_code == 403
    own = {"origin": open_server.url}
    assert httpx.post(f"{open_server.model}/infer", content=b"{", headers=own, **PLAIN).status_code == 400


def test_every_answer_says_what_a_browser_may_do(open_server: Served) -> None:
    for path in ("/", "/app.js", "/healthz", "/nothing"):
        headers = open_server.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    page = open_server.get("/").text
    assert not re.findall(r"(?:src|href)=\"(?:[a-z]+:|/)", page), "something is loaded from elsewhere"


@pytest.mark.parametrize(("number", "html"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
@pytest.mark.slow
def test_a_signal_ends_it_in_good_order_with_its_reports(
    bundle: Bundle, tmp_path: Path, number: signal.Signals, html: bool
) -> None:
    json_file, html_file = tmp_path / "serve.json", tmp_path / "serve.html"
    options = ["--port", 0, "--engine", "null", "--source", "synthetic://64x48@30", "--json", json_file]
    options += ["--token", TOKEN, *(["--report", html_file] if html else [])]
    program = [sys.executable, "-W", "error", "-m", "edgeproof", "serve"]
    with started(bundle.path, *options, program=program, env={**os.environ, "EDGEPROOF_TOKEN": TOKEN}) as server:
        header = {"authorization": f"Bearer {TOKEN}"}
        with httpx.stream("GET", f"{server.url}/streams/0.mjpeg", headers=header, **PLAIN, timeout=20) as watched:
            next(watched.iter_raw())
            infer = f"{server.url}/v2/models/tiny/infer"
            assert httpx.post(infer, content=b"{", headers=header, **PLAIN).status_code == 400
            code, stdout, stderr = server.end(number)
    assert code == 0, stderr
    assert "Traceback" not in stderr
    assert "1 inference requests, 0 answered" in stdout
    report = json.loads(json_file.read_text())
    assert report["kind"] == "serve"
    assert report["counts"]["requests_400"] == 1
    counts = report["counts"]
    assert counts["frames_in"] == counts["frames_classified"] + counts["frames_dropped"] + counts["frames_failed"] > 0
    assert TOKEN not in json_file.read_text()
    assert html_file.exists() == html
    assert not html or TOKEN not in html_file.read_text()
