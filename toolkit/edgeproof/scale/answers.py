"""Scores of an optimisation's graphs, computed by workers of a Ray cluster as this machine computes them."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof.scale.pools import IN_FLIGHT, Pool, connected, error_of, opened_pool, text_of, worker_options
from edgeproof_runtime.engines import Engine, trial
from edgeproof_runtime.engines.machine import machine_key
from edgeproof_runtime.errors import EdgeproofError, UnavailableError
from edgeproof_runtime.system.telemetry import switch_off_telemetry

if TYPE_CHECKING:
    from edgeproof_export.optimize.candidate import Answers, Candidate

__all__ = ["answers_on"]


@contextmanager
def answers_on(on: str, *, threads: int | None = None, workers: int | None = None) -> Iterator[Answers]:
    """Open workers that compute scores; they end with the block.

    Every worker must have the same hardware and engine versions as this machine: scores of one graph are compared with
    those of another, and CPUs differ in int8.

    Args:
        on: ``ray``, or ``ray://HOST[:PORT]``.
        threads: CPU threads of each worker's engine; None means 1.
        workers: number of workers; None fills the cores.

    Raises:
        InputError: more workers and threads than cores, or no cluster at the address.
        UnavailableError: Ray is not installed.
    """
    # `optimize` takes engines of the CPU only.
    with connected(on) as ray, opened_pool(on, engine="onnxruntime", threads=threads, workers=workers) as pool:
        actor = ray.remote(_Worker).options(num_cpus=pool.threads, **worker_options())
        made = [actor.remote(machine_key()) for _ in range(pool.workers)]
        try:
            yield _OnRay(ray, pool, made)
        finally:
            with suppress(Exception):  # the cluster may be gone
                for worker in made:
                    ray.kill(worker)


class _OnRay:
    """Gives the batches to the workers in turns, and takes their scores in order."""

    def __init__(self, ray: Any, pool: Pool, workers: list[Any]) -> None:
        self._ray, self._pool, self._workers = ray, pool, workers
        self._numbers = count()

    def __call__(
        self, candidate: Candidate, batches: Iterable[NDArray[np.generic]]
    ) -> Generator[NDArray[np.float32], None, None]:
        with self._loss_named():
            number = next(self._numbers)
            waiting: deque[Any] = deque()
            # In a list, a reference is not resolved: a worker fetches each graph once, and not with every batch.
            given = [self._ray.put(replace(candidate, threads=self._pool.threads))]
            for turn, batch in enumerate(batches):
                worker = self._workers[turn % len(self._workers)]
                waiting.append(worker.scores.remote(number, given, batch))
                if len(waiting) >= IN_FLIGHT * len(self._workers):
                    yield self._taken(waiting.popleft())
            while waiting:
                yield self._taken(waiting.popleft())

    def _taken(self, result: Any) -> NDArray[np.float32]:
        scores: NDArray[np.float32] | str = self._ray.get(result)
        if isinstance(scores, str):
            raise error_of(scores)
        return scores

    @contextmanager
    def _loss_named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "ray":
                raise
            # Not an InputError: a recipe whose graph does not load is left out, a lost cluster must end the run.
            raise UnavailableError(
                f"{self._pool.place}: the workers failed",
                got=" ".join(str(error).split())[-400:],
                fix="run the same command again: it goes on where it stopped",
            ) from error


class _Worker:
    """Keeps the engine of the graph that it was asked for last."""

    def __init__(self, expected: str) -> None:
        switch_off_telemetry()
        self._expected = expected
        self._number: int | None = None
        self._candidate: Candidate | None = None
        self._engine: Engine | None = None
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeproof-answers-")))
        self._stack.enter_context(trial.one_child())

    def scores(self, number: int, given: list[Any], batch: NDArray[np.generic]) -> NDArray[np.float32] | str:
        try:
            candidate, engine = self._loaded(number, given)
            return candidate.scores(engine, np.array(batch))  # Ray's arrays are read-only
        except EdgeproofError as error:
            return text_of(error)

    def _loaded(self, number: int, given: list[Any]) -> tuple[Candidate, Engine]:
        if self._engine is not None and self._candidate is not None and number == self._number:
            return self._candidate, self._engine
        import ray

        found = machine_key()
        if found != self._expected:
            raise UnavailableError(
                "--on: a worker's machine differs from this one",
                got=f"machine key {found}",
                expected=f"{self._expected}: the same CPU and the same versions of all engines",
                fix="optimize on one kind of machine, or leave --on out",
            )
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        candidate: Candidate = ray.get(given[0])
        self._engine = candidate.load(self._folder / "graph.onnx")
        self._number, self._candidate = number, candidate
        return candidate, self._engine
