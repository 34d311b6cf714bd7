"""A loaded configuration of a bundle: the system under test of a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.engines import Engine, EngineInfo, catalog
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.parity import OutputsMeter
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.tasks.registry import task_of

__all__ = ["Configuration", "EngineSystem", "configurations"]

_MOST_BUFFERS = 4  # for batches above 1: more would only use memory


@dataclass(frozen=True, slots=True)
class Configuration:
    """Configuration of a bundle.

    Attributes:
        engine: name of the engine.
        precision: ``fp32``, ``fp16`` or ``int8``.
        batch: samples per inference.
        threads: CPU threads of each engine; None lets the engine choose.
        streams: engines in parallel, each with separate memory.
    """

    engine: str
    precision: str = "fp32"
    batch: int = 1
    threads: int | None = None
    streams: int = 1

    def __post_init__(self) -> None:
        if min(self.batch, self.streams, self.threads or 1) < 1:
            raise InputError("batch, threads and streams: must be at least 1", got=self.name)

    @property
    def computes(self) -> bool:
        """Return whether the engine computes the model; ``null`` does not."""
        return catalog.find(self.engine).device != "none"

    @property
    def name(self) -> str:
        """Return the name, such as ``openvino fp32`` or ``openvino int8, batch 4, 1 thread, 2 streams``."""
        parts = [f"{self.engine} {self.precision}"]
        if self.batch != 1:
            parts.append(f"batch {self.batch}")
        if self.threads is not None:
            parts.append(f"{self.threads} thread{'s' if self.threads > 1 else ''}")
        if self.streams != 1:
            parts.append(f"{self.streams} streams")
        return ", ".join(parts)


def configurations(
    names: Sequence[str],
    precisions: Sequence[str],
    *,
    batches: Sequence[int] = (1,),
    threads: Sequence[int | None] = (None,),
    streams: Sequence[int] = (1,),
) -> list[Configuration]:
    """Return every combination that the engines support, in the order given."""
    combinations = product(names, precisions, batches, threads, streams)
    return [Configuration(*values) for values in combinations if values[1] in catalog.find(values[0]).precisions]


class EngineSystem:
    """A configuration's engines, with the golden cases' inputs in the engines' buffers.

    Raises:
        InputError, UnavailableError: an engine does not load the model or does not run this batch.
    """

    def __init__(self, bundle: Bundle, configuration: Configuration, cases: Sequence[GoldenCase]) -> None:
        self.configuration = configuration
        self.batch: int = configuration.batch
        self.streams: int = configuration.streams
        self._owned = ExitStack()
        self._cases = cases
        self._manifest = bundle.manifest
        self._ranked = task_of(bundle).ranked
        self._gates: list[Gate] = []
        self._checked = 0
        try:
            self.engines: list[Engine] = [
                self._owned.enter_context(
                    load_engine(
                        bundle,
                        configuration.engine,
                        configuration.precision,
                        max_batch=self.batch,
                        threads=configuration.threads,
                    )
                )
                for _ in range(self.streams)
            ]
            self._buffers = [list(self._filled(engine)) for engine in self.engines]
            self._turn = [0] * self.streams
            self._last: list[tuple[Tensor, ...]] = [() for _ in range(self.streams)]
            self.infer_all()
        except BaseException:
            self.close()
            raise

    def _filled(self, engine: Engine) -> Iterator[Tensor]:
        count = len(self._cases) if self.batch == 1 else min(_MOST_BUFFERS, len(self._cases))
        for first in range(count):
            buffer = engine.allocate_input(self.batch)
            for slot, case in zip(buffer, self._members(first), strict=True):
                slot[...] = case.tensor
            yield buffer

    def _members(self, buffer: int) -> list[GoldenCase]:
        first = buffer * self.batch
        return [self._cases[(first + i) % len(self._cases)] for i in range(self.batch)]

    def infer(self, stream: int, count: int) -> None:
        """Infer ``count`` <= `batch` samples of the next buffer on one stream's engine."""
        buffers = self._buffers[stream]
        turn = self._turn[stream] = (self._turn[stream] + 1) % len(buffers)
        buffer = buffers[turn]
        self._last[stream] = self.engines[stream].run(buffer if count == self.batch else buffer[:count])

    def infer_all(self) -> None:
        """Infer a full batch on every stream, one after another."""
        for stream in range(self.streams):
            self.infer(stream, self.batch)

    @property
    def info(self) -> EngineInfo:
        """Return the description of the first stream's engine; all are alike."""
        return self.engines[0].describe()

    @property
    def graph_launches(self) -> tuple[int, int] | None:
        """Return (runs that launched a CUDA graph, all runs) of all streams; None for engines that capture none."""
        counts = [engine.graph_launches for engine in self.engines if engine.graph_launches is not None]
        return (sum(c[0] for c in counts), sum(c[1] for c in counts)) if counts else None

    def check(self) -> None:
        """Compare the last outputs of every stream with PyTorch's; call it between blocks, outside the timing."""
        meter = OutputsMeter(self._manifest.outputs, ranked=self._ranked)
        for turn, outputs in zip(self._turn, self._last, strict=True):
            cases = self._members(turn)[: len(outputs[0])]
            references = [np.stack(arrays) for arrays in zip(*(case.outputs for case in cases), strict=True)]
            meter.update(references, outputs, [case.name for case in cases])
            self._checked += len(cases)
        gate = meter.gate(
            f"answers {self.configuration.name}",
            "outputs while timed with PyTorch's, worst block",
            self.engines[0].artifact.bounds,
        )
        # Keep only the worst: outputs may be images, and a benchmark may have thousands of blocks.
        self._gates = [max([*self._gates, gate], key=_badness)]

    def gate(self) -> Gate:
        """Gate the worst comparison of `check` by the bounds of the precision; call after `check`."""
        (worst,) = self._gates
        return replace(worst, measured={**worst.measured, "n": float(self._checked)})

    def close(self) -> None:
        """Release the engines."""
        self._owned.close()


def _badness(gate: Gate) -> tuple[bool, float]:
    differences = [value for name, value in gate.measured.items() if name.endswith("relative_diff")]
    return (not gate.passed, max(differences, default=0.0))
