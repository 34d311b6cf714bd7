"""One configuration of a bundle, loaded: the system that a scenario is driven against."""

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

_MOST_BUFFERS = 4  # of a batch above 1: more would only fill memory


@dataclass(frozen=True, slots=True)
class Configuration:
    """What can be chosen about how a bundle runs.

    Attributes:
        engine: its name.
        precision: ``fp32``, ``fp16`` or ``int8``.
        batch: samples per inference.
        threads: CPU threads of each engine; None leaves it to the engine.
        streams: engines side by side, each with its own memory.
    """

    engine: str
    precision: str = "fp32"
    batch: int = 1
    threads: int | None = None
    streams: int = 1

    def __post_init__(self) -> None:
        if min(self.batch, self.streams, self.threads or 1) < 1:
            raise InputError("batch, threads and streams start at 1", got=self.name)

    @property
    def computes(self) -> bool:
        """Whether the engine computes the model: ``null`` does not."""
        return catalog.find(self.engine).device != "none"

    @property
    def name(self) -> str:
        """Such as ``openvino fp32`` or ``openvino int8, batch 4, 1 thread, 2 streams``."""
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
    """Every combination that the engines support, in the order given."""
    combinations = product(names, precisions, batches, threads, streams)
    return [Configuration(*values) for values in combinations if values[1] in catalog.find(values[0]).precisions]


class EngineSystem:
    """A configuration's engines with real inputs in their own buffers: the golden cases'.

    Raises:
        InputError, UnavailableError: an engine cannot load the model, or run a batch of this size.
    """

    def __init__(self, bundle: Bundle, configuration: Configuration, cases: Sequence[GoldenCase]) -> None:
        self.configuration = configuration
        self.batch = configuration.batch
        self.streams = configuration.streams
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
        """Answer ``count`` <= `batch` samples, of the next buffer, on one stream's engine."""
        buffers = self._buffers[stream]
        turn = self._turn[stream] = (self._turn[stream] + 1) % len(buffers)
        buffer = buffers[turn]
        self._last[stream] = self.engines[stream].run(buffer if count == self.batch else buffer[:count])

    def infer_all(self) -> None:
        """A whole batch on every stream, one after another."""
        for stream in range(self.streams):
            self.infer(stream, self.batch)

    @property
    def info(self) -> EngineInfo:
        """Of the first stream's engine; all are alike."""
        return self.engines[0].describe()

    def check(self) -> None:
        """Compare the last answers of every stream with PyTorch's; call it between blocks, so that it costs no time."""
        meter = OutputsMeter(self._manifest.outputs, ranked=self._ranked)
        for turn, outputs in zip(self._turn, self._last, strict=True):
            cases = self._members(turn)[: len(outputs[0])]
            references = [np.stack(arrays) for arrays in zip(*(case.outputs for case in cases), strict=True)]
            meter.update(references, outputs, [case.name for case in cases])
            self._checked += len(cases)
        gate = meter.gate(
            f"answers {self.configuration.name}",
            "answers given while timed with PyTorch's, the worst block of all",
            self.configuration.precision,
        )
        # Only the worst is kept: outputs may be whole pictures, and a benchmark may have thousands of blocks.
        self._gates = [max([*self._gates, gate], key=_badness)]

    def gate(self) -> Gate:
        """The worst of everything that `check` compared, against the bounds of the precision; call after `check`."""
        (worst,) = self._gates
        return replace(worst, measured={**worst.measured, "n": float(self._checked)})

    def close(self) -> None:
        """Release the engines."""
        self._owned.close()


def _badness(gate: Gate) -> tuple[bool, float]:
    differences = [value for name, value in gate.measured.items() if name.endswith("relative_diff")]
    return (not gate.passed, max(differences, default=0.0))
