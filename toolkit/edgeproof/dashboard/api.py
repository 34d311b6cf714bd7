"""The inference API: the Open Inference Protocol v2 over HTTP, and predictions for images."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeproof.dashboard.batching import Answer
from edgeproof.dashboard.model import ServedModel
from edgeproof.dashboard.refusals import BodyReader, RefusedError
from edgeproof.dashboard.serving import Edition, Serving
from edgeproof.dashboard.tensors import HEADER_LENGTH, parse_request, render_answer
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.encoded import TooLargeError, decode_encoded
from edgeproof_runtime.errors import InputError

__all__ = ["InferenceApi"]

_DEFAULT_TOP = 5
_PARSED_AT_ONCE_BYTES = 1 << 16  # a millisecond or two of JSON


class InferenceApi:
    """The endpoints below ``/v2``.

    Args:
        serving: the served bundle with its engine.
        bodies: reader of request bodies within bounds.
        server_version: edgeproof's version.
    """

    def __init__(self, serving: Serving, bodies: BodyReader, server_version: str) -> None:
        self._serving = serving
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
        if self._serving.now.model.head is not None:  # a bundle of another task never replaces it
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
        batcher = self._serving.now.batcher
        ready = batcher.alive and batcher.error is None
        reason = {} if ready else {"error": batcher.error or "the server is shutting down"}
        return JSONResponse({"ready": ready, **reason}, 200 if ready else 503)

    async def model_metadata(self, request: Request) -> Response:
        """Return inputs and outputs of the model."""
        model = self._serving.now.model
        _check_model(request, model)
        return JSONResponse(model.metadata())

    async def model_ready(self, request: Request) -> Response:
        """Return whether requests for one model are accepted."""
        _check_model(request, self._serving.now.model)
        return await self.ready(request)

    async def infer(self, request: Request) -> Response:
        """Run inference on the tensors of a request."""
        with self._serving.visit() as edition:
            return await self._infer(request, edition)

    async def _infer(self, request: Request, edition: Edition) -> Response:
        model, batcher = edition.model, edition.batcher
        _check_model(request, model)
        batcher.require_place()
        body = await self._bodies.read(request)
        with batcher.place():
            header_length = request.headers.get(HEADER_LENGTH)
            parse = partial(parse_request, body, header_length, model.input, model.outputs, batcher.max_batch)
            # Starting a thread takes longer than parsing a small request.
            large = len(body) > _PARSED_AT_ONCE_BYTES
            wanted = await asyncio.get_running_loop().run_in_executor(self._workers, parse) if large else parse()
            answer = await _answer(edition, wanted.rows)
        named = {"model_name": model.name, "model_version": model.version}
        content, headers = render_answer(wanted, named, answer.outputs, model.outputs)
        return Response(content, headers=headers)

    async def predict(self, request: Request) -> Response:
        """Predict an image: decoded with EXIF orientation, preprocessed by the bundle's contract."""
        with self._serving.visit() as edition:
            return await self._predict(request, edition)

    async def _predict(self, request: Request, edition: Edition) -> Response:
        model, batcher = edition.model, edition.batcher
        _check_model(request, model)
        top = _top(request)
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise RefusedError(415, "body: must be the image itself, not a form; curl: --data-binary @photo.jpg")
        batcher.require_place()
        data = await self._bodies.read(request)
        with batcher.place():
            loop = asyncio.get_running_loop()
            rows, decode_ms, preprocess_ms = await loop.run_in_executor(self._workers, self._prepare, edition, data)
            answer = await _answer(edition, rows)
        assert model.head is not None  # noqa: S101 - the route requires a head
        prediction = model.head(answer.outputs).to_json(top)
        latency_ms = {
            "decode": decode_ms,
            "preprocess": preprocess_ms,
            "queue": answer.queue_ms,
            "inference": answer.inference_ms,
        }
        named = {"model_name": model.name, "model_version": model.version}
        try:
            return JSONResponse({**named, "prediction": prediction, "latency_ms": latency_ms})
        except ValueError:
            raise RefusedError(500, "output: not finite; got: NaN or infinity") from None

    def _prepare(self, edition: Edition, data: bytes) -> tuple[Tensor, float, float]:
        contract = edition.bundle.contract
        if getattr(self._local, "edition", None) is not edition:
            self._local.edition, self._local.preprocess = edition, Preprocessor(contract)
        begin = time.perf_counter_ns()
        try:
            frame = decode_encoded(data, contract)
        except TooLargeError as error:
            raise RefusedError(413, f"{error.what}; got: {error.got}; expected: {error.expected}") from error
        decoded = time.perf_counter_ns()
        tensor = self._local.preprocess(frame)
        return tensor[None], (decoded - begin) / 1e6, (time.perf_counter_ns() - decoded) / 1e6


async def _answer(edition: Edition, rows: Tensor) -> Answer:
    return await asyncio.wrap_future(edition.batcher.submit(rows))


def _check_model(request: Request, model: ServedModel) -> None:
    wanted = request.path_params["model"], request.path_params.get("version", model.version)
    if wanted != (model.name, model.version):
        got = f"{wanted[0][:80]}, version {wanted[1][:80]}"
        raise RefusedError(404, f"model: not found; got: {got}; expected: {model.name}, version {model.version}")


def _top(request: Request) -> int:
    text = request.query_params.get("k", str(_DEFAULT_TOP))
    if not (text.isascii() and text.isdecimal() and len(text) <= 6 and int(text) >= 1):
        raise InputError("k: not a number of labels", got=text[:80], expected="an integer of at least 1")
    return int(text)
