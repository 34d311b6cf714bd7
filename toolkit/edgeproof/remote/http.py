"""The Open Inference Protocol over HTTP, with binary tensors."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from numpy.typing import NDArray

from edgeproof.dashboard.tensors import DATATYPES, HEADER_LENGTH
from edgeproof.remote.client import TIMEOUT_S, RemoteModel, RemoteTensor, array_of, damaged, unreachable
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["HttpClient"]

_MOST_BYTES = 1 << 30  # of a response
_BUSY = (429, 502, 503, 504)


class HttpClient:
    """Client over one connection; implements `edgeproof.remote.client.Client`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        parts = urlsplit(url)
        self.url = url
        self._prefix = parts.path.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        secure = parts.scheme == "https"
        host = parts.hostname or ""
        self._connection = (
            http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context())
            if secure
            else http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
        )

    def close(self) -> None:
        self._connection.close()

    def server(self) -> str:
        found = self._json("/v2")
        if found is None or "name" not in found:
            raise InputError(
                f"{self.url}: not a server of the Open Inference Protocol", got="no /v2", expected="http://host:8000"
            )
        return f"{found['name']} {found.get('version', '')}".strip()

    def model(self, name: str) -> RemoteModel | None:
        found = self._json(f"/v2/models/{quote(name, safe='')}")
        if found is None:
            return None
        config = self._json(f"/v2/models/{quote(name, safe='')}/config") or {}
        try:
            parameters = {key: str(value["string_value"]) for key, value in config.get("parameters", {}).items()}
        except (KeyError, TypeError, AttributeError):
            parameters = {}
        try:
            tensors = [
                tuple(RemoteTensor(str(one["name"]), str(one["datatype"]), tuple(map(int, one["shape"]))) for one in of)
                for of in (found["inputs"], found["outputs"])
            ]
            return RemoteModel(name, str(found.get("platform", "")), tensors[0], tensors[1], parameters)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(f"{self.url}: model {name}", error) from error

    def infer(
        self, model: str, name: str, values: NDArray[Any], outputs: Sequence[str], *, classes: int = 0
    ) -> list[NDArray[Any]]:
        data, datatype = _bytes_of(values)
        wanted = {"classification": classes} if classes else {"binary_data": True}
        entry = {
            "name": name, "datatype": datatype, "shape": list(values.shape),
            "parameters": {"binary_data_size": len(data)},
        }  # fmt: skip
        request = {"inputs": [entry], "outputs": [{"name": one, "parameters": wanted} for one in outputs]}
        head = json.dumps(request).encode()
        headers = {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        what = f"{self.url}: model {model}"
        status, got, body = self._send("POST", f"/v2/models/{quote(model, safe='')}/infer", head + data, headers)
        if status != 200:
            raise self._refused(what, status, body)
        length = got.get(HEADER_LENGTH.lower(), str(len(body)))
        size = int(length) if length.isascii() and length.isdecimal() else len(body)
        return _read(what, body[:size], body[size:], outputs)

    def predict(self, model: str, image: bytes) -> dict[str, Any] | None:
        path = f"/v2/models/{quote(model, safe='')}/predict?k=100000"
        status, _, body = self._send("POST", path, image, {"Content-Type": "application/octet-stream"})
        if status in (404, 405):
            return None
        if status != 200:
            raise self._refused(f"{self.url}: model {model}", status, body)
        found = _parse(f"{self.url}: model {model}", body).get("prediction")
        return found if isinstance(found, dict) else None

    def _json(self, path: str) -> dict[str, Any] | None:
        """Return the document at a path; None if there is none."""
        status, _, body = self._send("GET", path, b"", {})
        if status in (400, 404, 405):  # Triton answers 400 for an unknown model
            return None
        if status != 200:
            raise self._refused(self.url, status, body)
        return _parse(f"{self.url}{path}", body)

    def _send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        for attempt in (1, 2):
            fresh = self._connection.sock is None
            try:
                self._connection.request(method, self._prefix + path, body or None, {**self._headers, **headers})
                answer = self._connection.getresponse()
                content = answer.read(_MOST_BYTES)
                return answer.status, {key.lower(): value for key, value in answer.getheaders()}, content
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                # A connection that was idle may have been closed by the server meanwhile.
                if fresh or attempt == 2:
                    raise unreachable(self.url, str(error) or type(error).__name__) from error
            except ValueError as error:  # a host or a path that no request can hold
                expected = "http://host:8000"
                raise InputError("--url: not an address", got=f"{self.url}: {error}", expected=expected) from error
        raise AssertionError

    def _refused(self, what: str, status: int, body: bytes) -> InputError | UnavailableError:
        try:
            text = str(json.loads(body)["error"])
        except (ValueError, KeyError, TypeError):
            text = body[:200].decode("utf-8", "replace")
        got = f"{status}: {' '.join(text.split())[:500]}"
        if status in (401, 403):
            return InputError(f"{what}: access denied", got=got, fix="--token, or EDGEPROOF_TOKEN")
        if status in _BUSY:
            return UnavailableError(f"{what}: not available", got=got)
        return InputError(f"{what}: request refused", got=got)


def _bytes_of(values: NDArray[Any]) -> tuple[bytes, str]:
    if values.dtype == object:
        return b"".join(len(one).to_bytes(4, "little") + one for one in values.ravel()), "BYTES"
    name = values.dtype.name
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return little.tobytes(), "UINT16" if name == "uint16" else DATATYPES[name]


def _parse(what: str, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise damaged(what, error) from error
    if not isinstance(found, dict):
        raise damaged(what, type(found).__name__)
    return found


def _read(what: str, head: bytes, tail: bytes, outputs: Sequence[str]) -> list[NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    try:
        for entry in _parse(what, head)["outputs"]:
            name, shape, datatype = str(entry["name"]), entry["shape"], str(entry["datatype"])
            if "data" in entry:
                texts = datatype == "BYTES"
                values = [one.encode() for one in entry["data"]] if texts else entry["data"]
                dtype = object if texts else {"FP32": "float32", "FP16": "float16", "FP64": "float64"}.get(datatype)
                found[name] = np.array(values, dtype).reshape(shape)
            else:
                size = int(entry["parameters"]["binary_data_size"])
                found[name], tail = array_of(datatype, shape, tail[:size], what), tail[size:]
        return [found[name] for name in outputs]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(what, f"{type(error).__name__}: {error}") from error
