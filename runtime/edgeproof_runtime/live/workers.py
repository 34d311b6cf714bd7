"""Choose and load the workers of a pipeline for a machine and its streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import USEFUL_THREADS, Preprocessor
from edgeproof_runtime.engines.base import Engine, EngineInfo
from edgeproof_runtime.live.pipeline import Worker
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.system.bounds import require_parallel
from edgeproof_runtime.system.host import usable_cores

__all__ = ["Crew", "crew"]

D = TypeVar("D")

_MOST_CHOSEN = 16  # each holds a copy of the model
_ON_A_DEVICE = 2  # one prepares frames while the other runs on the GPU


@dataclass(frozen=True, slots=True)
class Crew(Generic[D]):
    """Workers, and the description of their engines."""

    workers: tuple[Worker[D], ...]
    info: EngineInfo


@contextmanager
def crew(
    bundle: Bundle,
    head: Callable[[tuple[Tensor, ...]], D],
    engine: str = "auto",
    precision: str = "auto",
    *,
    workers: int | None = None,
    threads: int | None = None,
    max_batch: int = 1,
    alone: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Crew[D]]:
    """Load an engine for each worker; the engines close when the context exits.

    Engines with one thread each give a higher frame rate than one engine with all threads, whose threads wait for each
    other. One engine with all threads gives the lower latency for a single frame.

    Args:
        bundle, engine, precision, max_batch, progress: as for `selection.auto.load_engine`.
        head: converts the model's outputs for one frame into a decision.
        workers: number of workers; None means one per CPU core (at most 16), two on a GPU, one if ``alone``.
        threads: CPU threads of each; None divides the cores, or lets the engine of a single worker choose.
        alone: whether the only stream is a camera, of which only the newest frame is processed.

    Raises:
        InputError, UnavailableError: as for `selection.auto.load_engine`; workers or threads are out of range.
    """
    require_parallel(workers, "--workers")
    require_parallel(threads, "--threads")
    cores = usable_cores()
    count = workers or (1 if alone else max(1, min(_MOST_CHOSEN, cores // (threads or 1))))
    if threads is None and count > 1:
        threads = max(1, cores // count)
    with ExitStack() as stack:

        def load(name: str, precision: str, threads: int | None) -> Engine:
            loaded = load_engine(bundle, name, precision, max_batch=max_batch, threads=threads, progress=progress)
            return stack.enter_context(loaded)

        engines = [load(engine, precision, threads)]
        info = engines[0].describe()
        if workers is None and not alone and info.device not in ("CPU", "none"):
            count = _ON_A_DEVICE
        engines += [load(info.name, info.precision, info.threads or None) for _ in range(count - 1)]
        of_each = min(threads or max(1, cores // count), USEFUL_THREADS)
        crew_of = (Worker(Preprocessor(bundle.contract, threads=of_each), loaded, head) for loaded in engines)
        yield Crew(tuple(crew_of), info)
