"""What a client of the Open Inference Protocol offers, over HTTP or gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from edgeproof.dashboard.tensors import DATATYPES
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["TIMEOUT_S", "Client", "RemoteModel", "RemoteTensor", "array_of", "connect", "damaged", "unreachable"]

TIMEOUT_S = 60.0
"""Time limit of a request."""

_DTYPES = {name: np.dtype(dtype) for dtype, name in DATATYPES.items()} | {"UINT16": np.dtype("uint16")}


@dataclass(frozen=True, slots=True)
class RemoteTensor:
    """An input or output of a model.

    Attributes:
        name: its name.
        datatype: the protocol's name, such as ``FP32`` or ``BYTES``.
        shape: -1 for an open dimension.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model of a server.

    Attributes:
        name: its name.
        platform: the server's word for its engine.
        inputs: its inputs.
        outputs: its outputs.
        parameters: text parameters of its configuration, as Triton gives them; empty from other servers.
    """

    name: str
    platform: str
    inputs: tuple[RemoteTensor, ...]
    outputs: tuple[RemoteTensor, ...]
    parameters: Mapping[str, str]


class Client(Protocol):
    """A connection to a server; for one thread."""

    url: str

    def server(self) -> str:
        """Return name and version of the server.

        Raises:
            UnavailableError: it cannot be reached.
        """

    def model(self, name: str) -> RemoteModel | None:
        """Describe a model; None if the server has no such model, or it is not ready."""

    def infer(
        self, model: str, name: str, values: NDArray[Any], outputs: Sequence[str], *, classes: int = 0
    ) -> list[NDArray[Any]]:
        """Run inference.

        Args:
            model: name of the model.
            name: name of its only input.
            values: batch of inputs; of dtype object for ``BYTES``.
            outputs: names of the outputs wanted.
            classes: ask Triton's classification extension for this many texts ``value:index:label`` per output; 0 for
                the values themselves.

        Returns:
            One array per name of ``outputs``.

        Raises:
            InputError: the server refuses the request, or its response does not follow the protocol.
            UnavailableError: it cannot be reached, or is busy.
        """

    def predict(self, model: str, image: bytes) -> dict[str, Any] | None:
        """Return what `edgeproof serve` predicts for an image file, all classes; None from other servers."""

    def close(self) -> None:
        """Close the connection."""


def connect(url: str, token: str | None = None) -> Client:
    """Return a client of a server.

    Args:
        url: ``http://``, ``https://``, ``grpc://`` or ``grpcs://``, host and port, and for HTTP a path.
        token: sent as ``Authorization: Bearer TOKEN``.

    Raises:
        InputError: the address is not one of these.
        UnavailableError: gRPC requires tritonclient, not installed.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https", "grpc", "grpcs") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InputError("--url: not an address", got=url, expected="http://host:8000 or grpc://host:8001")
    if parts.username is not None or parts.password is not None:
        raise InputError("--url: holds a user or a password", expected="http://host:8000", fix="use --token")
    if token is not None and not (token.isascii() and token.isprintable() and token):
        raise InputError("--token: must be printable ASCII text, not empty", got=f"{len(token)} characters")
    if parts.scheme.startswith("grpc"):
        from edgeproof.remote.grpc import GrpcClient

        return GrpcClient(url, token)
    from edgeproof.remote.http import HttpClient

    return HttpClient(url, token)


def array_of(datatype: str, shape: Sequence[int], data: bytes, what: str) -> NDArray[Any]:
    """Return the tensor whose bytes a server sent.

    Raises:
        InputError: the bytes do not fit.
    """
    if datatype == "BYTES":
        texts: list[bytes] = []
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "little")
            texts.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        values: NDArray[Any] = np.array(texts, object)
    elif datatype in _DTYPES:
        dtype = _DTYPES[datatype].newbyteorder("<")
        values = np.frombuffer(data[: len(data) - len(data) % dtype.itemsize], dtype)
    else:
        raise damaged(what, f"datatype {datatype}")
    try:
        return values.reshape([int(size) for size in shape])
    except (ValueError, TypeError):
        raise damaged(what, f"{len(data)} bytes for shape {list(shape)} of {datatype}") from None


def damaged(what: str, got: object) -> InputError:
    """Return the error of a response that does not follow the protocol."""
    return InputError(
        f"{what}: the response does not follow the Open Inference Protocol", got=" ".join(str(got)[:300].split())
    )


def unreachable(url: str, reason: object) -> UnavailableError:
    """Return the error of a server that does not answer."""
    return UnavailableError(f"{url}: not reachable", got=reason, fix="start the server, or give its address with --url")
