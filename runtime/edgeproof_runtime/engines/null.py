"""The null engine: it computes nothing, and so measures the harness."""

from __future__ import annotations

import numpy as np

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.engines.base import Engine, EngineInfo, Unavailable

__all__ = ["NullEngine"]


class NullEngine(Engine):
    """Returns zeros at once for every input."""

    name = "null"

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None) -> None:
        super().__init__(artifact, threads=threads)
        self._outputs = tuple(
            np.zeros((artifact.max_batch, *spec.shape), np.dtype(spec.dtype)) for spec in artifact.outputs
        )

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        return None

    def describe(self) -> EngineInfo:
        return EngineInfo(self.name, "1", "none", self.artifact.precision, threads=0)

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        return tuple(output[: len(batch)].copy() for output in self._outputs)
