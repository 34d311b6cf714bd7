"""MLCommons' LoadGen as the driver of a scenario, in slices of a second or less, so that systems can be interleaved."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import UnavailableError
from edgeproof_runtime.measure.scenarios import Load, Pool, System
from edgeproof_runtime.measure.turns import Block, Plan

__all__ = ["LoadGen", "Slice", "unavailable_reason"]

_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_LINE = re.compile(r"^(\d+\.\d+) percentile latency \(ns\) *: *(\d+)$", re.MULTILINE)
_VERDICT = re.compile(r"^Result is *: *(\w+)$", re.MULTILINE)
_FEWEST_QUERIES = 5


def unavailable_reason() -> str | None:
    """Return why LoadGen is not available; None if it is."""
    try:
        import mlperf_loadgen  # noqa: F401
    except ImportError as error:
        return f"{error}: pip install mlcommons-loadgen"
    return None


@dataclass(frozen=True, slots=True)
class Slice:
    """One test run of LoadGen.

    Attributes:
        queries: queries issued.
        valid: whether LoadGen calls the run valid; for slices this short it often does not.
        theirs_ms: percentile -> latency in LoadGen's summary, ms.
        ours_ms: percentile -> the same order statistic of the same queries by our clock, read in the callback, ms.
    """

    queries: int
    valid: bool
    theirs_ms: dict[str, float]
    ours_ms: dict[str, float]


class LoadGen:
    """LoadGen driving one system; `block` is a contender for `take_turns`.

    Args:
        system: system under test.
        load: scenario and its parameters.
        plan: ``block_ms`` is the length of a slice; LoadGen adds about 35 ms to start and end one.

    Raises:
        UnavailableError: LoadGen is not installed.
    """

    def __init__(self, system: System, load: Load, plan: Plan) -> None:
        if (reason := unavailable_reason()) is not None:
            raise UnavailableError("LoadGen: not available", got=reason, fix="--driver builtin")
        import mlperf_loadgen

        self._lg: Any = mlperf_loadgen
        self._system, self._load, self._plan = system, load, plan
        self.slices: list[Slice] = []

    @staticmethod
    def version() -> str:
        """Return the version of the installed LoadGen."""
        return metadata.version("mlcommons-loadgen")

    def block(self) -> Block:
        """Run one slice."""
        system, plan = self._system, self._plan
        begin = time.perf_counter()
        for _ in range(max(1, plan.untimed_runs)):
            for stream in range(system.streams):
                system.infer(stream, system.batch)
        expected_s = (time.perf_counter() - begin) / max(1, plan.untimed_runs)
        recorder = _Recorder()
        inline = self._load.scenario == "single-stream"
        if inline:
            issue: Callable[[Sequence[Any]], None] = lambda samples: self._run_inline(samples, recorder)  # noqa: E731
            summary, cpu = self._test(issue, expected_s)
        else:
            with Pool(system, lambda items: self._complete(items, recorder)) as pool:
                summary, cpu = self._test(lambda samples: _submit(pool, samples, recorder), expected_s)
        values_ms = recorder.latencies_ms(per_query=self._load.scenario == "multi-stream")
        self.slices.append(_slice(summary, values_ms))
        return Block(values_ms, recorder.samples, recorder.elapsed_s, cpu)

    def _run_inline(self, samples: Sequence[Any], recorder: _Recorder) -> None:
        started = time.perf_counter_ns()
        self._system.infer(0, 1)
        self._lg.QuerySamplesComplete([self._lg.QuerySampleResponse(samples[0].id, 0, 0)])
        recorder.add(started, time.perf_counter_ns(), 0)

    def _complete(self, items: Sequence[tuple[int, int, int]], recorder: _Recorder) -> None:
        self._lg.QuerySamplesComplete([self._lg.QuerySampleResponse(item[0], 0, 0) for item in items])
        now = time.perf_counter_ns()
        for _, issued, query in items:
            recorder.add(issued, now, query)

    def _test(self, issue: Callable[[Sequence[Any]], None], expected_s: float) -> tuple[str, float]:
        lg = self._lg
        failed: list[BaseException] = []

        def guarded(samples: Sequence[Any]) -> None:
            # An exception must not cross LoadGen's C++ threads: complete the query and raise the error afterwards.
            try:
                if not failed:
                    issue(samples)
                    return
            except BaseException as error:
                failed.append(error)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0) for sample in samples])

        with tempfile.TemporaryDirectory(prefix="edgeproof-loadgen-") as folder:
            output = lg.LogOutputSettings()
            output.outdir = folder
            output.copy_summary_to_stdout = False
            log = lg.LogSettings()
            log.log_output = output
            log.enable_trace = False
            sut = lg.ConstructSUT(guarded, lambda: None)
            library = lg.ConstructQSL(1024, 1024, lambda _: None, lambda _: None)
            try:
                cpu = time.process_time()
                lg.StartTestWithLogSettings(sut, library, self._settings(expected_s), log, "")
                cpu = time.process_time() - cpu
            finally:
                lg.DestroyQSL(library)
                lg.DestroySUT(sut)
            if failed:
                raise failed[0]
            return (Path(folder) / "mlperf_log_summary.txt").read_text(encoding="utf-8"), cpu

    def _settings(self, expected_s: float) -> Any:
        lg, load, plan = self._lg, self._load, self._plan
        settings = lg.TestSettings()
        settings.scenario = {
            "single-stream": lg.TestScenario.SingleStream,
            "multi-stream": lg.TestScenario.MultiStream,
            "offline": lg.TestScenario.Offline,
            "server": lg.TestScenario.Server,
        }[load.scenario]
        settings.mode = lg.TestMode.PerformanceOnly
        settings.min_duration_ms = round(plan.block_ms)
        settings.min_query_count = _FEWEST_QUERIES
        per_sample_s = expected_s / (self._system.streams * self._system.batch)
        settings.single_stream_expected_latency_ns = max(1, round(expected_s * 1e9))
        settings.multi_stream_expected_latency_ns = max(1, round(per_sample_s * load.samples_per_query * 1e9))
        settings.multi_stream_samples_per_query = load.samples_per_query
        settings.offline_expected_qps = 1 / per_sample_s
        if load.target_qps is not None:
            settings.server_target_qps = load.target_qps
            settings.server_target_latency_ns = round((load.latency_bound_ms or 1e3) * 1e6)
        return settings


class _Recorder:
    """When each sample was issued and completed, by our clock."""

    def __init__(self) -> None:
        self._times: list[tuple[int, int, int]] = []
        self.queries = 0

    def add(self, issued_ns: int, completed_ns: int, query: int) -> None:
        self._times.append((issued_ns, completed_ns, query))

    @property
    def samples(self) -> int:
        return len(self._times)

    @property
    def elapsed_s(self) -> float:
        """Seconds from the first query to the last completion; LoadGen's start and end are not the system's time."""
        return (max(completed for _, completed, _ in self._times) - min(issued for issued, _, _ in self._times)) / 1e9

    def latencies_ms(self, *, per_query: bool) -> NDArray[np.float64]:
        if not per_query:
            return np.array([completed - issued for issued, completed, _ in self._times], np.float64) / 1e6
        slowest: dict[int, int] = {}
        for issued, completed, query in self._times:
            slowest[query] = max(slowest.get(query, 0), completed - issued)
        return np.array(list(slowest.values()), np.float64) / 1e6


def _submit(pool: Pool, samples: Sequence[Any], recorder: _Recorder) -> None:
    now, query = time.perf_counter_ns(), recorder.queries
    recorder.queries += 1
    pool.submit([(sample.id, now, query) for sample in samples])


def _slice(summary: str, values_ms: NDArray[np.float64]) -> Slice:
    theirs = {float(percent) / 100: int(ns) / 1e6 for percent, ns in _LINE.findall(summary)}
    ordered = np.sort(values_ms)
    verdict = _VERDICT.search(summary)
    return Slice(
        queries=len(ordered),
        valid=verdict is not None and verdict.group(1) == "VALID",
        theirs_ms={name: theirs[p] for name, p in _PERCENTILES.items() if p in theirs},
        # LoadGen takes the order statistic at floor(n p), without interpolation.
        ours_ms={name: float(ordered[int(len(ordered) * p)]) for name, p in _PERCENTILES.items()},
    )
