"""A broker of a test's own, and a client that listens to it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from waiting import free_port, until

__all__ = ["Broker", "Certificates", "listening"]


class Broker:
    """mosquitto on a port of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            pytest.skip("no MQTT broker: mosquitto is not installed")
        pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed")
        self.port = free_port()
        self._command = [program, "-c", str(folder / "mosquitto.conf")]
        self.configure(folder, "allow_anonymous true")
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, folder: Path, *lines: str) -> None:
        (folder / "mosquitto.conf").write_text("\n".join((f"listener {self.port} 127.0.0.1", *lines, "")))

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def listening(broker: Broker, topics: str = "site/#") -> Iterator[list[tuple[str, str]]]:
    """What is published under the topics, as (topic, payload); retained messages too."""
    from paho.mqtt import client as paho

    got: list[tuple[str, str]] = []
    ready = threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda c, *_: c.subscribe(topics, qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _c, _d, message: got.append((message.topic, message.payload.decode("latin-1")))
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        assert ready.wait(10)
        yield got
    finally:
        client.disconnect()
        client.loop_stop()


class Certificates:
    """A private authority, ``ca.pem``, and certificates that it signed: ``server`` (localhost) and ``client``."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("openssl")
        if program is None:
            pytest.skip("openssl is not installed")
        self._program, self.folder = program, folder
        self._run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca "
                  "-keyout ca.key -out ca.pem")  # fmt: skip
        self._sign("server", "DNS:localhost")
        self._sign("client", "DNS:client")
        for path in folder.iterdir():
            path.chmod(0o644)  # mosquitto gives up root's rights before it reads them

    def _sign(self, name: str, alternative: str) -> None:
        self._run(f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key "
                  f"-addext subjectAltName={alternative} -out {name}.csr")  # fmt: skip
        self._run(f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy "
                  f"-out {name}.pem")  # fmt: skip

    def _run(self, words: str) -> None:
        subprocess.run([self._program, *words.split()], check=True, capture_output=True, cwd=self.folder)
