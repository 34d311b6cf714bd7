from __future__ import annotations

import http.server
import json
import shutil
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from brokers import listening
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.live.events import Event
from edgeproof_runtime.sinks import QueuedSink, open_sink
from edgeproof_runtime.sinks.events_csv import EventsFile
from edgeproof_runtime.sinks.mqtt import MqttSink
from growing_files import events_in
from waiting import free_port, until

STARTED = Event(
    kind="started",
    stream="door",
    label="tabby, tabby cat",
    quantity="probability",
    peak=0.75,
    start_unix_s=1_700_000_000.25,
    start_index=10,
    frames=5,
)
ENDED = replace(STARTED, kind="ended", end_unix_s=1_700_000_002.5, end_index=55, frames=46)


class Slow:
    """A sink that does nothing before it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.items: list[int] = []
        self.closed: list[bool] = []

    def write(self, item: int) -> None:
        self.go.wait()
        if item < 0:
            raise InputError("no negative numbers", got=item)
        self.items.append(item)

    def close(self, *, failed: bool = False) -> None:
        self.closed.append(failed)

    def cancel(self) -> None:
        self.go.set()


def test_a_slow_sink_holds_up_nobody_and_everything_is_counted():
    slow = Slow()
    sink = QueuedSink(slow, "slow", capacity=10)
    begin = time.monotonic()
    for i in range(1000):
        sink.write(i)
    assert time.monotonic() - begin < 5
    counts = sink.counts
    assert counts.waiting == 10
    assert counts.dropped in (989, 990), "one may be with the sink already"
    slow.go.set()
    sink.close()
    counts = sink.counts
    assert counts.written + counts.dropped == 1000
    assert (counts.waiting, counts.failed, slow.closed) == (0, 0, [False])
    assert slow.items == sorted(slow.items)
    assert f"{counts.dropped} dropped" in counts.sentence
    assert not counts.whole
    sink.close()
    sink.write(1)
    assert sink.counts.dropped == counts.dropped + 1


def test_a_dead_sink_is_given_up_after_the_time_limit():
    slow = Slow()
    sink = QueuedSink(slow, "slow", close_timeout_s=0.2)
    for i in range(5):
        sink.write(i)
    begin = time.monotonic()
    sink.close(failed=True)
    assert time.monotonic() - begin < 5
    assert sink.counts.written + sink.counts.dropped == 5
    assert sink.counts.dropped >= 4
    until(lambda: slow.closed == [True])


class Stuck(Slow):
    """A sink that cannot be cancelled."""

    def cancel(self) -> None:
        pass


def test_an_item_that_is_given_up_is_counted_once():
    stuck = Stuck()
    sink = QueuedSink(stuck, "stuck", close_timeout_s=0.1)
    for i in range(6):
        sink.write(i)
    until(lambda: sink.counts.waiting == 5)
    sink.close()
    counts = sink.counts
    assert (counts.written, counts.dropped, counts.failed, counts.waiting) == (0, 5, 1, 0)
    assert counts.all_lost
    assert counts.last_error == "no answer before the end"
    sink.close()
    stuck.go.set()
    until(lambda: stuck.closed == [False])
    assert sink.counts == counts, "what comes later counts no more"


def test_failures_are_counted_and_named():
    slow = Slow()
    slow.go.set()
    sink = QueuedSink(slow, "slow")
    for i in (1, -1, 2, -2):
        sink.write(i)
    sink.close()
    counts = sink.counts
    assert (counts.written, counts.failed, counts.last_error) == (2, 2, "no negative numbers (-2)")
    assert counts.sentence == "slow: 2 written, 2 failed (no negative numbers (-2))"
    assert counts.to_json()["failed"] == 2


def test_with_wait_nothing_is_dropped():
    slow = Slow()
    sink = QueuedSink(slow, "slow", capacity=2, wait=True)
    threading.Timer(0.05, slow.go.set).start()
    for i in range(100):
        sink.write(i)
    sink.close()
    assert slow.items == list(range(100))
    assert sink.counts.whole


def test_with_wait_the_first_error_ends_it():
    slow = Slow()
    slow.go.set()
    sink = QueuedSink(slow, "slow", wait=True)
    sink.write(-1)
    until(lambda: sink.counts.failed == 1)
    with pytest.raises(InputError, match="no negative numbers"):
        sink.write(2)
    sink.write(3)
    sink.write(-4)
    with pytest.raises(InputError, match="no negative numbers"):
        sink.close()
    assert slow.items == [3]


def test_with_wait_what_lacks_an_item_is_closed_as_failed():
    slow = Slow()
    slow.go.set()
    sink = QueuedSink(slow, "slow", wait=True)
    sink.write(-1)
    with pytest.raises(InputError, match="no negative numbers"):
        sink.close()
    assert slow.closed == [True]


def test_what_closing_a_sink_says_is_raised_once():
    class Broken(Slow):
        def close(self, *, failed: bool = False) -> None:
            raise InputError("the disk is full")

    broken = Broken()
    broken.go.set()
    sink = QueuedSink(broken, "broken")
    with pytest.raises(InputError, match="the disk is full"):
        sink.close()
    sink.close()
    assert sink.counts.last_error == "the disk is full"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_said_of_events(tmp_path):
    with pytest.raises(InputError, match="No space left"):
        EventsFile("/dev/full")


def test_events_as_csv(tmp_path):
    path = tmp_path / "events.csv"
    sink = open_sink(str(path))
    assert path.read_text().splitlines()[0] == "stream,label,quantity,peak,start,end,start_index,end_index,frames"
    sink.write(STARTED)
    sink.write(ENDED)
    until(lambda: len(path.read_text().splitlines()) == 3)
    sink.close()
    (row,) = events_in(path)
    assert row == {
        "stream": "door",
        "label": "tabby, tabby cat",
        "quantity": "probability",
        "peak": "0.75",
        "start": "2023-11-14T22:13:20.250+00:00",
        "end": "2023-11-14T22:13:22.500+00:00",
        "start_index": "10",
        "end_index": "55",
        "frames": "46",
    }
    assert sink.counts.written == 1, "rows, not beginnings"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "--sink: invalid"),
        ("events.txt", "--sink: invalid"),
        ("ftp://user:secret@host/x", "--sink: invalid"),
        ("http://", "--sink: invalid"),
        ("http://host:port/", "--sink: invalid"),
        ("none/events.csv", "cannot write events"),
        ("mqtt://host", "invalid MQTT address"),
        ("mqtt://u:secret@host/a/#x", "invalid MQTT address"),
        ("mqtt://u:secret@host/+/a", "invalid MQTT address"),
        ("mqtt://host/a?qos=3", "invalid MQTT address"),
        ("mqtt://host/a?retain=1", "invalid MQTT address"),
        ("http://u:${EDGEPROOF_NOT_SET}@host/", "environment variable EDGEPROOF_NOT_SET: not set"),
    ],
)
def test_sinks_that_make_no_sense(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        open_sink(spec)
    assert "secret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_mqtt_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(UnavailableError, match="paho-mqtt") as caught:
        open_sink("mqtt://127.0.0.1/x")
    assert caught.value.fix == 'pip install "edgeproof[mqtt]"'


class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: HookServer = self.server  # type: ignore[assignment]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if server.hang.is_set():
            server.let_go.wait()
            return
        server.got.append((self.path, dict(self.headers), json.loads(body)))
        self.send_response(server.status)
        reply = b"x" * server.reply_bytes
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)
        self.close_connection = server.close_connections

    def log_message(self, *args: object) -> None:
        pass


class HookServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    status = 204
    reply_bytes = 0
    close_connections = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.got: list[tuple[str, dict[str, str], dict[str, object]]] = []
        self.hang, self.let_go = threading.Event(), threading.Event()
        self.connections = 0

    def get_request(self):
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with HookServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.let_go.set()
            server.shutdown()
            thread.join()


def test_webhook(hook):
    sink = open_sink(f"http://user:pass%20word@127.0.0.1:{hook.server_port}/hook?room=1")
    assert sink.name == f"http://127.0.0.1:{hook.server_port}"
    for event in (STARTED, ENDED):
        sink.write(event)
    sink.close()
    assert sink.counts.written == 2
    assert hook.connections == 1, "the connection is kept"
    (path, headers, body), (_, _, second) = hook.got
    assert path == "/hook?room=1"
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Basic dXNlcjpwYXNzIHdvcmQ="
    assert body == STARTED.to_json()
    assert body["schema"] == "edgeproof.event/1"
    assert (second["kind"], second["end_index"], second["probability"]) == ("ended", 55, 0.75)


def test_a_webhook_that_closes_its_connections_or_talks_too_much_gets_every_event(hook):
    hook.close_connections, hook.reply_bytes = True, 100_000
    sink = open_sink(f"http://127.0.0.1:{hook.server_port}")
    for i in range(5):
        sink.write(STARTED)
        until(lambda i=i: len(hook.got) == i + 1)
    sink.close()
    assert (sink.counts.written, sink.counts.failed) == (5, 0)


def test_a_webhook_at_the_root_keeps_its_query(hook):
    sink = open_sink(f"http://127.0.0.1:{hook.server_port}?room=1")
    sink.write(STARTED)
    sink.close()
    assert [path for path, _, _ in hook.got] == ["/?room=1"]


def test_a_webhook_that_refuses_is_counted(hook):
    hook.status = 500
    sink = open_sink(f"http://127.0.0.1:{hook.server_port}")
    sink.write(STARTED)
    sink.close()
    assert (sink.counts.written, sink.counts.failed) == (0, 1)
    assert "500 Internal Server Error" in (sink.counts.last_error or "")


def test_a_dead_webhook_is_counted():
    sink = open_sink(f"http://127.0.0.1:{free_port()}/x")
    sink.write(STARTED)
    sink.close()
    assert sink.counts.failed == 1
    assert "ConnectionRefusedError" in (sink.counts.last_error or "")


def test_a_webhook_that_hangs_holds_up_nobody(hook, monkeypatch):
    monkeypatch.setattr("edgeproof_runtime.sinks.webhook._TIMEOUT_S", 0.3)
    hook.hang.set()
    sink = open_sink(f"http://127.0.0.1:{hook.server_port}")
    begin = time.monotonic()
    for _ in range(2000):
        sink.write(STARTED)
    assert time.monotonic() - begin < 5
    assert sink.counts.dropped >= 999
    until(lambda: sink.counts.failed > 0)
    assert "TimeoutError" in (sink.counts.last_error or "")
    sink._close_timeout_s = 0.5
    sink.close()
    counts = sink.counts
    assert counts.waiting == 0
    assert counts.written == 0


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqtt(broker, qos):
    with listening(broker) as got:
        sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/site/hall?qos={qos}")
        sink.write(STARTED)
        sink.write(replace(ENDED, stream="yard"))
        until(lambda: len(got) == 3)
        sink.close()
        until(lambda: len(got) == 4)
    assert got[0] == ("site/hall/status", "online")
    assert (got[1][0], json.loads(got[1][1])) == ("site/hall/door/event", STARTED.to_json())
    assert (got[2][0], json.loads(got[2][1])["kind"]) == ("site/hall/yard/event", "ended")
    assert got[3] == ("site/hall/status", "offline")
    assert sink.counts.whole
    assert sink.counts.written == 2


def test_the_last_will_tells_of_a_killed_process(broker):
    program = f"""
        import sys
        from edgeproof_runtime.sinks import open_sink
        sink = open_sink("mqtt://127.0.0.1:{broker.port}/site/hall")
        print("open", flush=True)
        sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with listening(broker) as got, process:
        until(lambda: ("site/hall/status", "online") in got)
        process.kill()
        process.wait()
        until(lambda: got[-1] == ("site/hall/status", "offline"))
    with listening(broker) as later:
        until(lambda: later == [("site/hall/status", "offline")])


@pytest.mark.slow
def test_events_wait_for_a_broker_that_was_killed(broker):
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/site/hall")
    sink.write(STARTED)
    until(lambda: sink.counts.written == 1)
    broker.kill()
    begin = time.monotonic()
    for index in range(5):
        sink.write(replace(STARTED, start_index=index))
    assert time.monotonic() - begin < 1
    time.sleep(0.3)
    assert sink.counts.written == 1
    broker.start()
    with listening(broker) as got:
        until(lambda: sink.counts.written == 6)
        # A broker that was away tells what came before the listener only if it is retained.
        until(lambda: ("site/hall/status", "online") in got)
    sink.close()
    assert (sink.counts.written, sink.counts.failed, sink.counts.dropped) == (6, 0, 0)


@pytest.mark.slow
def test_without_a_broker_nothing_hangs_and_what_was_lost_is_counted(monkeypatch):
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
    monkeypatch.setattr("edgeproof_runtime.sinks.mqtt._CONNECT_TIMEOUT_S", 0.2)
    sink = open_sink(f"mqtt://127.0.0.1:{free_port()}/site/hall")
    sink._close_timeout_s = 0.3
    assert sink.problem
    for _ in range(3):
        sink.write(STARTED)
    begin = time.monotonic()
    sink.close()
    assert time.monotonic() - begin < 10
    counts = sink.counts
    assert (counts.written, counts.failed + counts.dropped) == (0, 3)
    assert "refused the connection" in (counts.last_error or "")


@pytest.mark.slow
def test_while_paho_has_not_said_that_the_connection_is_lost_nobody_spins(monkeypatch):
    mqtt = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    monkeypatch.setattr("edgeproof_runtime.sinks.mqtt._CONNECT_TIMEOUT_S", 0.01)
    sink = MqttSink(urlsplit(f"mqtt://127.0.0.1:{free_port()}/site/hall?qos=0"))
    tried = []

    def publish(*arguments: object, **_: object) -> mqtt.MQTTMessageInfo:
        tried.append(arguments)
        message = mqtt.MQTTMessageInfo(0)
        message.rc = mqtt.MQTT_ERR_NO_CONN
        return message

    with monkeypatch.context() as lost:
        lost.setattr(sink._client, "publish", publish)
        sink._connected = True
        ending = threading.Timer(0.3, sink.cancel)
        ending.start()
        with pytest.raises(InputError, match="MQTT broker: did not accept an event"):
            sink.write(STARTED)
        sink._connected = False
    sink.close()
    assert 1 <= len(tried) < 20


@pytest.mark.slow
def test_a_broker_that_wants_a_password(broker, tmp_path, monkeypatch):
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    subprocess.run(
        [program, "-b", "-c", str(tmp_path / "passwords"), "door", "se cret"], check=True, capture_output=True
    )
    (tmp_path / "passwords").chmod(0o644)  # mosquitto gives up root's rights before it reads it
    tmp_path.chmod(0o755)
    broker.kill()
    broker.configure(tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'passwords'}", "user root")
    broker.start()
    sink = open_sink(f"mqtt://door:se%20cret@127.0.0.1:{broker.port}/site")
    assert sink.problem is None
    sink.write(STARTED)
    sink.close()
    assert sink.counts.written == 1
    monkeypatch.setattr("edgeproof_runtime.sinks.mqtt._CONNECT_TIMEOUT_S", 0.3)
    sink = open_sink(f"mqtt://door:wrong@127.0.0.1:{broker.port}/site")
    until(lambda: "Not authorized" in (sink.problem or ""))
    sink._close_timeout_s = 0.2
    sink.write(STARTED)
    sink.close()
    assert sink.counts.written == 0
    assert "wrong" not in sink.counts.sentence


def test_events_of_a_webhook_that_is_too_slow_add_up(hook):
    """An endpoint of eight seconds per event, and a run that ends meanwhile."""
    sink = open_sink(f"http://127.0.0.1:{hook.server_port}")
    sink.write(STARTED)
    until(lambda: len(hook.got) == 1)  # the connection is kept open: what is cancelled must not be sent again
    hook.hang.set()
    for _ in range(5):
        sink.write(STARTED)
    until(lambda: sink.counts.waiting == 4)
    sink._close_timeout_s = 0.2
    sink.close()
    counts = sink.counts
    assert (counts.written, counts.dropped, counts.failed) == (1, 4, 1)
    assert (
        counts.last_error == f"http://127.0.0.1:{hook.server_port}: did not accept an event (no answer before the end)"
    )
    assert hook.connections == 1


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of localhost that this process trusts, its key beside it."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    path = tmp_path / "localhost.pem"
    subprocess.run(
        [
            *(program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(path.with_suffix(".key")), "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    path.with_suffix(".key").chmod(0o644)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


# paho leaves the socket of a refused handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_mqtt_over_tls(broker, tmp_path, certificate, monkeypatch):
    broker.kill()
    broker.configure(
        tmp_path,
        *("allow_anonymous true", "user root", f"certfile {certificate}", f"keyfile {certificate.with_suffix('.key')}"),
    )
    broker.start()
    sink = open_sink(f"mqtts://localhost:{broker.port}/site")
    assert sink.problem is None
    sink.write(STARTED)
    sink.close()
    assert sink.counts.written == 1
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr("edgeproof_runtime.sinks.mqtt._CONNECT_TIMEOUT_S", 1.0)
    stranger = open_sink(f"mqtts://localhost:{broker.port}/site")
    assert stranger.problem is not None, "whom nobody vouches for is told nothing"
    stranger.close()


def test_a_webhook_over_tls(hook, certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    hook.socket = context.wrap_socket(hook.socket, server_side=True)
    sink = open_sink(f"https://localhost:{hook.server_port}/hook")
    sink.write(STARTED)
    sink.close()
    assert sink.counts.written == 1
    assert hook.got[0][2] == STARTED.to_json()
    monkeypatch.delenv("SSL_CERT_FILE")
    stranger = open_sink(f"https://localhost:{hook.server_port}/hook")
    stranger.write(STARTED)
    stranger.close()
    assert "certificate" in (stranger.counts.last_error or "")
