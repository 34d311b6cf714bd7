"""A graph with all that computes its scores: what another process needs to compute the same ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.engines.onnxruntime import OnnxRuntimeEngine

__all__ = ["Answers", "Candidate", "filled"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A graph and the engine that runs it. It can be pickled.

    Attributes:
        content: the ONNX file.
        artifact: what the engine loads; its path is that of the bundle's fp32 model.
        engine: name of the engine.
        threads: CPU threads of the engine; None lets the engine choose.
        as_written: run the graph in ONNX Runtime without int8 kernels, on one thread.
        output: position of the scores among the outputs.
        fewest: smallest batch that the model takes.
    """

    content: bytes
    artifact: ModelArtifact
    engine: str
    threads: int | None
    as_written: bool
    output: int
    fewest: int

    def load(self, path: Path) -> Engine:
        """Write the graph to a file and load it.

        Raises:
            InputError: the engine cannot load the graph.
        """
        path.write_bytes(self.content)
        artifact = replace(self.artifact, path=path)
        if self.as_written:
            return OnnxRuntimeEngine(artifact, threads=1, int8_kernels=False)
        return engines.load(self.engine, artifact, threads=self.threads)

    def scores(self, engine: Engine, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Return the scores of a batch on the loaded engine, ``n x C``."""
        return engine.run(filled(batch, self.fewest))[self.output][: len(batch)].astype(np.float32)


Answers = Callable[[Candidate, Iterable[NDArray[np.generic]]], Generator[NDArray[np.float32], None, None]]
"""Computes the scores of batches elsewhere, in order; reads the batches as they are needed, and may be closed early."""


def filled(batch: NDArray[np.generic], fewest: int) -> NDArray[np.generic]:
    """Return the batch with its last image repeated until it has as many as the model takes."""
    missing = max(0, fewest - len(batch))
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch
