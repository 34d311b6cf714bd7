"""What an engine loads: the model file, and its input and output tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ModelArtifact", "Tensor", "TensorSpec"]

Tensor = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: name of the ONNX value.
        shape: without the leading batch dimension; empty for an output whose shape is known only after a run.
        dtype: NumPy's name of the dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class ModelArtifact:
    """What an engine loads.

    Attributes:
        path: the ONNX file, or the compiled file for engines that require one.
        precision: ``fp32``, ``fp16`` or ``int8``.
        input: the model's only input.
        outputs: in the manifest's order.
        max_batch: largest batch that the engine must accept.
        blob: compiled file of an engine that also loads the ONNX file; None if missing.
        arithmetic: precision whose parity bounds apply; None for ``precision``.
        digests: known sha256 of these files, by path.
    """

    path: Path
    precision: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    max_batch: int = 1
    blob: Path | None = None
    arithmetic: str | None = None
    digests: Mapping[Path, str] = field(default_factory=dict, compare=False)

    @property
    def bounds(self) -> str:
        """Precision whose parity bounds apply."""
        return self.arithmetic or self.precision
