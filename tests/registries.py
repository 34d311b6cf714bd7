"""A real registry (Debian's docker-registry) on loopback, and one between whose connections break."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["Flaky", "Running", "flaky", "registry"]

PROGRAM = "docker-registry"
_START_S = 20.0


@dataclass(frozen=True)
class Running:
    """A registry that answers.

    Attributes:
        host: address and port.
        folder: where it keeps what was pushed.
        log: its log.
    """

    host: str
    folder: Path
    log: Path

    def blob(self, digest: str) -> Path:
        """The file of a blob."""
        found = digest.removeprefix("sha256:")
        return self.folder / f"docker/registry/v2/blobs/sha256/{found[:2]}/{found}/data"


@contextmanager
def registry(folder: Path, *, htpasswd: str | None = None, tls: tuple[Path, Path] | None = None) -> Iterator[Running]:
    """Start a registry; skips without the program.

    Args:
        folder: where it keeps everything.
        htpasswd: lines ``user:bcrypt``; None asks for no password.
        tls: certificate and key; None serves HTTP.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        pytest.skip(f"{PROGRAM} is not installed: scripts/system-packages.sh test installs Debian's")
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    config = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": False}, "level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of-the-tests"},
    }
    if htpasswd is not None:
        (folder / "htpasswd").write_text(htpasswd)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    if tls is not None:
        config["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}  # type: ignore[index]
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    log = folder / "log"
    environment = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=out, stderr=out, env=environment
        )
    try:
        _wait(port, process, log)
        yield Running(f"127.0.0.1:{port}" if tls is None else f"localhost:{port}", folder / "data", log)
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError(f"{PROGRAM} does not answer: {log.read_text()}")


class Flaky:
    """A TCP proxy before a registry that breaks connections.

    Attributes:
        address: its host and port.
        most_bytes: bytes of an answer after which a connection is cut; None cuts none.
        most_sent: bytes of requests after which the next connection is cut, once; None cuts none.
        cut: number of connections that were cut.
        refusing: whether connections are closed at once.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.most_bytes: int | None = None
        self.most_sent: int | None = None
        self.refusing = False
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                threading.Thread(target=self._copy, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, True), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, answer: bool) -> None:
        passed = 0
        with suppress(OSError):
            while chunk := source.recv(1 << 14):
                most = self.most_bytes if answer else self.most_sent
                if most is not None and passed + len(chunk) > most:
                    target.sendall(chunk[: most - passed])
                    self.most_sent = None
                    self.cut += 1
                    break
                target.sendall(chunk)
                passed += len(chunk)
        for one in (target, source):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()  # the other thread closes the target

    def close(self) -> None:
        """Accept no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def flaky(target: str) -> Iterator[Flaky]:
    """Put a `Flaky` proxy before a registry."""
    proxy = Flaky(target)
    try:
        yield proxy
    finally:
        proxy.close()
