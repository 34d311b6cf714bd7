"""Hostile clients of `edgeproof serve`: bytes on its port, and what must hold afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hostile import zygote
from hostile.base import base, copy
from hostile.mutations import HUGE_NAME, TEXTS, bits, jpeg_header, png_header, truncations

__all__ = ["Request", "Server", "requests", "serving"]

_HEALTH_S = 5.0
_PLAIN = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_INFER = "/v2/models/good/infer"
_PREDICT = "/v2/models/good/predict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Bytes that a client sends.

    Attributes:
        kind: row of the table.
        name: what they are.
        data: the bytes.
        refused: whether the answer must be 400 to 499, or none.
        closes: whether the client closes at once, without reading.
    """

    kind: str
    name: str
    data: bytes
    refused: bool = True
    closes: bool = False


class Server:
    """A running server."""

    def __init__(self, child: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.port = port
        self._child = child
        self._log = log

    def faults(self, request: Request) -> list[str]:
        """Send a request; return what was wrong."""
        found = []
        answer = self._answer(request)
        status = int(answer.split()[1]) if answer.startswith(b"HTTP/1.") and len(answer.split()) > 1 else None
        if status is not None and status >= 500:
            found.append(f"status {status}: {answer[-300:]!r}")
        elif status is not None and status < 400 and request.refused:
            found.append(f"accepted with {status}: {answer[-300:]!r}")
        if b"Traceback" in answer:
            found.append("traceback in the answer")
        begin = time.monotonic()
        health = self._answer(
            Request(kind="", name="", data=b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        )
        if not health.startswith(b"HTTP/1.1 200") or time.monotonic() - begin > _HEALTH_S:
            found.append(f"not healthy afterwards: {health[:80]!r} after {time.monotonic() - begin:.1f} s")
        if (rss := zygote.peak_bytes(self._child.pid)) > zygote.RSS_LIMIT:
            found.append(f"memory: {rss >> 20} MiB")
        return found

    def end(self) -> list[str]:
        """Stop it; return what was wrong with its end and its log."""
        self._child.send_signal(signal.SIGTERM)
        found = []
        try:
            code = self._child.wait(30)
            if code not in (0, 143):
                found.append(f"exit code {code} after SIGTERM")
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            found.append("does not end at SIGTERM")
        text = self._log.read_bytes()
        for trace in (b"Traceback", b"Exception in"):
            if trace in text:
                place = text.index(trace)
                found.append(f"log: {text[place : place + 1500].decode(errors='replace')}")
        if b"\x1b" in text:
            found.append("escape sequence in the log")
        return found

    def _answer(self, request: Request) -> bytes:
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=15) as client:
                client.sendall(request.data)
                if request.closes:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return b""
                client.settimeout(2)
                while len(answer) < 1 << 20 and (received := client.recv(65536)):
                    answer += received
        except (TimeoutError, ConnectionError):
            pass
        return answer


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run `edgeproof serve` on a free port."""
    copy(folder, "good.edge", "pics")
    log = folder / "serve.log"
    env = {**os.environ, **_PLAIN, "HOME": str(folder), "EDGEPROOF_CACHE": str(folder / "cache")}
    argv = ["serve", "good.edge", "--engine", "onnxruntime", "--threads", "1", "--port", "0", "--max-body-mb", "4"]
    with log.open("wb") as output:
        child = subprocess.Popen([sys.executable, "-m", "edgeproof", *argv], cwd=folder, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL)  # fmt: skip
    try:
        for _ in range(3000):  # the machine may be shared
            found = re.search(rb"http://127\.0\.0\.1:(\d+)", log.read_bytes())
            if found or child.poll() is not None:
                break
            time.sleep(0.1)
        assert found, log.read_text()
        yield Server(child, int(found.group(1)), log)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _http(method: str, path: str, body: bytes = b"", *headers: str, length: str | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def requests() -> Iterator[Request]:
    """Yield the requests."""
    yield from _raw()
    yield from _smuggled()
    yield from _bodies()
    yield from _tensors()
    yield from _images()


def _raw() -> Iterator[Request]:
    kind = "raw HTTP"
    get = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    ways: dict[str, bytes] = {
        "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 300,
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 30,
        "zeros": b"\0" * 4000,
        "SSH": b"SSH-2.0-x\r\n",
        "HTTP/9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        "no version": b"GET /\r\n\r\n",
        "method of 10,000": HUGE_NAME.encode() + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
        "target of 100,000": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "header of 1 MB": get + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
        "20,000 headers": get + b"X: a\r\n" * 20_000 + b"\r\n",
        "header without colon": get + b"broken\r\n\r\n",
        "header with zero byte": get + b"X: a\0b\r\n\r\n",
        "two lengths": b"POST " + _PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        "length and chunks": b"POST " + _PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "bad chunk": b"POST " + _PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        "chunk of 2**64": b"POST " + _PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n",
        "unknown coding": b"POST " + _PREDICT.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: evil\r\n\r\nabc",
        "upgrade": get + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
        "evil host": b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        "no host": b"GET /api/state HTTP/1.1\r\nConnection: close\r\n\r\n",
        "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n",
    }  # fmt: skip
    for name, data in ways.items():
        yield Request(kind=kind, name=name, data=data, refused=name not in ("no host", "upgrade", "HTTP/9"))
    for closes in (b"", b"G", b"GET / HTTP/1.1\r\n", _http("POST", _PREDICT, b"abc", length="1000000")):
        yield Request(kind=kind, name=f"closed after {len(closes)} bytes", data=closes, closes=True, refused=False)
    paths = (
        "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/static/../../x", "/%00", "/%ff%fe", "/%ED%A0%80", "/\udcff", "/streams/%ED%A0%80/mjpeg", "/v2/models/%00/infer",
        "/v2/models/\udced\udca0\udc80", "/v2/models/good/versions/..%2f..", "/v2/models/" + "a" * 5000, "/api/streams/%0d%0aX:1", "/?" + "&".join(f"a{n}=1" for n in range(3000)), "*", "/<script>",
    )  # fmt: skip
    for path in paths:
        yield Request(
            kind="raw HTTP", name=f"path {path[:40]!a}", data=_http("GET", path), refused=not path.startswith("/?")
        )
    for method in ("DELETE", "PUT", "OPTIONS", "TRACE", "CONNECT", "PATCH", "\udcffX"):
        yield Request(kind=kind, name=f"method {method!a}", data=_http(method, _INFER), refused=method != "OPTIONS")
    for name, header in {"cookie": "Cookie: a=" + "b" * 6000, "cookie surrogate": "Cookie: token=\udced\udca0\udc80", "authorization": "Authorization: Bearer \udcff\udcfe", "basic": "Authorization: Basic %%%", "forwarded": "X-Forwarded-For: " + "1.1.1.1, " * 500, "range": "Range: bytes=0-99999999999999999999", "accept": "Accept: " + "a/b;q=9," * 500, "language": "Accept-Encoding: gzip;q=nan", "origin": "Origin: null", "length": "Inference-Header-Content-Length: -1"}.items():  # fmt: skip
        yield Request(kind=kind, name=f"header {name}", data=_http("GET", "/", b"", header), refused=False)
    for number in ("0", "-1", "nan", "٣", "9" * 5000, "%ED%A0%80", "1e9", ""):
        yield Request(
            kind=kind,
            name=f"k={number[:20]!a}",
            data=_http(
                "POST", f"{_PREDICT}?k={number}".encode().decode("latin1"), (base() / "picture.png").read_bytes()
            ),
        )


def _smuggled() -> Iterator[Request]:
    """Requests that two servers in a row would cut in different places, upgrades, and floods within one connection."""
    kind = "smuggled requests"
    post = b"POST " + _PREDICT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n"
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    hidden = b"GET /secret HTTP/1.1\r\nHost: evil\r\n\r\n"
    refused = {
        "chunked twice": post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden,
        "chunked, identity": post + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden,
        "coding after a tab": post + b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + hidden,
        "space before the colon": post + b"Content-Length : 3\r\n\r\nabc" + hidden,
        "folded header": post + b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n\r\nabc" + hidden,
        "length and folded chunks": post + b"Content-Length: 3\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\nabc",
        "length with a sign": post + b"Content-Length: +3\r\n\r\nabc",
        "length as a list": post + b"Content-Length: 3, 3\r\n\r\nabc",
        "length with a line feed": post + b"Content-Length: 3\nContent-Length: 30\r\n\r\nabc" + hidden,
        "chunk of -1": post + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
        "chunk of 0x3": post + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        "chunk size of 10,000 zeros": post + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 10_000 + b"3\r\nabc\r\n0\r\n\r\n",
        "chunk extension of 1 MB": post + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"a" * (1 << 20) + b"\r\nabc\r\n0\r\n\r\n",
        "chunk ended by line feeds": post + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n" + hidden,
        "20,000 trailers": post + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
        "400,000 chunks": post + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 400_000 + b"0\r\n\r\n",
        "absolute target": b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "target of another scheme": b"GET file:///etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "host with a password": b"GET / HTTP/1.1\r\nHost: a:b@localhost\r\n\r\n",
        "host with control characters": b"GET / HTTP/1.1\r\nHost: local\x1b[2Jhost\r\n\r\n",
        "fragment": b"GET /nope#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "expects nothing known": post + b"Expect: 999-evil\r\nContent-Length: 3\r\n\r\nabc",
        "h2c": b"GET /nope HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    }  # fmt: skip
    for name, data in refused.items():
        yield Request(kind=kind, name=name, data=data)
    socket_key = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    survived = {
        "carriage returns alone": b"GET / HTTP/1.1\rHost: localhost\r\r",
        "1,000 requests at once": (get + b"\r\n") * 1_000,
        "500 cookies": get + b"Cookie: " + b"; ".join(b"c%d=%d" % (n, n) for n in range(500)) + b"\r\nConnection: close\r\n\r\n",
        "a web socket for predictions": b"GET " + _PREDICT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" + socket_key + b"\x81\xfe\xff\xff" + b"x" * 500,
        "a web socket for events": b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n" + socket_key,
        "1,000 ranges": get + b"Range: bytes=" + b",".join(b"%d-" % n for n in range(1_000)) + b"\r\nConnection: close\r\n\r\n",
        "the same header 90 times": get + b"Accept: a/b\r\n" * 90 + b"Connection: close\r\n\r\n",
        "priority of nothing": get + b"Priority: u=999\r\nConnection: close\r\nKeep-Alive: timeout=1e9, max=-1\r\n\r\n",
        "a date that is none": get + b"If-Modified-Since: \xff\xfe, 99 Foo 999999\r\nIf-None-Match: " + b'"a",' * 1_000 + b"\r\nConnection: close\r\n\r\n",
    }  # fmt: skip
    for name, data in survived.items():
        yield Request(kind=kind, name=name, data=data, refused=False)


def _bodies() -> Iterator[Request]:
    kind = "request bodies"
    for length in ("-1", "99999999999999999999", "1e3", "٣", "+5", "0x10", "5, 5", "4194305", ""):
        yield Request(kind=kind, name=f"length {length!a}", data=_http("POST", _INFER, b"{}", length=length))
    multipart = "Content-Type: multipart/form-data; boundary="
    for name, (header, body) in {"no boundary": (multipart, b"--x\r\n"), "empty part": (multipart + "x", b"--x\r\n\r\n\r\n--x--"), "unclosed": (multipart + "x", b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nabc"), "huge boundary": (multipart + "x" * 7000, b"--" + b"x" * 7000), "100,000 parts": (multipart + "x", b"--x\r\n\r\n\r\n" * 100_000)}.items():  # fmt: skip
        yield Request(kind=kind, name=f"multipart {name}", data=_http("POST", _PREDICT, body, header))
    for name, body in {**TEXTS, "5 MB": b"a" * (5 << 20)}.items():
        yield Request(
            kind=kind, name=f"infer {name}", data=_http("POST", _INFER, body, "Content-Type: application/json")
        )
        yield Request(kind=kind, name=f"predict {name}", data=_http("POST", _PREDICT, body))
    for coding in ("gzip", "deflate", "br", "\udcff"):
        yield Request(
            kind=kind,
            name=f"coding {coding!a}",
            data=_http("POST", _INFER, b"\x1f\x8b\x08" + b"\0" * 100, f"Content-Encoding: {coding}"),
        )


def _tensors() -> Iterator[Request]:
    kind = "inference protocol"
    values = [0.5] * (3 * 16 * 16)
    sound = {"inputs": [{"name": "input", "shape": [1, 3, 16, 16], "datatype": "FP32", "data": values}]}

    def with_input(**fields: object) -> bytes:
        return json.dumps({"inputs": [{**sound["inputs"][0], **fields}]}).encode()

    ways: dict[str, bytes] = {
        "depth 100,000": b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "objects 50,000 deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "data deep": with_input(data=0).replace(b'"data": 0', b'"data": ' + b"[" * 50_000 + b"]" * 50_000),
        "key twice": b'{"inputs": [], "inputs": []}',
        "NaN": with_input(data=0).replace(b'"data": 0', b'"data": [NaN]'),
        "infinity": with_input(data=0).replace(b'"data": 0', b'"data": [1e999' + b",1" * 767 + b"]"),
        "surrogate name": with_input(name="\ud800"),
        "surrogate id": json.dumps({**sound, "id": "\ud800"}).encode(),
        "control id": json.dumps({**sound, "id": "\x1b[2J\r\n" + "x" * 5000}).encode(),
        "surrogate field": json.dumps({**sound, "\ud800": 1}).encode(),
        "surrogate output": json.dumps({**sound, "outputs": [{"name": "\udfff"}]}).encode(),
        "number of 100,000 digits": with_input(data=0).replace(b'"data": 0', b'"data": [' + b"9" * 100_000 + b"]"),
        "shape of 2**62": with_input(shape=[2**62, 3, 16, 16]),
        "shape of 10**40": with_input(shape=[10**40, 3, 16, 16]),
        "shape negative": with_input(shape=[-1, 3, 16, 16]),
        "shape of text": with_input(shape="1,3,16,16"),
        "shape of 100,000": with_input(shape=[1] * 100_000),
        "shape of nothing": with_input(shape=[]),
        "shape with truth": with_input(shape=[True, 3, 16, 16]),
        "batch 33": json.dumps({"inputs": [{**sound["inputs"][0], "shape": [33, 3, 16, 16], "data": values * 33}]}).encode(),
        "batch 0": with_input(shape=[0, 3, 16, 16], data=[]),
        "too few": with_input(data=[1.0]),
        "ragged": with_input(data=[[1.0], [1.0, 2.0]]),
        "text": with_input(data=["a"] * 768),
        "truth": with_input(data=[True] * 768),
        "nulls": with_input(data=[None] * 768),
        "huge": with_input(data=[10**300] * 768),
        "datatype": with_input(datatype="BYTES"),
        "datatype of 10,000": with_input(datatype=HUGE_NAME),
        "two inputs": json.dumps({"inputs": sound["inputs"] * 2}).encode(),
        "1,000 inputs": json.dumps({"inputs": [{"name": "x"}] * 1000}).encode(),
        "outputs twice": json.dumps({**sound, "outputs": [{"name": "logits"}] * 2}).encode(),
        "unknown parameter": json.dumps({**sound, "parameters": {"evil": 1}}).encode(),
        "shared memory": with_input(parameters={"shared_memory_region": "/dev/mem", "shared_memory_byte_size": 1}),
        "parameters a list": json.dumps({**sound, "parameters": []}).encode(),
    }  # fmt: skip
    for name, body in ways.items():
        yield Request(
            kind=kind,
            name=name,
            data=_http("POST", _INFER, body, "Content-Type: application/json"),
            refused=name != "control id",
        )
    head = with_input(data=None, parameters={"binary_data_size": 3072}).replace(b'"data": null, ', b"")
    for name, (header, body) in {"negative": ("-5", head), "beyond": ("999999", head), "text": ("x", head), "huge": ("9" * 4000, head), "too short": (str(len(head)), head + b"\0" * 100), "not a number": (str(len(head)), head + b"\xff" * 3072), "zero": ("0", head)}.items():  # fmt: skip
        yield Request(
            kind=kind,
            name=f"binary {name}",
            data=_http("POST", _INFER, body, f"Inference-Header-Content-Length: {header}"),
            refused=name != "not a number",
        )


def _images() -> Iterator[Request]:
    png, jpeg = (base() / "picture.png").read_bytes(), (base() / "picture.jpg").read_bytes()
    ways = {
        "PNG of 60,000x60,000": png_header(60_000, 60_000),
        "PNG of 7,000x7,000 without pixels": png_header(7_000, 7_000),
        "JPEG of 65,500x65,500": jpeg_header(jpeg, 65_500, 65_500),
        "BMP": (base() / "picture.bmp").read_bytes(),
        "npy": (base() / "picture.npy").read_bytes(),
        **{f"PNG {name}": data for name, data in truncations(png, 3)},
        **{f"JPEG {name}": data for name, data in truncations(jpeg, 3)},
    }
    for name, data in ways.items():
        yield Request(kind="hostile image", name=name, data=_http("POST", _PREDICT, data, "Content-Type: image/png"))
    for name, data in (*bits(png, 4), *bits(jpeg, 6)):
        yield Request(
            kind="hostile image", name=f"{name} {data[1:4]!a}", data=_http("POST", _PREDICT, data), refused=False
        )
