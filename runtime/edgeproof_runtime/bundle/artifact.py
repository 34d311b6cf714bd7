"""What an engine loads: the model"s file, and the tensors that go in and come out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ModelArtifact", "Tensor", "TensorSpec"]

Tensor = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: the ONNX value's name.
        shape: without the batch dimension, which is always the first; of an output, empty where only an answer
            will tell.
        dtype: NumPy's name of the dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class ModelArtifact:
    """What an engine loads.

    Attributes:
        path: the ONNX file, or a compiled engine for engines that need one.
        precision: ``fp32``, ``fp16`` or ``int8``.
        input: the single input.
        outputs: in the manifest's order.
        max_batch: largest batch that will be asked for.
        blob: what `edgeproof compile` made of ``path`` for an engine that also loads the ONNX file; None if nothing.
    """

    path: Path
    precision: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    max_batch: int = 1
    blob: Path | None = None
