"""Describe the server's endpoints in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from edgeproof.dashboard.model import ServedModel
from edgeproof.dashboard.tensors import HEADER_LENGTH, datatype_of

__all__ = ["openapi"]

_Object = dict[str, Any]

_TENSOR_PARAMETERS: _Object = {"type": "object"}
_ERRORS = {
    400: "The request does not follow the protocol or does not fit the model.",
    401: "The token is missing or wrong.",
    403: "The request names another host, or was made by a page of another site.",
    404: "Model, version or stream not found.",
    408: "The body did not arrive in time.",
    413: "The body or the image is too large; nothing beyond the limit was read.",
    415: "The body is compressed, or is a form.",
    429: "The queue is full; Retry-After gives the time to wait.",
    500: "The engine failed.",
    503: "The server is not ready, or has reached its number of viewers.",
}


def openapi(model: ServedModel, version: str, needs_token: bool, root_path: str = "") -> _Object:
    """Build the document.

    Args:
        model: the served model; the document names it and its tensors.
        version: edgeproof's version.
        needs_token: whether requests must carry a token.
        root_path: path prefix of every route.
    """
    document: _Object = {
        "openapi": "3.1.0",
        "info": {
            "title": f"edgeproof: {model.name}",
            "version": version,
            "description": "Open Inference Protocol v2 over HTTP with the binary tensor extension, predictions for "
            "images, live streams, Prometheus metrics.",
        },
        "servers": [{"url": root_path or "/"}],
        "paths": {path: _answers(item, needs_token) for path, item in _paths(model).items()},
        "components": {"schemas": _schemas(model), "responses": _error_responses()},
    }
    if needs_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        document["paths"]["/healthz"]["get"]["security"] = []
    return document


def _paths(model: ServedModel) -> _Object:
    paths: _Object = {
        "/healthz": {"get": _operation("Whether the server is running.", "application/json", _flag("healthy"))},
        "/readyz": {
            "get": _operation("Whether inference requests are accepted.", "application/json", _flag("ready"), 503)
        },
        "/metrics": {"get": _operation("Metrics in Prometheus' text format.", "text/plain", {"type": "string"})},
        "/openapi.json": {"get": _operation("This document.", "application/json", {"type": "object"})},
        "/v2": {"get": _operation("Name, version, extensions.", "application/json", _ref("ServerMetadata"))},
        "/v2/health/live": {"get": _operation("As /healthz.", "application/json", _flag("live"))},
        "/v2/health/ready": {"get": _operation("As /readyz.", "application/json", _flag("ready"), 503)},
        "/": {"get": _operation("The page.", "text/html", {"type": "string"})},
        "/style.css": {"get": _operation("The page's style.", "text/css", {"type": "string"})},
        "/app.js": {"get": _operation("The page's script.", "text/javascript", {"type": "string"})},
        "/icon.svg": {"get": _operation("The page's icon.", "image/svg+xml", {"type": "string"})},
        "/api/state": {"get": _operation("State shown on the page.", "application/json", _ref("State"))},
        "/streams/{stream}.jpg": {
            "get": _operation("Newest frame of a stream.", "image/jpeg", _binary(), 404),
            "parameters": [
                _in_path("stream"),
                {
                    "name": "small",
                    "in": "query",
                    "description": "1: at most 320 pixels per side instead of 960.",
                    "schema": {"type": "string", "enum": ["1"]},
                },
            ],
        },
        "/streams/{stream}.mjpeg": {
            "get": _operation("Frames of a stream as they arrive.", "multipart/x-mixed-replace", _binary(), 404, 503),
            "parameters": [_in_path("stream")],
        },
    }
    for prefix, names in (
        ("/v2/models/{model}", ["model"]),
        ("/v2/models/{model}/versions/{version}", ["model", "version"]),
    ):
        parameters = [_in_path(name) for name in names]
        described = _operation("Inputs and outputs of the model.", "application/json", _ref("ModelMetadata"), 404)
        ready = _operation("Whether requests for the model are accepted.", "application/json", _flag("ready"), 404, 503)
        paths[prefix] = {"get": described, "parameters": parameters}
        paths[f"{prefix}/ready"] = {"get": ready, "parameters": parameters}
        paths[f"{prefix}/infer"] = {"post": _infer(), "parameters": parameters}
        if model.head is not None:
            paths[f"{prefix}/predict"] = {"post": _predict(), "parameters": parameters}
    return paths


def _infer() -> _Object:
    operation = _operation(
        "Inference on tensors.", "application/json", _ref("InferAnswer"), 400, 404, 408, 413, 415, 429, 500, 503
    )
    operation["responses"]["200"]["content"]["application/octet-stream"] = {"schema": _binary()}
    operation["responses"]["200"]["headers"] = {HEADER_LENGTH: {"schema": {"type": "integer"}}}
    operation["parameters"] = [
        {
            "name": HEADER_LENGTH,
            "in": "header",
            "description": "Bytes of JSON before the binary tensors; 0 if the body is a single tensor.",
            "schema": {"type": "integer", "minimum": 0},
        }
    ]
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {"schema": _ref("InferRequest")},
            "application/octet-stream": {"schema": _binary()},
        },
    }
    return operation


def _predict() -> _Object:
    operation = _operation(
        "Prediction for an image: decoded with EXIF orientation, preprocessed by the bundle's input contract.",
        "application/json",
        _ref("PredictAnswer"),
        *(400, 404, 408, 413, 415, 429, 500, 503),
    )
    top = {"type": "integer", "minimum": 1, "default": 5}
    operation["parameters"] = [
        {"name": "k", "in": "query", "description": "Number of labels in the response.", "schema": top}
    ]
    pictures = {media_type: {"schema": _binary()} for media_type in ("image/jpeg", "image/png")}
    operation["requestBody"] = {"required": True, "content": pictures}
    return operation


def _schemas(model: ServedModel) -> _Object:
    text, integer, number = {"type": "string"}, {"type": "integer"}, {"type": "number"}
    described = _object({"name": text, "datatype": text, "shape": {"type": "array", "items": integer}})
    shape = {"type": "array", "items": integer, "examples": [[1, *model.input.shape]]}
    tensor = {
        "name": text,
        "datatype": text,
        "shape": shape,
        "parameters": _TENSOR_PARAMETERS,
        "data": {"type": "array"},
    }
    asked = {**tensor, "name": {"const": model.input.name}, "datatype": {"const": datatype_of(model.input.dtype)}}
    wanted = {"name": {"enum": [output.name for output in model.outputs]}, "parameters": _TENSOR_PARAMETERS}
    return {
        "Error": _object({"error": text}),
        "ServerMetadata": _object({"name": text, "version": text, "extensions": {"type": "array", "items": text}}),
        "ModelMetadata": _object(
            {
                "name": text,
                "versions": {"type": "array", "items": text},
                "platform": text,
                "inputs": {"type": "array", "items": described},
                "outputs": {"type": "array", "items": described},
            }
        ),
        "InferRequest": _object(
            {
                "id": text,
                "parameters": _object({"binary_data_output": {"type": "boolean"}}, required=()),
                "inputs": {
                    "type": "array",
                    "items": _object(asked, required=("name", "shape", "datatype")),
                    "minItems": 1,
                    "maxItems": 1,
                },
                "outputs": {"type": "array", "items": _object(wanted, required=("name",)), "minItems": 1},
            },
            required=("inputs",),
        ),
        "InferAnswer": _object(
            {
                "id": text,
                "model_name": text,
                "model_version": text,
                "outputs": {"type": "array", "items": _object(tensor, required=("name", "datatype", "shape"))},
            },
            required=("model_name", "model_version", "outputs"),
        ),
        "PredictAnswer": _object(
            {
                "model_name": text,
                "model_version": text,
                "prediction": {"type": "object"},
                "latency_ms": _object(dict.fromkeys(("decode", "preprocess", "queue", "inference"), number)),
            }
        ),
        "State": _object(
            {
                "server": {"type": "object"},
                "requests": {"type": "object"},
                "host": {"type": "object"},
                "streams": {"type": "array", "items": {"type": "object"}},
                "streams_error": {"type": ["string", "null"]},
                "outputs": {"type": "array", "items": {"type": "object"}},
            }
        ),
    }


def _operation(summary: str, media_type: str, schema: _Object, *errors: int) -> _Object:
    answers: _Object = {"200": {"description": summary, "content": {media_type: {"schema": schema}}}}
    answers.update({str(code): _refused(code) for code in errors})
    return {"summary": summary, "responses": answers}


def _answers(item: _Object, needs_token: bool) -> _Object:
    """Add the responses common to all requests to the operations."""
    codes = (401, 403) if needs_token else (403,)
    for method in ("get", "post"):
        if method in item:
            item[method]["responses"].update({str(code): _refused(code) for code in codes})
    return item


def _error_responses() -> _Object:
    content = {"application/json": {"schema": _ref("Error")}}
    return {f"E{code}": {"description": text, "content": content} for code, text in _ERRORS.items()}


def _refused(code: int) -> _Object:
    return {"$ref": f"#/components/responses/E{code}"}


def _ref(name: str) -> _Object:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: _Object, required: tuple[str, ...] | None = None) -> _Object:
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required)}


def _flag(name: str) -> _Object:
    return _object({name: {"type": "boolean"}})


def _binary() -> _Object:
    return {"type": "string", "contentMediaType": "application/octet-stream"}


def _in_path(name: str) -> _Object:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
