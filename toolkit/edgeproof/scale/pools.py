"""Run a predictor over tables of images: on the threads of this process, or on workers of a Ray cluster."""

from __future__ import annotations

import inspect
import json
import logging
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof.scale.predictor import Predictor
from edgeproof_runtime import errors
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.errors import EdgeproofError, InputError, UnavailableError
from edgeproof_runtime.system.host import usable_cores
from edgeproof_runtime.system.telemetry import switch_off_telemetry

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "IN_FLIGHT",
    "Pool",
    "check_place",
    "connected",
    "error_of",
    "opened_pool",
    "text_of",
    "worker_options",
]

_CLIENT_PORT = 10001  # of `ray start`
_STARTS = 3
_RETRIES = 3  # of a table whose worker died: an image that kills every worker must not kill them for ever
_FAILURE, _PARTS = "edgeproof_failure", ("what", "got", "expected", "fix")
IN_FLIGHT = 2  # tasks per worker: it finds the next one when it has done one


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers for predictors.

    Attributes:
        place: ``this process``, or the address of a Ray cluster.
        workers: how many tables are predicted at a time.
        threads: CPU threads of each worker's engine.
        gpu: whether each worker takes a GPU.
    """

    place: str
    workers: int
    threads: int
    gpu: bool
    remote: bool

    def run(self, predictor: Mapping[str, Any], tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
        """Yield the predicted tables as they are done, in any order.

        Args:
            predictor: arguments of `Predictor`.
            tables: images; see `Predictor`.

        Raises:
            EdgeproofError: what a worker's predictor raised.
            InputError: the cluster lost its workers, or is gone.
        """
        # A worker has another folder.
        arguments = {**predictor, "bundle": str(Path(predictor["bundle"]).absolute()), "threads": self.threads}
        return (_on_ray if self.remote else _on_threads)(self, arguments, tables)


def check_place(on: str | None) -> None:
    """Check where to run, before any work.

    Raises:
        InputError: neither ``ray`` nor ``ray://HOST[:PORT]``.
        UnavailableError: Ray is not installed.
    """
    if on is None:
        return
    if on != "ray" and not (on.startswith("ray://") and len(on) > len("ray://")):
        raise InputError("--on: unknown", got=on, expected="ray, or ray://HOST[:PORT]")
    _ray()


@contextmanager
def opened_pool(
    on: str | None, *, engine: str, threads: int | None = None, workers: int | None = None
) -> Iterator[Pool]:
    """Open workers; a local cluster that was started here is stopped at the end.

    Args:
        on: None for this process; ``ray`` for the cluster that ``RAY_ADDRESS`` names, else a local one that is started;
            ``ray://HOST[:PORT]`` for a cluster's client port.
        engine: name of the engine of the workers.
        threads: CPU threads of each worker's engine; None means 1.
        workers: number of workers; None fills the cores.

    Raises:
        InputError: more workers and threads than cores, or no cluster at the address.
        UnavailableError: Ray is not installed, or the cluster has no GPU for a GPU's engine.
    """
    threads = threads or 1
    gpu = catalog.find(engine).device == "gpu"
    if on is None:
        yield _sized("this process", usable_cores(), 1 if gpu else None, threads, workers, gpu=gpu, remote=False)
        return
    with connected(on) as ray:
        found = ray.cluster_resources()
        place = ray.get_runtime_context().gcs_address if on == "ray" else on
        gpus = int(found.get("GPU", 0)) if gpu else None
        if gpus == 0:
            raise UnavailableError(
                f"{place}: the cluster has no GPU", got=f"engine {engine}", fix="name a CPU's engine"
            )
        yield _sized(place, int(found.get("CPU", 0)), gpus, threads, workers, gpu=gpu, remote=True)


@contextmanager
def connected(on: str) -> Iterator[Any]:
    """Connect to a cluster, unless this process is connected to one, and leave it at the end; yields Ray.

    A local cluster that was started here is stopped.

    Args:
        on: as for `opened_pool`.

    Raises:
        InputError: no cluster at the address.
        UnavailableError: Ray is not installed.
    """
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    _connect(ray, on)
    try:
        yield ray
    finally:
        ray.shutdown()


def _sized(
    place: str, cores: int, gpus: int | None, threads: int, workers: int | None, *, gpu: bool, remote: bool
) -> Pool:
    most = max(1, cores // threads) if gpus is None else min(gpus, max(1, cores // threads))
    if (workers or 1) * threads > cores or (workers or 1) > most:
        limit = f"{cores} cores" if gpus is None else f"{cores} cores, {gpus} GPUs"
        raise InputError(
            f"--workers and --threads: more than {place} has",
            got=f"{workers or 1} workers of {threads} threads",
            expected=f"at most {limit}",
        )
    return Pool(place, workers or most, threads, gpu, remote)


def _on_threads(pool: Pool, arguments: Mapping[str, Any], tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    own = threading.local()
    made: list[Predictor] = []

    def predict(table: pa.Table) -> pa.Table:
        if not hasattr(own, "predictor"):
            own.predictor = Predictor(**arguments)
            made.append(own.predictor)
        return own.predictor(table)

    executor = ThreadPoolExecutor(pool.workers, thread_name_prefix="edgeproof-label")
    following = iter(tables)
    waiting = [executor.submit(predict, table) for table in islice(following, pool.workers * IN_FLIGHT)]
    try:
        while waiting:
            done = wait(waiting, return_when=FIRST_COMPLETED).done
            ready = [future for future in waiting if future in done]
            waiting = [future for future in waiting if future not in done]
            waiting += [executor.submit(predict, table) for table in islice(following, len(ready))]
            for future in ready:
                yield future.result()
    finally:
        executor.shutdown(cancel_futures=True)
        for predictor in made:
            predictor.close()


def _tables_on_ray(pool: Pool, arguments: Mapping[str, Any], tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    ray = _ray()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    size = min(pool.workers, len(tables))
    given = ray.data.from_arrow(list(tables))
    options: dict[str, Any] = {"num_gpus": 1} if pool.gpu else {}
    # Ray repeats for ever what kills its worker. Versions that take no other number will do that.
    if "ray_remote_args_fn" in inspect.signature(given.map_batches).parameters:
        options["ray_remote_args_fn"] = worker_options
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*ray_remote_args_fn.*")  # deprecated, without a substitute
        images = given.map_batches(
            _Worker,
            fn_constructor_kwargs=dict(arguments),
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=size, max_size=size, max_tasks_in_flight_per_actor=IN_FLIGHT),
            num_cpus=pool.threads,
            **options,
        )
    yield from images.iter_batches(batch_size=None, batch_format="pyarrow")


class _Driver:
    """Runs a pipeline on the cluster: Ray Data does not run in a process that is only a client."""

    def __init__(self, pool: Pool, arguments: Mapping[str, Any], tables: Sequence[pa.Table]) -> None:
        self._tables = _tables_on_ray(pool, arguments, tables)

    def next(self) -> pa.Table | None:
        return next(self._tables, None)


def _tables_of_client(pool: Pool, arguments: Mapping[str, Any], tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    ray = _ray()
    driver = ray.remote(num_cpus=0)(_Driver).remote(pool, dict(arguments), list(tables))
    while (table := ray.get(driver.next.remote())) is not None:
        yield table


def _on_ray(pool: Pool, arguments: Mapping[str, Any], tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    made = (_tables_of_client if pool.place.startswith("ray://") else _tables_on_ray)(pool, arguments, tables)
    try:
        for table in made:
            if _FAILURE in table.column_names:
                raise error_of(table[_FAILURE][0].as_py())
            yield table
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "ray":
            raise
        raise InputError(
            f"{pool.place}: the workers failed",
            got=" ".join(str(error).split())[-400:],
            fix="run the same command again: it goes on where it stopped",
        ) from error


def worker_options() -> dict[str, Any]:
    """Return Ray's options of a worker: replaced when it dies, and its task repeated a few times."""
    return {"max_restarts": -1, "max_task_retries": _RETRIES}


class _Worker:
    """A predictor whose error is a table, see `text_of`."""

    def __init__(self, **arguments: Any) -> None:
        self._predictor = Predictor(**arguments)

    def __call__(self, table: pa.Table) -> pa.Table:
        import pyarrow

        try:
            return self._predictor(table)
        except EdgeproofError as error:
            return pyarrow.table({_FAILURE: [text_of(error)]})


def text_of(error: EdgeproofError) -> str:
    """Return an error as a text that `error_of` reads: Ray passes on the text of an exception, and not its class."""
    return json.dumps({"kind": type(error).__name__, **{key: getattr(error, key) for key in _PARTS}})


def error_of(text: str) -> EdgeproofError:
    """Return the error that a worker had."""
    said = json.loads(text)
    kind = getattr(errors, said["kind"], InputError)
    # Errors of CUDA take further arguments.
    own = kind if kind.__init__ is EdgeproofError.__init__ else UnavailableError
    made: EdgeproofError = own(said["what"], **{key: said[key] for key in _PARTS if key != "what"})
    return made


def _ray() -> Any:
    switch_off_telemetry()
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it prints on stderr what it then handles
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UnavailableError(
            "--on ray: requires Ray, which is not installed", got=error, fix='pip install "edgeproof[ray]"'
        ) from error
    return ray


def _connect(ray: Any, on: str) -> None:
    address = os.environ.get("RAY_ADDRESS") if on == "ray" else on
    if address is not None and address.startswith("ray://") and ":" not in address[len("ray://") :]:
        address = f"{address}:{_CLIENT_PORT}"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    local = {} if address else {"num_cpus": usable_cores(), "include_dashboard": False}
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # A node must be up within 30 s, which a busy machine may miss.
    for left in reversed(range(1 if address else _STARTS)):
        try:
            ray.init(address or "local", **quiet, **local)
        except Exception as error:  # Ray raises plain ones too, such as for a node that starts too slowly
            with suppress(Exception):
                ray.shutdown()
            if left:
                continue
            raise InputError(
                f"{address}: no cluster can be reached" if address else "ray: a cluster does not start here",
                got=" ".join(str(error).split())[:300],
                expected="a cluster of the same Ray and Python version" if address else None,
                fix="ray start --head on the host, and --on ray://HOST:10001"
                if address
                else "leave --on out, or try again",
            ) from error
        return
