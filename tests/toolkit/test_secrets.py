"""No secret of an address or option is printed, saved, served or made into a name, whatever fails."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bundles import frames, make_bundle
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.sources import SourceOptions, StreamSpec
from serving import serving

SECRET = re.compile("s3cret|sEcrEt")
SPECIAL = [
    "s3cret",
    "s3cret/sEcrEt",
    "s3cret#sEcrEt",
    "s3cret?sEcrEt",
    "s3cret@sEcrEt",
    "s3cret sEcrEt",
    "s3cret[sEcrEt",
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("secrets") / "tiny.edge")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on while the test lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """An HTTP server that refuses every event, and says the address that it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(403, "no")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def check_nothing_leaked(folder: Path, *texts: str) -> None:
    for path in folder.rglob("*"):
        assert not SECRET.search(path.name)
        if path.is_file():
            assert not SECRET.search(path.read_text(errors="replace")), path
    for text in texts:
        assert not SECRET.search(text), text


@pytest.mark.parametrize("password", SPECIAL)
@pytest.mark.parametrize("scheme", ["rtsp://", "http://", "rtsp:/", ""])
def test_sources_that_do_not_open(
    cli: Cli, bundle: Bundle, tmp_path: Path, closed_port: int, scheme: str, password: str
) -> None:
    source = f"{scheme}user:{password}@127.0.0.1:{closed_port}/live"
    code, out, err = cli("run", bundle.path, "--source", source, "--json", tmp_path / "r.json")
    assert code == 2
    check_nothing_leaked(tmp_path, out, err)


@pytest.mark.slow
@pytest.mark.parametrize("sink", [
    "http://user:s3cret@127.0.0.1:PORT/services/T0/B0/sEcrEt?key=s3cret", "http://127.0.0.1:PORT/a/sEcrEt/ü b",
])  # fmt: skip
def test_reports_of_a_run_name_sinks_by_host(
    cli: Cli, bundle: Bundle, tmp_path: Path, refusing_port: int, sink: str
) -> None:
    pytest.importorskip("cv2").imwrite(str(tmp_path / "frame.png"), frames(1)[0])
    sink = sink.replace("PORT", str(refusing_port))
    reports = "--json", tmp_path / "r.json", "--report", tmp_path / "r.html"
    code, out, err = cli("run", bundle.path, "--source", tmp_path, "--sink", sink, "--event-frames", "1", *reports)
    assert code in (0, 2), err
    check_nothing_leaked(tmp_path, out, err)
    if code == 0:
        document = json.loads((tmp_path / "r.json").read_text())
        assert [one["name"] for one in document["sinks"]] == [f"http://127.0.0.1:{refusing_port}"]


@pytest.mark.slow
@pytest.mark.parametrize("sink", [
    "mqtt://user:s3cret@127.0.0.1:x/topic", "mqtt://user:s3cret@127.0.0.1/a/#?sEcrEt=s3cret", "https://s3cret:sEcrEt",
    "ftp://user:s3cret@host/sEcrEt", "https:/user:s3cret@host/sEcrEt", "mqtt://u:s3cret/sEcrEt@h/t", "http://[s3cret/",
])  # fmt: skip
def test_invalid_sinks(cli: Cli, bundle: Bundle, tmp_path: Path, sink: str) -> None:
    code, out, err = cli(
        "run", bundle.path, "--source", "synthetic://8x8", "--sink", sink, "--json", tmp_path / "r.json"
    )
    assert code in (2, 3), out
    check_nothing_leaked(tmp_path, out, err)


@pytest.mark.parametrize("address", [
    "https://user:s3cret@127.0.0.1:9/model.onnx", "http://127.0.0.1:9/?token=s3cret&x=sEcrEt",
    "http://127.0.0.1:9/user:s3cret/sEcrEt/x", "http:/user:s3cret@127.0.0.1/x",
])  # fmt: skip
@pytest.mark.parametrize("words", [
    ["inspect"], ["verify"], ["report"], ["export", "--out", "o.edge"], ["inspect", "BUNDLE"], ["compare", "BUNDLE"],
    ["evaluate", "BUNDLE", "--data"], ["run", "BUNDLE", "--source", "synthetic://8x8", "--labels-from"],
    ["serve", "BUNDLE", "--root-path"], ["serve", "BUNDLE", "--trusted-proxy"], ["verify", "BUNDLE", "--engine"],
], ids=" ".join)  # fmt: skip
def test_addresses_where_none_belongs(
    cli: Cli, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], address: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*(bundle.path if word == "BUNDLE" else word for word in words), address)
    assert code in (2, 3)
    check_nothing_leaked(tmp_path, out, err)


@pytest.mark.parametrize("password", SPECIAL)
def test_served_state_metrics_and_names(bundle: Bundle, closed_port: int, password: str) -> None:
    from edgeproof.library.sources import specs_of

    (spec,) = specs_of([f"rtsp://user:{password}@127.0.0.1:{closed_port}/live"], options=SourceOptions())
    assert isinstance(spec, StreamSpec)
    assert spec.name == "stream"
    with serving(bundle, [spec], engine="null") as served:
        for path in ("/", "/api/state", "/metrics", "/openapi.json", "/streams/0.jpg", "/streams/none.jpg"):
            assert not SECRET.search(served.get(path).text), path
