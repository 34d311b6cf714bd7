"""What Triton's Python backend gives to a model, so far as the models of `edgeproof triton` ask."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

__all__ = ["Tensor", "TritonError", "TritonModelException", "backend_model", "config_of"]


class TritonModelException(Exception):  # noqa: N818 - Triton's name
    """What a model raises that cannot be loaded."""


class TritonError(Exception):
    """The error of one request."""


@dataclass
class Tensor:
    tensor: str
    values: Any

    def name(self) -> str:
        return self.tensor

    def as_numpy(self) -> Any:
        return self.values

    @classmethod
    def from_dlpack(cls, name: str, values: Any) -> Tensor:
        return cls(name, np.from_dlpack(values))


@dataclass
class InferenceResponse:
    tensors: list[Tensor]
    error: TritonError | None = None


@dataclass
class Request:
    tensors: list[Tensor] = field(default_factory=list)


def config_of(path: Path) -> ModelConfig:
    """Parse a ``config.pbtxt`` against Triton's schema; an unknown field is an error."""
    return text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())


def _utils() -> ModuleType:
    module = ModuleType("triton_python_backend_utils")

    def found(request: Request, name: str) -> Tensor:
        return next(one for one in request.tensors if one.tensor == name)

    vars(module).update(
        Tensor=Tensor, TritonError=TritonError, TritonModelException=TritonModelException,
        InferenceResponse=InferenceResponse, get_input_tensor_by_name=found,
    )  # fmt: skip
    return module


@contextmanager
def backend_model(folder: Path) -> Iterator[Callable[[Iterable[Any]], list[InferenceResponse]]]:
    """Load ``1/model.py`` of a model's folder as Triton does; yield a call with one batch per request."""
    config = json_format.MessageToDict(config_of(folder / "config.pbtxt"), preserving_proto_field_name=True)
    args = {
        "model_config": json.dumps({"parameters": {}, **config}),
        "model_repository": str(folder),
        "model_version": "1",
    }
    sys.modules["triton_python_backend_utils"] = _utils()
    try:
        spec = spec_from_file_location(f"model_of_{folder.name}", folder / "1/model.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        model = module.TritonPythonModel()
        model.initialize(args)
    finally:
        del sys.modules["triton_python_backend_utils"]
    (given,) = config["input"]
    try:
        yield lambda batches: model.execute([Request([Tensor(given["name"], batch)]) for batch in batches])
    finally:
        model.finalize()
