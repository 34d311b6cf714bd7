"""Benchmark configurations of a bundle in interleaved rounds, and check their outputs while they are timed."""

from edgeproof_runtime.bench.answer import Wanted, pareto, recommend
from edgeproof_runtime.bench.record import BenchRecord, Measured
from edgeproof_runtime.bench.run import BenchOptions, bench_bundle
from edgeproof_runtime.bench.systems import Configuration, configurations

__all__ = [
    "BenchOptions",
    "BenchRecord",
    "Configuration",
    "Measured",
    "Wanted",
    "bench_bundle",
    "configurations",
    "pareto",
    "recommend",
]
