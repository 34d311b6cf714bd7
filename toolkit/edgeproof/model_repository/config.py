"""``config.pbtxt`` of the models that a bundle becomes.

Source: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto and
https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edgeproof.model_repository.pbtxt import Word
from edgeproof_runtime.bundle.artifact import TensorSpec

__all__ = ["Device", "ImageInput", "ModelIo", "ensemble", "network", "preprocessing"]

ImageInput = Literal["encoded", "frame"]
Device = Literal["KIND_AUTO", "KIND_CPU", "KIND_GPU"]

_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIo:
    """Inputs and outputs of the network, and how it is batched.

    Attributes:
        input: the network's input; its shape is without the batch.
        outputs: the network's outputs; shapes without the batch.
        max_batch: largest batch.
        fixed: whether the graph takes batches of ``max_batch`` alone, so that Triton must not batch.
        labels: name of the output that has labels, and of their file; None without labels.
        facts: what the model is of, for its parameters.
    """

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    max_batch: int
    fixed: bool
    labels: tuple[str, str] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)

    def dims(self, shape: Sequence[int]) -> list[int]:
        """Return ``dims`` for a shape without the batch: Triton leaves the batch out, unless it must not batch."""
        return [self.max_batch, *shape] if self.fixed else list(shape)

    @property
    def triton_max_batch(self) -> int:
        """``max_batch_size``: 0 where Triton must not batch."""
        return 0 if self.fixed else self.max_batch

    def head(self, name: str) -> dict[str, Any]:
        """Return the fields with which every configuration begins, for one engine of Triton or another."""
        return {"name": name, "max_batch_size": self.triton_max_batch}

    @property
    def batching(self) -> dict[str, Any]:
        """Dynamic batching without a delay: requests that wait are joined, none waits for others."""
        return {} if self.triton_max_batch < 2 else {"dynamic_batching": {}}


def network(
    name: str,
    io: ModelIo,
    *,
    backend: Mapping[str, Any],
    device: Device,
    warmup: bool,
    parameters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the configuration of the network.

    Args:
        name: name of the model.
        io: inputs and outputs.
        backend: fields that name the backend and its files.
        device: kind of its instances.
        warmup: whether ``warmup/golden`` holds a golden tensor.
        parameters: parameters of the backend.
    """
    given = {"name": io.input.name, "data_type": _type(io.input.dtype), "dims": io.dims(io.input.shape)}
    data = {"data_type": _type(io.input.dtype), "dims": io.dims(io.input.shape), "input_data_file": "golden"}
    return {
        **io.head(name),
        **backend,
        "version_policy": {"latest": {"num_versions": 1}},
        "input": [given],
        "output": [_output(io, spec, reshaped=True) for spec in io.outputs],
        "instance_group": [{"count": 1, "kind": Word(device)}],
        **io.batching,
        **({"model_warmup": [_warmup(io.input.name, data)]} if warmup else {}),
        "parameters": _parameters({**io.facts, **(parameters or {})}),
    }


def preprocessing(
    name: str, io: ModelIo, image: ImageInput, frame: tuple[str, int], warmup: Sequence[int] | None
) -> dict[str, Any]:
    """Return the configuration of the model that turns images into the network's input.

    Args:
        name: name of the model.
        io: inputs and outputs of the network.
        image: what it takes.
        frame: dtype and channels of a frame.
        warmup: shape of the golden frame in ``warmup/golden``; None without one.
    """
    entry = _image(io, image, frame)
    dims = entry["dims"] if image == "encoded" else io.dims(warmup or ())
    data = {"data_type": entry["data_type"], "dims": dims, "input_data_file": "golden"}
    return {
        **io.head(name),
        "backend": "python",
        "version_policy": {"latest": {"num_versions": 1}},
        "input": [entry],
        "output": [{"name": io.input.name, "data_type": _type(io.input.dtype), "dims": io.dims(io.input.shape)}],
        "instance_group": [{"count": 1, "kind": Word("KIND_CPU")}],
        **io.batching,
        **({} if warmup is None else {"model_warmup": [_warmup(entry["name"], data)]}),
        "parameters": _parameters({**io.facts, "edgeproof.image": image}),
    }


def ensemble(name: str, io: ModelIo, image: ImageInput, frame: tuple[str, int]) -> dict[str, Any]:
    """Return the configuration of the ensemble of preprocessing and network."""
    entry = _image(io, image, frame)
    tensor = "preprocessed"
    steps = [
        {
            "model_name": f"{name}_pre",
            "model_version": -1,
            "input_map": [{"key": entry["name"], "value": entry["name"]}],
            "output_map": [{"key": io.input.name, "value": tensor}],
        },
        {
            "model_name": f"{name}_net",
            "model_version": -1,
            "input_map": [{"key": io.input.name, "value": tensor}],
            "output_map": [{"key": spec.name, "value": spec.name} for spec in io.outputs],
        },
    ]
    ragged = {key: value for key, value in entry.items() if key != "allow_ragged_batch"}
    return {
        **io.head(name),
        "platform": "ensemble",
        "version_policy": {"latest": {"num_versions": 1}},
        "input": [ragged],
        "output": [_output(io, spec, reshaped=False) for spec in io.outputs],
        "ensemble_scheduling": {"step": steps},
        "parameters": _parameters({**io.facts, "edgeproof.image": image}),
    }


def _image(io: ModelIo, image: ImageInput, frame: tuple[str, int]) -> dict[str, Any]:
    dtype, channels = frame
    if image == "encoded":
        # One text per image: dims [1] of a batch, or as many texts as a graph of a fixed batch takes.
        dims = [io.max_batch] if io.fixed else [1]
        return {"name": "image", "data_type": Word("TYPE_STRING"), "dims": dims}
    # Frames of different sizes may wait together: each request is preprocessed by itself.
    ragged = {} if io.triton_max_batch < 2 else {"allow_ragged_batch": True}
    return {"name": "frame", "data_type": _type(dtype), "dims": io.dims([-1, -1, channels]), **ragged}


def _output(io: ModelIo, spec: TensorSpec, *, reshaped: bool) -> dict[str, Any]:
    dims = io.dims(spec.shape)
    entry: dict[str, Any] = {"name": spec.name, "data_type": _type(spec.dtype), "dims": dims or [1]}
    if not dims and reshaped:
        entry["reshape"] = {"shape": []}  # Triton has no empty dims: an output [N] is announced as [N, 1]
    if io.labels is not None and io.labels[0] == spec.name:
        entry["label_filename"] = io.labels[1]
    return entry


def _warmup(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": "golden", "batch_size": 1, "inputs": [{"key": name, "value": dict(data)}]}


def _parameters(facts: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"string_value": value}} for key, value in facts.items()]


def _type(dtype: str) -> Word:
    return Word(_TYPES[np.dtype(dtype).name])
