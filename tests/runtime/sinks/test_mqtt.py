"""Causes of brokers that do not answer, and the latest values that a broker holds."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brokers import Broker, Certificates, listening
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sinks import open_sink
from edgeproof_runtime.sinks.mqtt import MqttSink
from waiting import free_port, until

# paho leaves the socket of a refused handshake to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def problem_of(address: str) -> str | None:
    sink = open_sink(address)
    try:
        if (problem := sink.problem) and "no answer from" in problem:
            until(lambda: "no answer from" not in (sink.problem or ""))
        return sink.problem
    finally:
        sink.close()


def started(folder: Path, *lines: str) -> Broker:
    broker = Broker(folder)
    broker.configure(folder, "user root", *lines)
    broker.start()
    return broker


@pytest.fixture
def tls(tmp_path: Path, certificates: Certificates) -> Iterator[Broker]:
    files = certificates.folder
    broker = started(tmp_path, "allow_anonymous true", f"certfile {files}/server.pem", f"keyfile {files}/server.key")
    yield broker
    broker.kill()


def test_a_name_without_address_is_a_matter_of_dns() -> None:
    assert 'no address found for "broker.invalid" (DNS' in (problem_of("mqtt://broker.invalid/site") or "")


def test_a_port_that_nobody_listens_on() -> None:
    port = free_port()
    assert f"127.0.0.1:{port} refused the connection" in (problem_of(f"mqtt://127.0.0.1:{port}/site") or "")


def test_a_port_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproof_runtime.sinks.mqtt._CONNECT_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        plain = open_sink(f"mqtt://127.0.0.1:{port}/site")
        assert plain.problem == f"no answer from 127.0.0.1:{port}"
        plain.close()
        assert "did not answer in time" in (problem_of(f"mqtts://127.0.0.1:{port}/site") or "")


class Http(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts"])
def test_a_web_server_is_no_broker(scheme: str, certificates: Certificates) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Http) as server:
        if scheme == "mqtts":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.folder / "server.pem", certificates.folder / "server.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            options = f"?ca={certificates.folder}/ca.pem" if scheme == "mqtts" else ""
            told = problem_of(f"{scheme}://localhost:{server.server_port}/site{options}") or ""
        finally:
            server.shutdown()
            thread.join()
    assert "a port of another service is no MQTT broker" in told


def test_tls_on_a_plain_port(broker: Broker) -> None:
    assert "does not speak TLS; use mqtt://" in (problem_of(f"mqtts://127.0.0.1:{broker.port}/site") or "")


def test_a_plain_connection_to_a_port_with_tls(tls: Broker) -> None:
    assert "requires mqtts://" in (problem_of(f"mqtt://127.0.0.1:{tls.port}/site") or "")


def test_a_private_ca_is_asked_for_and_taken(tls: Broker, certificates: Certificates) -> None:
    told = problem_of(f"mqtts://localhost:{tls.port}/site") or ""
    assert "not signed by a known CA" in told
    assert "add ?ca=FILE" in told
    assert problem_of(f"mqtts://localhost:{tls.port}/site?ca={certificates.folder}/ca.pem") is None


def test_a_certificate_for_another_name(tls: Broker, certificates: Certificates) -> None:
    told = problem_of(f"mqtts://127.0.0.1:{tls.port}/site?ca={certificates.folder}/ca.pem") or ""
    assert "certificate is for another name" in told


def test_client_certificates(tmp_path: Path, certificates: Certificates) -> None:
    files = certificates.folder
    broker = started(
        tmp_path, "allow_anonymous true", f"certfile {files}/server.pem", f"keyfile {files}/server.key",
        f"cafile {files}/ca.pem", "require_certificate true",
    )  # fmt: skip
    try:
        address = f"mqtts://localhost:{broker.port}/site?ca={files}/ca.pem"
        told = problem_of(address) or ""
        assert "requires a client certificate" in told
        assert "add ?cert=FILE&key=FILE" in told
        assert problem_of(f"{address}&cert={files}/client.pem&key={files}/client.key") is None
    finally:
        broker.kill()


def test_user_and_password(tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("")
    (tmp_path / "passwords").chmod(0o644)
    tmp_path.chmod(0o755)
    broker = started(tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'passwords'}")
    try:
        without = problem_of(f"mqtt://127.0.0.1:{broker.port}/site") or ""
        wrong = problem_of(f"mqtt://door:s3cret@127.0.0.1:{broker.port}/site") or ""
    finally:
        broker.kill()
    assert "requires user and password" in without
    assert "refused user or password" in wrong
    assert "s3cret" not in wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("ca=none.pem", "ca of an MQTT address cannot be read"),
        ("ca=ca.key", "ca of an MQTT address cannot be used"),
        ("cert=client.pem", "cert of an MQTT address cannot be used"),
        ("cert=client.pem&key=none.key", "key of an MQTT address cannot be read"),
        ("cert=client.pem&key=server.key", "key values mismatch"),
        ("key=client.key", "invalid MQTT address"),
        ("ca=", "invalid MQTT address"),
        ("ca=ca.pem&ca=ca.pem", "invalid MQTT address"),
    ],
)
def test_certificates_that_cannot_be_used(
    options: str, message: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(certificates.folder)
    with pytest.raises(InputError, match=message):
        open_sink(f"mqtts://localhost/site?{options}")


@pytest.mark.parametrize("address", ["mqtt://a..b/site", "mqtt://host/site?ca=ca.pem"])
def test_addresses_that_cannot_be_right(address: str) -> None:
    with pytest.raises(InputError, match="MQTT"):
        open_sink(address)


def kept(sink: Any) -> MqttSink:
    assert isinstance(sink.sink, MqttSink)
    return sink.sink


def test_a_broker_that_comes_back_gets_the_latest_values_only(broker: Broker) -> None:
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/site")
    mqtt = kept(sink)
    mqtt.keep("site/door/state", "1")
    with listening(broker) as got:
        until(lambda: ("site/door/state", "1") in got)
    broker.kill()
    until(lambda: sink.problem is not None)
    mqtt.keep("site/door/state", "2")
    mqtt.keep("site/door/state", "3")
    broker.start()
    with listening(broker) as got:
        until(lambda: ("site/door/state", "3") in got, 20)
        until(lambda: ("site/status", "online") in got)
    assert ("site/door/state", "2") not in got
    sink.close()


def test_a_killed_process_makes_every_stream_unavailable(broker: Broker) -> None:
    """MQTT has one last will per connection: it sets the status of the process, which every stream's depends on."""
    program = f"""
        import sys
        from edgeproof_runtime.sinks import open_sink
        sink = open_sink("mqtt://127.0.0.1:{broker.port}/site")
        sink.sink.keep("site/door/status", "online")
        print("open", flush=True)
        sys.stdin.read()
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE)
    with listening(broker) as got, process:
        until(lambda: {("site/status", "online"), ("site/door/status", "online")} <= set(got))
        process.kill()
        process.wait()
        until(lambda: got[-1] == ("site/status", "offline"))
    with listening(broker) as later:
        until(lambda: len(later) == 2)
    assert dict(later) == {"site/status": "offline", "site/door/status": "online"}


def test_events_and_values_do_not_hinder_each_other(broker: Broker) -> None:
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/site")
    mqtt = kept(sink)
    with listening(broker) as got:
        for number in range(200):
            mqtt.keep("site/door/state", json.dumps(number))
        until(lambda: ("site/door/state", "199") in got)
    sink.close()
