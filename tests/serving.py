"""`edgeproof serve` in a test's process or in its own, and clients that say exactly what the test wants said."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from edgeproof.dashboard.app import Settings
from edgeproof.dashboard.server import bind
from edgeproof.dashboard.service import EngineOptions, FollowOptions, Service, open_service
from edgeproof.library.live_sinks import SinkOptions
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.sources import StreamSpec

__all__ = ["PLAIN", "Served", "Started", "request_raw", "serving", "started"]

PLAIN: dict[str, Any] = {"trust_env": False, "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
"""For httpx: no proxy, and no reading of the machine's certificates, which takes longer than most requests."""


@dataclass(frozen=True, slots=True)
class Served:
    service: Service
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def model(self) -> str:
        return f"{self.url}/v2/models/{self.service.model.name}"

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(self.url + path, **PLAIN, timeout=20, **options)  # type: ignore[arg-type]


@contextmanager
def serving(
    bundle: Bundle, specs: Sequence[StreamSpec] = (), *, engine: str = "onnxruntime", capacity: int = 128,
    max_batch: int | None = None, outputs: SinkOptions | None = None, follow: FollowOptions | None = None,
    **settings: object,
) -> Iterator[Served]:  # fmt: skip
    options = EngineOptions(engine=engine, precision="fp32", threads=1, max_batch=max_batch, capacity=capacity)
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with open_service(
            bundle, listener, options, Settings(**{"host": "127.0.0.1", **settings}), specs, outputs, follow=follow  # type: ignore[arg-type]
        ) as service:  # fmt: skip
            thread = threading.Thread(target=service.server.run)
            thread.start()
            try:
                yield Served(service, port)
            finally:
                service.server.stop()
                thread.join(20)
                assert not thread.is_alive()


@dataclass(frozen=True, slots=True)
class Started:
    """`edgeproof serve` in its own process.

    Attributes:
        first: what it said up to its address, or all that it said if it ended without one.
        port: where it listens; None if it ended.
    """

    process: subprocess.Popen[bytes]
    first: str
    port: int | None

    @property
    def url(self) -> str:
        assert self.port is not None, self.first
        return f"http://127.0.0.1:{self.port}"

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal and wait; return exit code, standard output and standard error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out.decode(), self.first + err.decode()


@contextmanager
def started(
    *arguments: object, program: Sequence[str] = (sys.executable, "-m", "edgeproof", "serve"), **options: Any
) -> Iterator[Started]:
    """Start a server, wait until it says where it listens or ends, and kill it at the end.

    Args:
        arguments: of the command line.
        program: what is started.
        options: of `subprocess.Popen`.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    # Unbuffered: a buffer would keep for itself what it read after the line that is waited for.
    with subprocess.Popen([*program, *map(str, arguments)], bufsize=0, **pipes, **options) as process:
        try:
            yield Started(process, *_address(process))
        finally:
            process.kill()


def _address(process: subprocess.Popen[bytes]) -> tuple[str, int | None]:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line.decode()
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", said):
            return said, int(found[1])
    return said, None


def request_raw(port: int, head: str, body: bytes = b"", timeout_s: float = 20) -> tuple[int, dict[str, object]]:
    """Send these bytes, read the answer: its status and its JSON."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < _length(answer):
            received = connection.recv(65536)
            if not received:
                break
            answer += received
    header, _, content = answer.partition(b"\r\n\r\n")
    return int(header.split()[1]), json.loads(content)


def _length(answer: bytes) -> int:
    for line in answer.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
