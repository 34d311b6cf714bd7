"""MLPerf's four scenarios with a built-in driver; `loadgen` drives the same systems with MLCommons' LoadGen.

Definitions: Reddi et al., "MLPerf Inference Benchmark" (ISCA 2020), table III, and LoadGen's README.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol

import numpy as np

from edgeproof_runtime.measure.turns import Block, Plan, timed_block
from edgeproof_runtime.system.compat import Self

__all__ = ["Load", "Pool", "Scenario", "System", "built_in"]

Scenario = Literal["single-stream", "multi-stream", "offline", "server"]

_STOP = object()
# Threads are reused and never end: LoadGen 6.0 frees a thread's log while still using it, and then may wait forever for
# a latency. Idle threads are reused, so there are only as many as ever ran at once.
_THREADS = ThreadPoolExecutor(max_workers=1024, thread_name_prefix="measured-stream")


class System(Protocol):
    """The system under test: ``streams`` inference lanes, each an engine that takes up to ``batch`` samples at once."""

    @property
    def streams(self) -> int: ...

    @property
    def batch(self) -> int: ...

    def infer(self, stream: int, count: int) -> None:
        """Run ``count`` samples on one lane; called by one thread per lane at a time."""


@dataclass(frozen=True, slots=True)
class Load:
    """The queries issued to a system.

    Attributes:
        scenario: ``single-stream``: each lane gets its next query when the last completes; latency per query.
            ``multi-stream``: queries of ``samples_per_query``, one after another; latency of the whole query.
            ``offline``: all samples at once; samples per second. ``server``: queries arrive as a Poisson process
            of ``target_qps``; latency from the time a query was due.
        samples_per_query: samples per query of ``multi-stream``; 8 as in LoadGen.
        target_qps: queries per second of ``server``.
        latency_bound_ms: latency bound of ``server``, ms.
        seed: seed of the arrivals of ``server``.
    """

    scenario: Scenario = "single-stream"
    samples_per_query: int = 8
    target_qps: float | None = None
    latency_bound_ms: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scenario == "server" and not (self.target_qps and self.target_qps > 0):
            raise ValueError("target_qps: the server scenario requires a value above 0")
        if self.samples_per_query < 1:
            raise ValueError(f"samples_per_query: must be at least 1, got {self.samples_per_query}")


class Pool:
    """One thread per lane; each takes up to a batch of waiting items and reports when they are complete.

    Args:
        system: system under test.
        done: called with the completed items, in the lane's thread.
    """

    def __init__(self, system: System, done: Callable[[Sequence[Any]], None]) -> None:
        self._system = system
        self._done = done
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.error: BaseException | None = None
        self._streams = [_THREADS.submit(self._work, stream) for stream in range(system.streams)]

    def submit(self, items: Sequence[Any]) -> None:
        """Queue items, one per sample."""
        for item in items:
            self._waiting.put(item)

    def _work(self, stream: int) -> None:
        take, batch = self._waiting.get, self._system.batch
        while (first := take()) is not _STOP:
            items = [first]
            while len(items) < batch:
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if item is _STOP:
                    self._waiting.put(_STOP)
                    break
                items.append(item)
            try:
                if self.error is None:
                    self._system.infer(stream, len(items))
            except BaseException as error:  # raised by `close` in the caller's thread
                self.error = error
            self._done(items)

    def close(self) -> None:
        """Wait for the last items; raise the error of an engine, if any."""
        for _ in self._streams:
            self._waiting.put(_STOP)
        for stream in self._streams:
            stream.result()
        if self.error is not None:
            raise self.error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def built_in(system: System, load: Load, plan: Plan) -> Callable[[], Block]:
    """Return a contender for `take_turns`: one block of the load on the system, by the built-in driver.

    Args:
        system: system under test; every block begins with ``plan``'s untimed runs.
        load: scenario and its parameters.
        plan: ``block_ms`` is the length of a block. An offline block is one query of about this length, a server
            block one series of arrivals.
    """
    if load.scenario == "single-stream":
        if system.streams == 1:
            batch = system.batch
            return timed_block(lambda: system.infer(0, batch), plan, samples_per_call=batch)
        return lambda: _closed_loops(system, plan)
    play = {"multi-stream": _multi_stream, "offline": _offline, "server": _server}[load.scenario]
    arrivals = np.random.default_rng(load.seed)

    def block() -> Block:
        _settle(system, plan)
        return play(system, load, plan, arrivals)

    return block


def _settle(system: System, plan: Plan) -> None:
    end = time.perf_counter() + plan.untimed_ms / 1e3
    runs = 0
    while runs < plan.untimed_runs or time.perf_counter() < end:
        for stream in range(system.streams):
            system.infer(stream, system.batch)
        runs += 1


def _closed_loops(system: System, plan: Plan) -> Block:
    """Issue the next query of each lane as soon as the last completes: benchmark_app's parallel requests."""
    barrier = threading.Barrier(system.streams + 1)
    taken: list[list[int]] = [[] for _ in range(system.streams)]
    ended = [0] * system.streams
    errors: list[BaseException] = []

    def loop(stream: int) -> None:
        clock, times_ns = time.perf_counter_ns, taken[stream]
        try:
            for _ in range(max(1, plan.untimed_runs)):
                system.infer(stream, system.batch)
        except BaseException as error:
            errors.append(error)
            barrier.abort()
            return
        try:
            barrier.wait()
            end = clock() + round(plan.block_ms * 1e6)
            while True:
                started = clock()
                system.infer(stream, system.batch)
                now = clock()
                times_ns.append(now - started)
                if (now >= end and len(times_ns) >= plan.min_runs) or len(times_ns) >= plan.max_runs:
                    break
            ended[stream] = now
        except threading.BrokenBarrierError:
            return
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=loop, args=(i,), daemon=True) for i in range(system.streams)]
    for thread in threads:
        thread.start()
    try:
        barrier.wait()
        begin, cpu = time.perf_counter_ns(), time.process_time()
    except threading.BrokenBarrierError:
        pass
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    cpu = time.process_time() - cpu
    values_ms = np.concatenate([np.array(times, np.float64) for times in taken]) / 1e6
    return Block(values_ms, values_ms.size * system.batch, (max(ended) - begin) / 1e9, cpu)


class _Completions:
    """When items were completed; `wait` returns when all expected ones were."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.at_ns: list[tuple[int, int]] = []  # (due, completed)

    def done(self, items: Sequence[int]) -> None:
        now = time.perf_counter_ns()
        with self._condition:
            self.at_ns.extend((due, now) for due in items)
            self._condition.notify_all()

    def wait(self, count: int) -> None:
        with self._condition:
            self._condition.wait_for(lambda: len(self.at_ns) >= count)

    @property
    def latencies_ms(self) -> Any:
        return np.array([completed - due for due, completed in self.at_ns], np.float64) / 1e6


def _multi_stream(system: System, load: Load, plan: Plan, _: np.random.Generator) -> Block:
    completions, values_ms = _Completions(), list[float]()
    with Pool(system, completions.done) as pool:
        begin, cpu = time.perf_counter_ns(), time.process_time()
        end = begin + round(plan.block_ms * 1e6)
        while True:
            due = time.perf_counter_ns()
            pool.submit([due] * load.samples_per_query)
            completions.wait((len(values_ms) + 1) * load.samples_per_query)
            now = completions.at_ns[-1][1]
            values_ms.append((now - due) / 1e6)
            if (now >= end and len(values_ms) >= plan.min_runs) or len(values_ms) >= plan.max_runs:
                break
        cpu = time.process_time() - cpu
    samples = len(values_ms) * load.samples_per_query
    return Block(np.array(values_ms), samples, (now - begin) / 1e9, cpu)


def _offline(system: System, _load: Load, plan: Plan, _: np.random.Generator) -> Block:
    begin = time.perf_counter()
    for stream in range(system.streams):
        system.infer(stream, system.batch)
    per_sample_s = (time.perf_counter() - begin) / (system.streams * system.batch)
    smallest = plan.min_runs * system.streams * system.batch
    count = min(max(smallest, round(plan.block_ms / 1e3 / per_sample_s)), plan.max_runs * system.batch)
    completions = _Completions()
    with Pool(system, completions.done) as pool:
        cpu, due = time.process_time(), time.perf_counter_ns()
        pool.submit([due] * count)
        completions.wait(count)
        cpu = time.process_time() - cpu
    return Block(completions.latencies_ms, count, (completions.at_ns[-1][1] - due) / 1e9, cpu)


def _server(system: System, load: Load, plan: Plan, rng: np.random.Generator) -> Block:
    assert load.target_qps is not None  # noqa: S101 - `Load` has checked it
    count = max(plan.min_runs, round(plan.block_ms / 1e3 * load.target_qps))
    gaps_ns = rng.exponential(1e9 / load.target_qps, count)
    completions = _Completions()
    with Pool(system, completions.done) as pool:
        cpu, begin = time.process_time(), time.perf_counter_ns()
        for due in (begin + np.cumsum(gaps_ns).astype(np.int64)).tolist():
            wait_ns = due - time.perf_counter_ns()
            if wait_ns > 0:
                time.sleep(wait_ns / 1e9)
            pool.submit([due])
        completions.wait(count)
        cpu = time.process_time() - cpu
    return Block(completions.latencies_ms, count, (completions.at_ns[-1][1] - begin) / 1e9, cpu)
