"""Base class of engines: load, describe, run, close. Facts about each engine are in `catalog`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.compat import Self

__all__ = [
    "WARM_UP_RUNS",
    "Engine",
    "EngineInfo",
    "FrameEngine",
    "LayerTime",
    "Unavailable",
]


WARM_UP_RUNS = 5
"""Runs of a profiler before those that count."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why something is not available on this machine.

    Attributes:
        what: what is missing, in one clause.
        fix: command or step that provides it; None if nothing does.
    """

    what: str
    fix: str | None = None

    def __str__(self) -> str:
        return self.what if self.fix is None else f"{self.what}; {self.fix}"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Name, version, device and settings of a loaded engine, for reports."""

    name: str
    version: str
    device: str
    precision: str
    threads: int | None = None
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerTime:
    """Time of one layer as its engine executes it.

    Attributes:
        name: the engine's name of the layer.
        kind: the engine's type of the layer; empty if it does not say.
        ms: median time of a run in ms.
        covers: names of ONNX nodes or values, as far as the engine says what it fused.
    """

    name: str
    kind: str
    ms: float
    covers: tuple[str, ...]


class Engine(ABC):
    """A loaded model on one engine. Use as a context manager, or call `close`.

    Subclasses implement `_run` and `describe`; callers use `run`, which checks.

    Attributes:
        last_device_ms: times of the last batch in ms, named as in trtexec: ``enqueue``, ``h2d``, ``compute``, ``d2h``,
            and ``latency``, the sum of the last three. Empty on engines without a GPU's clock.
        graph_launches: (runs that launched a CUDA graph, all runs) since loading; None for engines that capture none.
    """

    name: ClassVar[str]

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None) -> None:
        """Load the artifact.

        Args:
            artifact: what to load.
            threads: CPU threads; None for the engine's default.

        Raises:
            UnavailableError: the engine is not installed, or its device is missing.
            InputError: the engine cannot load this model.
        """
        self.artifact = artifact
        self.threads = threads
        self.last_device_ms: dict[str, float] = {}
        self.graph_launches: tuple[int, int] | None = None
        self._input_dtype = np.dtype(artifact.input.dtype)

    @classmethod
    @abstractmethod
    def unavailable_reason(cls) -> Unavailable | None:
        """Return why this engine is not available on this machine; None if it is."""

    @classmethod
    def layer_times(
        cls, artifact: ModelArtifact, batch: Tensor, *, runs: int, threads: int | None = None
    ) -> list[LayerTime]:
        """Load the artifact with the engine's profiler, run a batch, and return the time of each layer that ran.

        Args:
            artifact: what to load.
            batch: as for `run`.
            runs: timed runs, after `WARM_UP_RUNS` others.
            threads: CPU threads; None for the engine's default.

        Raises:
            UnavailableError: the engine has no profiler.
        """
        del artifact, batch, runs, threads
        raise UnavailableError(f"engine {cls.name}: gives no times of layers")

    @abstractmethod
    def describe(self) -> EngineInfo:
        """Return name, version, device and precision."""

    def allocate_input(self, batch: int) -> Tensor:
        """Allocate a buffer for ``batch`` inputs that `run` takes without a copy (pinned memory on a GPU)."""
        spec = self.artifact.input
        return np.zeros((batch, *spec.shape), np.dtype(spec.dtype))

    def run(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Infer one batch.

        Args:
            batch: ``N x input.shape`` of the input's dtype, C-contiguous, 1 <= N <= ``max_batch``.

        Returns:
            One array per output, ``N x output.shape``, in the manifest's order. The caller owns them.

        Raises:
            InputError: the batch has another shape or dtype, or an output has another shape than the bundle says.
        """
        spec = self.artifact.input
        if batch.ndim == 0 or batch.shape[1:] != spec.shape or batch.dtype != self._input_dtype:
            raise InputError(
                f"engine {self.name}: the batch does not match the model",
                got=f"{batch.dtype} {batch.shape}",
                expected=f"{spec.dtype} (N, {', '.join(str(n) for n in spec.shape)})",
            )
        count = len(batch)
        if not 1 <= count <= self.artifact.max_batch:
            raise InputError(
                f"engine {self.name}: unsupported batch size {count}", expected=f"1..{self.artifact.max_batch}"
            )
        outputs = self._run(batch)
        for output, expected in zip(outputs, self.artifact.outputs, strict=True):
            if expected.shape and (output.shape[1:] != expected.shape or len(output) != count):
                raise InputError(
                    f"{self.artifact.path}: an output has another shape than the bundle says",
                    got=f"{expected.name} {output.shape[1:]}",
                    expected=expected.shape,
                )
        return outputs

    @abstractmethod
    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Infer a batch that `run` has checked."""

    def close(self) -> None:
        """Release the engine's resources. It cannot run afterwards. Safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FrameEngine(Engine):
    """An engine that may preprocess frames itself, as a server does."""

    @property
    @abstractmethod
    def preprocesses(self) -> bool:
        """Whether `run_frames` is to be called instead of `run`."""

    @abstractmethod
    def run_frames(self, frames: Sequence[NDArray[Any]]) -> tuple[Tensor, ...]:
        """Preprocess and infer frames.

        Args:
            frames: as `edgeproof_runtime.contract.preprocess.Preprocessor` takes them.

        Returns:
            One array per output, ``N x output.shape``, in the manifest's order.
        """
