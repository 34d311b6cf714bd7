"""The served model, as clients see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeproof.dashboard.tensors import datatype_of
from edgeproof_runtime.bundle.artifact import Tensor, TensorSpec

__all__ = ["ServedModel"]


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
