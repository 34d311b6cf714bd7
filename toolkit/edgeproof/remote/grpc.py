"""The Open Inference Protocol over gRPC, by Triton's client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from edgeproof.dashboard.tensors import DATATYPES
from edgeproof.remote.client import TIMEOUT_S, RemoteModel, RemoteTensor, damaged, unreachable
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["GrpcClient"]


class GrpcClient:
    """Client over one channel; implements `edgeproof.remote.client.Client`.

    Raises:
        UnavailableError: tritonclient is not installed.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        try:
            from tritonclient import grpc
            from tritonclient.utils import InferenceServerException
        except ImportError as error:
            raise UnavailableError(
                "gRPC: requires tritonclient, not installed",
                fix='pip install "edgeproof[client]", or use the http:// address of the server',
            ) from error
        parts = urlsplit(url)
        default = 443 if parts.scheme == "grpcs" else 8001
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        self.url = url
        self._grpc: Any = grpc
        self._error: type[Exception] = InferenceServerException
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._client = grpc.InferenceServerClient(f"{host}:{parts.port or default}", ssl=parts.scheme == "grpcs")

    def close(self) -> None:
        self._client.close()

    def server(self) -> str:
        found = self._call(self._client.get_server_metadata)
        return f"{found.name} {found.version}".strip()

    def model(self, name: str) -> RemoteModel | None:
        try:
            found = self._call(self._client.get_model_metadata, name)
        except InputError:  # Triton answers "not found", others "invalid argument"
            return None
        try:
            config = self._call(self._client.get_model_config, name).config
            parameters = {key: value.string_value for key, value in config.parameters.items()}
        except InputError:  # not part of the protocol
            parameters = {}
        tensors = [
            tuple(RemoteTensor(one.name, one.datatype, tuple(one.shape)) for one in of)
            for of in (found.inputs, found.outputs)
        ]
        return RemoteModel(name, found.platform, tensors[0], tensors[1], parameters)

    def infer(
        self, model: str, name: str, values: NDArray[Any], outputs: Sequence[str], *, classes: int = 0
    ) -> list[NDArray[Any]]:
        kind = {"object": "BYTES", "uint16": "UINT16"}.get(values.dtype.name) or DATATYPES[values.dtype.name]
        given = self._grpc.InferInput(name, list(values.shape), kind)
        given.set_data_from_numpy(np.ascontiguousarray(values))
        wanted = [self._grpc.InferRequestedOutput(one, class_count=classes) for one in outputs]
        answer = self._call(self._client.infer, model, [given], outputs=wanted)
        found = [answer.as_numpy(one) for one in outputs]
        if any(one is None for one in found):
            raise damaged(f"{self.url}: model {model}", f"outputs without {', '.join(outputs)}")
        return found

    def predict(self, model: str, image: bytes) -> dict[str, Any] | None:
        del model, image  # a route of edgeproof's HTTP server
        return None

    def _call(self, function: Any, *given: Any, **named: Any) -> Any:
        try:
            return function(*given, headers=self._headers, client_timeout=TIMEOUT_S, **named)
        except self._error as error:
            status, message = str(getattr(error, "status", str)()), " ".join(str(error).split())[:500]
            if any(code in status for code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")):
                raise unreachable(self.url, message) from error
            raise InputError(f"{self.url}: request refused", got=message) from error
