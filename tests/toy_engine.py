"""A toy engine and its catalogue entry: all that a new engine on the CPU needs."""

from __future__ import annotations

from importlib import metadata

import onnx
from onnx.reference import ReferenceEvaluator

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.engines import Engine, EngineInfo, Unavailable
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.errors import InputError

__all__ = ["ENTRY", "ToyEngine"]

ENTRY = CatalogEntry(
    name="toy",
    implementation="toy_engine:ToyEngine",
    distributions=("pytest",),  # one that is installed and that no other engine names
    extra="dev",
    device="cpu",
    precisions=("fp32",),
)


class ToyEngine(Engine):
    """ONNX's reference evaluator."""

    name = "toy"

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None) -> None:
        super().__init__(artifact, threads=threads)
        try:
            with artifact.onnx() as model:
                self._evaluator = ReferenceEvaluator(onnx.load(model.path))
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"toy: cannot load {artifact.path}", got=error) from error

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        return None

    def describe(self) -> EngineInfo:
        return EngineInfo(self.name, metadata.version("pytest"), "CPU", self.artifact.precision)

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        try:
            return tuple(
                self._evaluator.run([o.name for o in self.artifact.outputs], {self.artifact.input.name: batch})
            )
        except Exception as error:
            raise InputError(f"toy: cannot run {self.artifact.path}", got=error) from error
