"""Results of a benchmark, as plain records for the report's ``bench``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeproof_runtime.bench.systems import Configuration
from edgeproof_runtime.engines import EngineInfo
from edgeproof_runtime.measure import Timing, early_stopping_estimate, early_stopping_needed, median_interval
from edgeproof_runtime.metrics.intervals import Interval
from edgeproof_runtime.metrics.latency import LatencySummary, distribution

__all__ = ["BenchRecord", "Measured", "blocks_to_json"]

_EARLY_STOPPING = {"p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Measurements of one configuration.

    Attributes:
        configuration: the configuration.
        info: description of its engine.
        timing: its timed blocks.
        stages: latencies of whole frames by stage: preprocess, inference, postprocess, end_to_end; may be empty.
        device_ms: summaries of the GPU's own times by trtexec's names; None without GPU events.
        graph_share: share of the timed runs that launched a CUDA graph, 0..1; None for engines that capture none.
        energy_mj: energy per sample, millijoules; None if not available.
        loadgen: version, slices and agreement of LoadGen; None for the built-in driver.
        accuracy: top-1 accuracy on labelled data, with interval and n; None without data.
        over_latency: server queries slower than the bound; None in other scenarios.
    """

    configuration: Configuration
    info: EngineInfo
    timing: Timing
    stages: Mapping[str, LatencySummary] = field(default_factory=dict)
    device_ms: Mapping[str, LatencySummary] | None = None
    graph_share: float | None = None
    energy_mj: float | None = None
    loadgen: Mapping[str, Any] | None = None
    accuracy: Mapping[str, Any] | None = None
    over_latency: int | None = None

    @property
    def name(self) -> str:
        """Return the configuration's name."""
        return self.configuration.name

    @property
    def throughput_fps(self) -> float:
        """Return the throughput, samples per second."""
        return self.timing.throughput

    @property
    def top1(self) -> float | None:
        """Return top-1 accuracy; None without labelled data."""
        return None if self.accuracy is None else float(self.accuracy["top1"])

    @property
    def cpu_ms_per_sample(self) -> float | None:
        """Return CPU time of this process per sample, ms; None for imported times."""
        cpu_s = sum(block.cpu_s for block in self.timing.blocks)
        return None if math.isnan(cpu_s) else 1e3 * cpu_s / sum(block.samples for block in self.timing.blocks)

    def throughput_ci(self) -> Interval:
        """Return the throughput with the bootstrap interval of the blocks' median."""
        rates = [np.array([block.samples / block.elapsed_s]) for block in self.timing.blocks]
        interval = median_interval(rates)
        return Interval(self.throughput_fps, interval.low, interval.high)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        timing, values_ms = self.timing, self.timing.values_ms
        interval, rate = timing.median_ci(), self.throughput_ci()
        return {
            "name": self.name,
            "engine": self.configuration.engine,
            "engine_version": self.info.version,
            "device": self.info.device,
            "details": dict(self.info.details),
            "precision": self.configuration.precision,
            "batch": self.configuration.batch,
            "threads": self.configuration.threads,
            "threads_used": self.info.threads,
            "streams": self.configuration.streams,
            "latency_ms": timing.summary.to_json(),
            "median_ci95_ms": [interval.low, interval.high],
            "early_stopping_ms": {name: early_stopping_estimate(values_ms, p) for name, p in _EARLY_STOPPING.items()},
            "early_stopping_needs": {name: early_stopping_needed(p) for name, p in _EARLY_STOPPING.items()},
            "distribution_ms": distribution(values_ms),
            "throughput_fps": self.throughput_fps,
            "throughput_ci95_fps": [rate.low, rate.high],
            "cpu_ms_per_sample": self.cpu_ms_per_sample,
            "stages_ms": {name: summary.to_json() for name, summary in self.stages.items()},
            "device_ms": None if self.device_ms is None else {k: v.to_json() for k, v in self.device_ms.items()},
            "graph_share": self.graph_share,
            "energy_mj": self.energy_mj,
            "loadgen": self.loadgen,
            "accuracy": self.accuracy,
            "over_latency": self.over_latency,
            "warm_up": {
                "runs": timing.warm_up.runs,
                "seconds": timing.warm_up.seconds,
                "stable": timing.warm_up.stable,
            },
            "blocks": blocks_to_json(timing),
        }


def blocks_to_json(timing: Timing) -> dict[str, list[float | None]]:
    """Return the blocks as columns, the input of `compare`."""
    return {
        "started_s": [block.started_s for block in timing.blocks],
        "queries": [block.values_ms.size for block in timing.blocks],
        "fastest_ms": [float(block.values_ms.min()) for block in timing.blocks],
        "median_ms": [float(np.median(block.values_ms)) for block in timing.blocks],
        "throughput_fps": [block.samples / block.elapsed_s for block in timing.blocks],
        "cpu_ms_per_sample": [
            None if math.isnan(block.cpu_s) else 1e3 * block.cpu_s / block.samples for block in timing.blocks
        ],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRecord:
    """Results of a benchmark.

    Attributes:
        scenario, driver: scenario and its driver.
        settings: settings of the scenario and the plan.
        measured: every configuration, in the requested order.
        null: measurements of the null engine; None for imported times.
        yardsticks: blocks of the reference engines as JSON, timed in the same rounds; `compare` divides by them.
        conditions: clocks, temperature, host load and throttling over time.
        power: source of the energy, or why it is not available.
        left_out: reasons for configurations that could not run, by name.
        front: names on the Pareto front.
        answer: recommendation for the target; None without a target.
    """

    scenario: str
    driver: str
    settings: Mapping[str, Any]
    measured: Sequence[Measured]
    null: Measured | None
    yardsticks: Sequence[Mapping[str, Any]]
    conditions: Mapping[str, Any]
    power: Mapping[str, Any]
    left_out: Mapping[str, str] = field(default_factory=dict)
    front: Sequence[str] = ()
    answer: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        null = self.null
        return {
            "scenario": self.scenario,
            "driver": self.driver,
            "settings": dict(self.settings),
            "configurations": [{**one.to_json(), "on_front": one.name in self.front} for one in self.measured],
            "null": None if null is None else null.to_json(),
            "yardsticks": [dict(one) for one in self.yardsticks],
            "conditions": dict(self.conditions),
            "power": dict(self.power),
            "left_out": dict(self.left_out),
            "answer": self.answer,
        }
