"""`edgeproof serve` inside a test's process, and clients that say exactly what the test wants said."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from edgeproof.dashboard.app import Settings
from edgeproof.dashboard.server import bind
from edgeproof.dashboard.service import EngineOptions, Service, open_service
from edgeproof.library.live_sinks import SinkOptions
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.sources import StreamSpec

__all__ = ["PLAIN", "Served", "request_raw", "serving"]

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
    max_batch: int | None = None, outputs: SinkOptions | None = None, **settings: object,
) -> Iterator[Served]:  # fmt: skip
    options = EngineOptions(engine=engine, precision="fp32", threads=1, max_batch=max_batch, capacity=capacity)
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with open_service(
            bundle, listener, options, Settings(**{"host": "127.0.0.1", **settings}), specs, outputs  # type: ignore[arg-type]
        ) as service:  # fmt: skip
            thread = threading.Thread(target=service.server.run)
            thread.start()
            try:
                yield Served(service, port)
            finally:
                service.server.stop()
                thread.join(20)
                assert not thread.is_alive()


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
