"""The inference API of `serve`: against Triton's own client, against the Python API, against what is malformed."""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundles import frames, make_bundle
from edgeproof.dashboard.batching import Batcher, ClosingError, InferenceError, QueueFullError
from edgeproof.dashboard.tensors import HEADER_LENGTH, InferRequest, parse_request
from edgeproof_runtime.bundle.artifact import TensorSpec
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.engines import load
from edgeproof_runtime.errors import InputError
from serving import PLAIN, Served, request_raw, serving

SPEC = TensorSpec("input", (3, 16, 16))
OUTPUTS = (TensorSpec("logits", (5,)),)
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    contract = InputContract(resize_size=(20, 20), crop_size=(16, 16), batch=BatchBounds(max=8))
    return make_bundle(tmp_path_factory.mktemp("serve") / "tiny.edge", contract)


@pytest.fixture(scope="module")
def served(bundle: Bundle) -> Iterator[Served]:
    with serving(bundle, max_body_bytes=1 << 20) as running:
        yield running


def request_json(**changes: object) -> dict[str, object]:
    entry = {"name": "input", "shape": [1, 3, 16, 16], "datatype": "FP32", "data": [0.5] * 768}
    return {"inputs": [{**entry, **changes}]}


@pytest.mark.slow
def test_tritonclient_gets_the_logits_of_the_python_api_bit_for_bit(served: Served, bundle: Bundle) -> None:
    triton = pytest.importorskip("tritonclient.http")
    preprocess, engine = Preprocessor(bundle.contract), load("onnxruntime", bundle.artifact(max_batch=1), threads=1)
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    described = client.get_model_metadata("tiny")
    assert described["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 16, 16]}]
    for frame in frames():
        rows = np.asarray(preprocess(frame)[None], np.float32)
        (expected,) = engine.run(rows)
        for binary_in in (True, False):
            tensor = triton.InferInput("input", list(rows.shape), "FP32")
            tensor.set_data_from_numpy(rows, binary_data=binary_in)
            for outputs in (None, *([triton.InferRequestedOutput("logits", binary_data=b)] for b in (True, False))):
                answer = client.infer("tiny", [tensor], outputs=outputs, request_id="seven")
                assert answer.get_response()["id"] == "seven"
                np.testing.assert_array_equal(answer.as_numpy("logits"), expected)
    client.close()


def test_openvinos_logits_are_those_of_the_python_api_too(bundle: Bundle) -> None:
    pytest.importorskip("openvino")
    engine = load("openvino", bundle.artifact(max_batch=1), threads=1)
    with serving(bundle, engine="openvino") as served:
        for _ in range(3):
            values = RNG.normal(size=(1, *SPEC.shape)).astype(np.float32)
            content, headers = values.tobytes(), {HEADER_LENGTH: "0"}
            answer = httpx.post(f"{served.model}/infer", content=content, headers=headers, **PLAIN)
            got = np.frombuffer(answer.content[int(answer.headers[HEADER_LENGTH]) :], np.float32)
            np.testing.assert_array_equal(got, engine.run(values)[0][0])


def test_tritonclient_is_told_what_is_wrong(served: Served) -> None:
    triton = pytest.importorskip("tritonclient.http")
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    tensor = triton.InferInput("input", [1, 3, 8, 8], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3, 8, 8), np.float32))
    with pytest.raises(InferenceServerException, match=r"wrong shape; got: \[1, 3, 8, 8\]; expected: \[N, 3, 16, 16\]"):
        client.infer("tiny", [tensor])
    with pytest.raises(InferenceServerException, match="model: not found"):
        client.infer("other", [tensor])
    client.close()


def test_a_batch_in_one_request(served: Served, bundle: Bundle) -> None:
    rows = RNG.normal(size=(8, 3, 16, 16)).astype(np.float32)
    answer = httpx.post(f"{served.model}/infer", content=rows.tobytes(), headers={HEADER_LENGTH: "0"}, **PLAIN)
    length = int(answer.headers[HEADER_LENGTH])
    described = json.loads(answer.content[:length])["outputs"][0]
    assert described["shape"] == [8, 5]
    got = np.frombuffer(answer.content[length:], np.float32).reshape(8, 5)
    (expected,) = load("onnxruntime", bundle.artifact(), threads=1).run(rows)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_a_picture_gets_the_python_apis_decision(served: Served, bundle: Bundle, kind: str) -> None:
    frame = frames()[0]
    data = cv2.imencode(kind, frame)[1].tobytes()
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    with Classifier(bundle, "onnxruntime", threads=1) as classifier:
        expected = classifier(decoded).to_json(2)
    answer = httpx.post(f"{served.model}/predict?k=2", content=data, **PLAIN)
    assert answer.status_code == 200, answer.text
    assert answer.json()["prediction"] == expected
    assert set(answer.json()["latency_ms"]) == {"decode", "preprocess", "queue", "inference"}


def huge_png() -> bytes:
    """A hundred bytes that claim 900 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("query", "body", "headers", "status", "message"),
    [
        ("", b"", {}, 400, "0 bytes"),
        ("", b"GIF89a", {}, 400, "a JPEG or a PNG"),
        ("", cv2.imencode(".jpg", frames()[0])[1].tobytes()[:-40], {}, 400, "truncated"),
        ("", huge_png(), {}, 413, "30000x30000 pixels"),
        ("?k=0", b"", {}, 400, "k: not a number"),
        ("?k=many", b"", {}, 400, "k: not a number"),
        ("", b"x", {"content-type": "multipart/form-data; boundary=x"}, 415, "--data-binary"),
        ("", b"x", {"content-encoding": "gzip"}, 415, "gzip"),
    ],
)
def test_pictures_that_are_none(
    served: Served, query: str, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    answer = httpx.post(f"{served.model}/predict{query}", content=body, headers=headers, **PLAIN)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("request_body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"7", "not a JSON object"),
        (b'{"inputs": [{"name": "input", "data": [NaN]}]}', "unsupported value; got: NaN"),
        ({}, "expected: one input"),
        ({"inputs": []}, "0 inputs"),
        ({"inputs": [7]}, "expected: one input"),
        ({**request_json(), "more": 1}, "unknown fields"),
        ({**request_json(), "id": 7}, "id: not a string"),
        ({**request_json(), "parameters": {"sequence_id": 7}}, "sequence_id"),
        ({**request_json(), "parameters": {"binary_data_output": 1}}, "not a boolean"),
        ({**request_json(), "outputs": []}, "not a list of objects"),
        ({**request_json(), "outputs": [{"name": "other"}]}, "output: unknown"),
        ({**request_json(), "outputs": [{"name": "logits", "parameters": {"classification": 3}}]}, "classification"),
        ({**request_json(), "outputs": [{"name": "logits"}, {"name": "logits"}]}, "twice"),
        (request_json(name="image"), "input: unknown; got: image; expected: input"),
        (request_json(datatype="FP16"), "wrong datatype; got: FP16; expected: FP32"),
        (request_json(shape=[3, 16, 16]), "wrong shape"),
        (request_json(shape=[0, 3, 16, 16]), "wrong shape"),
        (request_json(shape=[9, 3, 16, 16]), "N 1..8"),
        (request_json(shape=[1.0, 3, 16, 16]), "wrong shape"),
        (request_json(shape=[True, 3, 16, 16]), "wrong shape"),
        (request_json(shape="1,3,16,16"), "wrong shape"),
        (request_json(data=None), "no data"),
        (request_json(data=[0.5] * 767), "do not fit its shape"),
        (request_json(data=[[0.5] * 767, [0.5]]), "differing lengths"),
        (request_json(data=["0.5"] * 768), "wrong type"),
        (request_json(data=[True] * 768), "wrong type"),
        (request_json(data=[1e300] * 768), "out of range"),
        (request_json(parameters={"binary_data_size": 12}), "both data and binary_data_size"),
        (request_json(parameters=[]), "not an object"),
    ],
)
def test_requests_that_are_malformed_are_named(served: Served, request_body: object, message: str) -> None:
    content = request_body if isinstance(request_body, bytes) else json.dumps(request_body).encode()
    answer = httpx.post(f"{served.model}/infer", content=content, **PLAIN)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]


def binary_request(size: int, announced: object) -> tuple[bytes, str]:
    entry = {
        "name": "input",
        "shape": [1, 3, 16, 16],
        "datatype": "FP32",
        "parameters": {"binary_data_size": announced},
    }
    head = json.dumps({"inputs": [entry]}).encode()
    return head + bytes(size), str(len(head))


@pytest.mark.parametrize(
    ("content", "length", "message"),
    [
        (*binary_request(3071, 3072), "binary_data_size 3072, 3071 bytes"),  # truncated
        (*binary_request(3073, 3072), "3073 bytes"),
        (*binary_request(3071, 3071), "got: 3071 bytes; expected: 3072 bytes"),
        (*binary_request(3072, -1), "differs from the size"),
        (*binary_request(3072, "3072"), "differs from the size"),
        (*binary_request(3072, None), "belong to no input"),
        (b"{}", "3", "does not fit the body"),
        (b"{}", "-1", "does not fit the body"),
        (b"{}", "one", "does not fit the body"),
        (b"{}", "9" * 5000, "does not fit the body"),
        (bytes(3071), "0", "incomplete rows"),
        (b"", "0", "incomplete rows"),
        (bytes(3072 * 9), "0", "N 1..8"),
    ],
)
def test_binary_tensors_that_are_malformed_are_named(served: Served, content: bytes, length: str, message: str) -> None:
    answer = httpx.post(f"{served.model}/infer", content=content, headers={HEADER_LENGTH: length}, **PLAIN)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
            st.sampled_from(["inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "id"]), inner
        ),
        max_leaves=20,
    ),
    st.none() | st.integers(-2, 200).map(str),
)  # fmt: skip
def test_whatever_json_is_parsed_or_refused(request_value: object, header_length: str | None) -> None:
    with suppress(InputError):
        parsed = parse_request(json.dumps(request_value).encode(), header_length, SPEC, OUTPUTS, 8)
        assert parsed.rows.shape[1:] == SPEC.shape


@given(st.integers(1, 8), st.booleans(), st.booleans())
@settings(max_examples=30)
def test_json_and_binary_are_the_same_tensor(rows: int, nested: bool, raw: bool) -> None:
    values = RNG.normal(size=(rows, *SPEC.shape)).astype(np.float32)
    entry = {"name": "input", "shape": list(values.shape), "datatype": "FP32"}
    data = (values if nested else values.ravel()).tolist()
    as_json = parse_request(json.dumps({"inputs": [{**entry, "data": data}]}).encode(), None, SPEC, OUTPUTS, 8)
    head = json.dumps({"inputs": [{**entry, "parameters": {"binary_data_size": values.nbytes}}]}).encode()
    body, length = (values.tobytes(), "0") if raw else (head + values.tobytes(), str(len(head)))
    as_binary = parse_request(body, length, SPEC, OUTPUTS, 8)
    np.testing.assert_array_equal(as_json.rows, values)
    np.testing.assert_array_equal(as_binary.rows, values)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_models_of_other_dtypes(dtype: str) -> None:
    spec = TensorSpec("input", (2, 2), dtype)
    entry = {"name": "input", "shape": [1, 2, 2], "datatype": {"uint8": "UINT8", "float16": "FP16"}[dtype]}
    parsed = parse_request(json.dumps({"inputs": [{**entry, "data": [0, 1, 2, 255]}]}).encode(), None, spec, OUTPUTS, 1)
    assert parsed.rows.dtype == dtype
    assert parsed.rows.tolist() == [[[0, 1], [2, 255]]]
    for wrong in ([0, 1, 2, 70_000], [0, 1, 2, "3"], *([[0, 1, 2, 0.5], [0, 1, 2, -1]] if dtype == "uint8" else [])):
        with pytest.raises(InputError):
            parse_request(json.dumps({"inputs": [{**entry, "data": wrong}]}).encode(), None, spec, OUTPUTS, 1)


def test_a_large_request_is_parsed_beside_the_event_loop(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def parse(*arguments: Any) -> InferRequest:
        threads.append(threading.current_thread().name)
        return parse_request(*arguments)

    monkeypatch.setattr("edgeproof.dashboard.api.parse_request", parse)
    for rows in (1, 8):
        request = request_json(shape=[rows, 3, 16, 16], data=RNG.random(rows * 768).tolist())
        assert httpx.post(f"{served.model}/infer", json=request, **PLAIN).status_code == 200
    assert [name.startswith("edgeproof-picture") for name in threads] == [False, True]


def test_data_of_many_numbers_are_read_in_pieces() -> None:
    spec = TensorSpec("input", (100_000,))
    entry = {"name": "input", "shape": [1, 100_000], "datatype": "FP32"}
    numbers = [*range(50_000), *(0.5 * number for number in range(50_000))]
    parsed = parse_request(json.dumps({"inputs": [{**entry, "data": numbers}]}).encode(), None, spec, OUTPUTS, 1)
    np.testing.assert_array_equal(parsed.rows, np.array([numbers], np.float32))
    for wrong in ("x", None, [1.0]):
        body = json.dumps({"inputs": [{**entry, "data": [*numbers[:-1], wrong]}]}).encode()
        with pytest.raises(InputError):
            parse_request(body, None, spec, OUTPUTS, 1)


GIGABYTE = 1 << 30


def test_a_gigabyte_that_is_declared_is_not_read(served: Served) -> None:
    head = f"POST /v2/models/tiny/infer HTTP/1.1\nHost: 127.0.0.1\nContent-Length: {GIGABYTE}"
    status, answer = request_raw(served.port, head, bytes(1 << 16))
    assert status == 413
    assert "1073741824 bytes declared; expected: at most 1048576 bytes" in str(answer["error"])


def test_a_body_that_is_somewhat_too_large_is_answered_to_clients_that_send_first(served: Served) -> None:
    answer = httpx.post(f"{served.model}/infer", content=bytes(8 << 20), **PLAIN)
    assert answer.status_code == 413
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("POST", "/v2/models/tiny/predict", bytes(8 << 20))
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    ("path", "status"), [("/v2/models/tiny/infer", 413), ("/v2/models/other/infer", 404), ("/v2", 405)]
)
def test_a_gigabyte_in_chunks_is_not_read(served: Served, path: str, status: int) -> None:
    """A client that goes on sending gets its answer, and soon cannot send any more."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    sent, answer = 0, b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(head.encode())
        connection.settimeout(0.0)
        while sent < GIGABYTE:
            try:
                answer += connection.recv(65536)
            except BlockingIOError:
                pass
            except ConnectionError:
                break
            try:
                sent += connection.send(chunk)
            except BlockingIOError:
                time.sleep(0.001)
            except ConnectionError:
                break
    assert sent < 64 << 20, "the server went on reading"
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer


def test_a_body_that_never_comes_holds_nothing_for_ever(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeproof.dashboard import app

    real = app.BodyReader
    monkeypatch.setattr(app, "BodyReader", lambda most, total: real(most, total, timeout_s=0.2))
    with serving(bundle) as served:
        head = "POST /v2/models/tiny/infer HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 100"
        status, answer = request_raw(served.port, head, b"{")
        assert status == 408
        assert "1 bytes in 0.2 s" in str(answer["error"])
        assert served.get("/api/state").json()["requests"]["under_way"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/tiny/infer", 405),
        ("POST", "/v2", 405),
        ("GET", "/v2/models/tiny/versions/0/ready", 404),
        ("GET", "/nothing", 404),
        ("GET", "/streams/0.jpg", 404),
        ("GET", "/streams/0.mjpeg", 404),
    ],
)
def test_what_there_is_not(served: Served, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, served.url + path, **PLAIN)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_full_queue_says_when_to_come_back(bundle: Bundle) -> None:
    with serving(bundle, capacity=1) as served:
        with served.service.server.dashboard._serving.now.batcher.place():
            answer = httpx.post(f"{served.model}/infer", json=request_json(), **PLAIN)
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
        assert httpx.post(f"{served.model}/infer", json=request_json(), **PLAIN).status_code == 200


@pytest.mark.parametrize("path", ["infer", "predict"])
def test_bodies_on_their_way_hold_no_place(bundle: Bundle, path: str) -> None:
    head = f"POST /v2/models/tiny/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{{".encode()
    with serving(bundle, capacity=1) as served, ExitStack() as stack:
        for _ in range(3):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            slow.sendall(head)
        for _ in range(3):
            assert httpx.post(f"{served.model}/infer", json=request_json(), **PLAIN).status_code == 200
        assert served.get("/api/state").json()["requests"]["under_way"] == 0


@pytest.mark.slow
def test_many_clients_at_once_get_their_own_answers(bundle: Bundle) -> None:
    """A small version of benchmarks/serve_load.py."""
    engine = load("onnxruntime", bundle.artifact(), threads=1)
    rows = [RNG.normal(size=(1, 3, 16, 16)).astype(np.float32) for _ in range(16)]
    expected = [engine.run(row)[0][0] for row in rows]
    codes: list[int] = []

    def ask(number: int) -> None:
        with httpx.Client(**PLAIN, timeout=60) as client:
            for i in range(20):
                k = (number + i) % len(rows)
                answer = client.post(f"{served.model}/infer", content=rows[k].tobytes(), headers={HEADER_LENGTH: "0"})
                codes.append(answer.status_code)
                if answer.status_code == 200:
                    got = np.frombuffer(answer.content[int(answer.headers[HEADER_LENGTH]) :], np.float32)
                    # In a batch, additions may come in another order.
                    np.testing.assert_allclose(got, expected[k], rtol=1e-4, atol=1e-5)

    with serving(bundle, capacity=12) as served, ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))
        state = served.get("/api/state").json()["requests"]
    assert set(codes) <= {200, 429}
    assert codes.count(200) > 100
    assert state["under_way"] == 0
    assert sum(state["by_code"].values()) == len(codes)


class _Slow:
    """An engine that waits to be let go."""

    def __init__(self, bundle: Bundle) -> None:
        self._engine = load("null", bundle.artifact())
        self.artifact = self._engine.artifact
        self.go = threading.Semaphore(0)
        self.batches: list[int] = []
        self.fail = False

    def allocate_input(self, batch: int) -> np.ndarray:
        return self._engine.allocate_input(batch)

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        self.batches.append(len(batch))
        assert self.go.acquire(timeout=10)
        if self.fail:
            raise RuntimeError("the device is gone")
        return (batch[:, 0, 0, :1].copy(),)


def row(value: float, count: int = 1) -> np.ndarray:
    return np.full((count, 3, 16, 16), value, np.float32)


def test_what_waits_is_inferred_together_in_order_and_within_bounds(bundle: Bundle) -> None:
    engine = _Slow(bundle)
    batcher = Batcher(engine, max_batch=4, capacity=8)  # type: ignore[arg-type]
    futures = [batcher.submit(row(0.0))]
    while not engine.batches:
        time.sleep(0.001)
    futures += [batcher.submit(row(float(i), count)) for i, count in ((1, 1), (2, 2), (3, 2), (4, 1))]
    futures[4].cancel()
    engine.go.release(9)
    answers = [future.result(10) for future in futures[:4]]
    batcher.close()
    assert engine.batches == [1, 3, 2]
    assert [answer.outputs[0].ravel().tolist() for answer in answers] == [[0.0], [1.0], [2.0, 2.0], [3.0, 3.0]]
    assert [answer.batch for answer in answers] == [1, 3, 3, 2]
    with pytest.raises(ClosingError):
        batcher.submit(row(0.0))
    with pytest.raises(ClosingError), batcher.place():
        pass


def test_a_batch_below_the_models_least_is_filled_up(bundle: Bundle) -> None:
    engine = _Slow(bundle)
    engine.go.release(1)
    batcher = Batcher(engine, min_batch=3, max_batch=4, capacity=1)  # type: ignore[arg-type]
    assert batcher.submit(row(7.0)).result(10).outputs[0].tolist() == [[7.0]]
    assert engine.batches == [3]
    batcher.close()


def test_an_engine_that_fails_is_told_and_asked_again(bundle: Bundle) -> None:
    engine = _Slow(bundle)
    batcher = Batcher(engine, max_batch=4, capacity=1)  # type: ignore[arg-type]
    engine.fail = True
    engine.go.release(1)
    with pytest.raises(InferenceError, match="the device is gone"):
        batcher.submit(row(0.0)).result(10)
    assert batcher.error == "the device is gone"
    engine.fail = False
    engine.go.release(1)
    batcher.submit(row(0.0)).result(10)
    assert batcher.error is None
    with batcher.place(), pytest.raises(QueueFullError, match="full with 1 requests"), batcher.place():
        pass
    batcher.close()


def resolve(document: dict[str, object], schema: object) -> object:
    """The schema with its references replaced, as a validator without a registry wants it."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            found: object = document
            for part in str(schema["$ref"]).removeprefix("#/").split("/"):
                found = found[part]  # type: ignore[index]
            return resolve(document, found)
        return {key: resolve(document, value) for key, value in schema.items()}
    return [resolve(document, value) for value in schema] if isinstance(schema, list) else schema


def test_openapi_describes_the_endpoints_there_are(served: Served) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    document = served.get("/openapi.json").json()
    routes = {
        (route.path, method.lower())
        for route in served.service.server.dashboard.app.routes
        for method in route.methods - {"HEAD"}
    }
    described = {
        (path, method) for path, item in document["paths"].items() for method in item if method in ("get", "post")
    }
    assert described == routes
    picture = cv2.imencode(".jpg", frames()[0])[1].tobytes()
    bodies = {"infer": json.dumps(request_json()).encode(), "predict": picture}
    version = served.service.model.version
    for path, method in sorted(described):
        operation = resolve(document, document["paths"][path][method])
        url = path.replace("{model}", "tiny").replace("{version}", version).replace("{stream}", "0")
        for content in (bodies.get(path.rpartition("/")[2], b""), b"{"):
            answer = httpx.request(method, served.url + url, content=content if method == "post" else None, **PLAIN)
            told = operation["responses"][str(answer.status_code)]["content"]  # type: ignore[index]
            media_type = re.split(";", answer.headers["content-type"])[0]
            assert media_type in told, f"{path}: {media_type}"
            if media_type == "application/json":
                jsonschema.validate(answer.json(), told[media_type]["schema"])
            if method == "post" and content == bodies["infer"]:
                jsonschema.validate(
                    json.loads(content), operation["requestBody"]["content"]["application/json"]["schema"]
                )  # type: ignore[index]
