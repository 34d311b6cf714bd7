"""The inference API: the Open Inference Protocol v2 over HTTP, and predictions for images."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeproof.dashboard.batching import Answer, Batcher
from edgeproof.dashboard.refusals import BodyReader, RefusedError
from edgeproof.dashboard.tensors import HEADER_LENGTH, datatype_of, parse_request, render_answer
from edgeproof_runtime.bundle.artifact import Tensor, TensorSpec
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.encoded import TooLargeError, decode_encoded
from edgeproof_runtime.errors import InputError

__all__ = ["InferenceApi", "ServedModel"]

_DEFAULT_TOP = 5
_PARSED_AT_ONCE_BYTES = 1 << 16  # a millisecond or two of JSON


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The served model, as the protocol describes it.

    Attributes:
        name: name of the bundle.
        version: first twelve hex digits of the loaded file's sha256.
        platform: name and version of the engine.
        input: the model's input.
        outputs: the model's outputs.
        head: converts the outputs for one image into a decision; None if the model's input is not an image.
    """

    name: str
    version: str
    platform: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    head: Callable[[tuple[Tensor, ...]], Any] | None

    def metadata(self) -> dict[str, Any]:
        """Return the protocol's model metadata."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": self.platform,
            "inputs": [_described(self.input)],
            "outputs": [_described(output) for output in self.outputs],
        }


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": [-1, *spec.shape]}


class InferenceApi:
    """The endpoints below ``/v2``.

    Args:
        bundle: bundle whose contract preprocesses images.
        model: the served model.
        batcher: queue of the engine.
        bodies: reader of request bodies within bounds.
        server_version: edgeproof's version.
    """

    def __init__(
        self, bundle: Bundle, model: ServedModel, batcher: Batcher, bodies: BodyReader, server_version: str
    ) -> None:
        self._bundle = bundle
        self._model = model
        self._batcher = batcher
        self._bodies = bodies
        self._server_version = server_version
        self._local = threading.local()
        self._workers = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="edgeproof-picture")

    def close(self) -> None:
        """Stop the threads that decode images and parse large requests."""
        self._workers.shutdown(cancel_futures=True)

    def routes(self) -> list[Route]:
        """Return the routes for Starlette."""
        routes = [
            Route("/v2", self.server_metadata),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
        ]
        endpoints = [
            ("", self.model_metadata, "GET"),
            ("/ready", self.model_ready, "GET"),
            ("/infer", self.infer, "POST"),
        ]
        if self._model.head is not None:
            endpoints.append(("/predict", self.predict, "POST"))
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [Route(prefix + path, endpoint, methods=[method]) for path, endpoint, method in endpoints]
        return routes

    async def server_metadata(self, _request: Request) -> Response:
        """Return name, version and extensions of the server."""
        return JSONResponse(
            {"name": "edgeproof", "version": self._server_version, "extensions": ["binary_tensor_data"]}
        )

    async def live(self, _request: Request) -> Response:
        """Return whether the server is running."""
        return JSONResponse({"live": True})

    async def ready(self, _request: Request) -> Response:
        """Return whether inference requests are accepted."""
        ready = self._batcher.alive and self._batcher.error is None
        reason = {} if ready else {"error": self._batcher.error or "the server is shutting down"}
        return JSONResponse({"ready": ready, **reason}, 200 if ready else 503)

    async def model_metadata(self, request: Request) -> Response:
        """Return inputs and outputs of the model."""
        self._check_model(request)
        return JSONResponse(self._model.metadata())

    async def model_ready(self, request: Request) -> Response:
        """Return whether requests for one model are accepted."""
        self._check_model(request)
        return await self.ready(request)

    async def infer(self, request: Request) -> Response:
        """Run inference on the tensors of a request."""
        self._check_model(request)
        self._batcher.require_place()
        body = await self._bodies.read(request)
        with self._batcher.place():
            header_length = request.headers.get(HEADER_LENGTH)
            parse = partial(
                parse_request, body, header_length, self._model.input, self._model.outputs, self._batcher.max_batch
            )
            # Starting a thread takes longer than parsing a small request.
            large = len(body) > _PARSED_AT_ONCE_BYTES
            wanted = await asyncio.get_running_loop().run_in_executor(self._workers, parse) if large else parse()
            answer = await self._answer(wanted.rows)
        named = {"model_name": self._model.name, "model_version": self._model.version}
        content, headers = render_answer(wanted, named, answer.outputs, self._model.outputs)
        return Response(content, headers=headers)

    async def predict(self, request: Request) -> Response:
        """Predict an image: decoded with EXIF orientation, preprocessed by the bundle's contract."""
        self._check_model(request)
        top = _top(request)
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise RefusedError(415, "body: must be the image itself, not a form; curl: --data-binary @photo.jpg")
        self._batcher.require_place()
        data = await self._bodies.read(request)
        with self._batcher.place():
            loop = asyncio.get_running_loop()
            rows, decode_ms, preprocess_ms = await loop.run_in_executor(self._workers, self._prepare, data)
            answer = await self._answer(rows)
        assert self._model.head is not None  # noqa: S101 - the route requires a head
        prediction = self._model.head(answer.outputs).to_json(top)
        latency_ms = {
            "decode": decode_ms,
            "preprocess": preprocess_ms,
            "queue": answer.queue_ms,
            "inference": answer.inference_ms,
        }
        named = {"model_name": self._model.name, "model_version": self._model.version}
        try:
            return JSONResponse({**named, "prediction": prediction, "latency_ms": latency_ms})
        except ValueError:
            raise RefusedError(500, "output: not finite; got: NaN or infinity") from None

    async def _answer(self, rows: Tensor) -> Answer:
        return await asyncio.wrap_future(self._batcher.submit(rows))

    def _check_model(self, request: Request) -> None:
        wanted = request.path_params["model"], request.path_params.get("version", self._model.version)
        if wanted != (self._model.name, self._model.version):
            got = f"{wanted[0][:80]}, version {wanted[1][:80]}"
            raise RefusedError(
                404, f"model: not found; got: {got}; expected: {self._model.name}, version {self._model.version}"
            )

    def _prepare(self, data: bytes) -> tuple[Tensor, float, float]:
        if not hasattr(self._local, "preprocess"):
            self._local.preprocess = Preprocessor(self._bundle.contract)
        begin = time.perf_counter_ns()
        try:
            frame = decode_encoded(data, self._bundle.contract)
        except TooLargeError as error:
            raise RefusedError(413, f"{error.what}; got: {error.got}; expected: {error.expected}") from error
        decoded = time.perf_counter_ns()
        tensor = self._local.preprocess(frame)
        return tensor[None], (decoded - begin) / 1e6, (time.perf_counter_ns() - decoded) / 1e6


def _top(request: Request) -> int:
    text = request.query_params.get("k", str(_DEFAULT_TOP))
    if not (text.isascii() and text.isdecimal() and len(text) <= 6 and int(text) >= 1):
        raise InputError("k: not a number of labels", got=text[:80], expected="an integer of at least 1")
    return int(text)
