"""A server of Triton's shape: repositories of `edgeproof triton --engine python` behind HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

import edgeproof
from edgeproof.dashboard.tensors import DATATYPES
from edgeproof.remote.client import array_of
from edgeproof_runtime.bundle.reader import Bundle
from triton_backend import backend_model, config_of

__all__ = ["TritonLike", "handler", "listening", "triton_like"]

NAMES = {2: "UINT8", 4: "UINT16", 10: "FP16", 11: "FP32", 13: "BYTES"}


class TritonLike:
    """A repository of `edgeproof triton --engine python` behind HTTP: metadata of its configurations, its own models.

    Answers can be changed: `answer` gets every document.
    """

    def __init__(self, repository: Path, execute: dict[str, Callable[..., Any]]) -> None:
        self.models = {path.parent.name: config_of(path) for path in repository.glob("*/config.pbtxt")}
        self.labels = (
            (repository / "B_net/labels.txt").read_text().split() if (repository / "B_net/labels.txt").exists() else []
        )
        self.execute = execute
        self.hidden: set[str] = set()
        self.requests: list[str] = []

    def metadata(self, name: str) -> dict[str, Any]:
        config = self.models[name]
        batch = [-1] if config.max_batch_size else []
        described = [
            [{"name": one.name, "datatype": NAMES[one.data_type], "shape": [*batch, *one.dims]} for one in of]
            for of in (config.input, config.output)
        ]
        return {
            "name": name,
            "platform": config.platform or config.backend,
            "inputs": described[0],
            "outputs": described[1],
        }

    def config(self, name: str) -> dict[str, Any]:
        return {
            "parameters": {key: {"string_value": one.string_value} for key, one in self.models[name].parameters.items()}
        }

    def infer(self, name: str, batch: Any) -> list[Any]:
        if name == "B":
            batch = self.infer("B_pre", batch)[0].values
            name = "B_net"
        (answer,) = self.execute[name]([batch])
        if answer.error is not None:
            raise ValueError(str(answer.error))
        return list(answer.tensors)


def handler(like: TritonLike) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def reply(self, status: int, body: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if length is not None:
                self.send_header("Inference-Header-Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            like.requests.append(self.path)
            _, _, *rest = self.path.split("/")
            if rest == []:
                return self.reply(200, b'{"name": "triton", "version": "2.51.0"}')
            name = rest[1]
            if name in like.hidden or name not in like.models:
                return self.reply(400, json.dumps({"error": f"Request for unknown model: '{name}'"}).encode())
            document = like.config(name) if rest[-1] == "config" else like.metadata(name)
            return self.reply(200, json.dumps(document).encode())

        def do_POST(self) -> None:
            like.requests.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            name = self.path.split("/")[3]
            if not self.path.endswith("/infer"):
                return self.reply(404, b"{}")
            size = int(self.headers["Inference-Header-Content-Length"])
            request = json.loads(body[:size])
            (given,) = request["inputs"]
            batch = array_of(given["datatype"], given["shape"], body[size:], "request")
            try:
                tensors = like.infer(name, batch)
            except ValueError as error:
                return self.reply(500, json.dumps({"error": str(error)}).encode())
            entries, tail = [], b""
            for one in request.get("outputs") or [{"name": tensor.tensor} for tensor in tensors]:
                (values,) = [tensor.values for tensor in tensors if tensor.tensor == one["name"]]
                if "classification" in one.get("parameters", {}):
                    texts = [f"{value}:{i}:{like.labels[i]}" for i, value in enumerate(values[0])]
                    entries.append({"name": one["name"], "datatype": "BYTES", "shape": [1, len(texts)], "data": texts})
                    continue
                data = np.ascontiguousarray(values).tobytes()
                kind = DATATYPES[values.dtype.name]
                sized = {"binary_data_size": len(data)}
                entries.append(
                    {"name": one["name"], "datatype": kind, "shape": list(values.shape), "parameters": sized}
                )
                tail += data
            head = json.dumps({"model_name": name, "outputs": entries}).encode()
            return self.reply(200, head + tail, len(head))

    return Handler


@contextmanager
def listening(handler_type: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_type)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)


@contextmanager
def triton_like(bundle: Bundle, folder: Path, **options: Any) -> Iterator[tuple[str, TritonLike]]:
    edgeproof.triton(bundle, folder, name="B", engine="python", **options)
    with backend_model(folder / "B_pre") as pre, backend_model(folder / "B_net") as net:
        like = TritonLike(folder, {"B_pre": pre, "B_net": net})
        with listening(handler(like)) as url:
            yield url, like
