"""Latency records: exact figures, honest percentiles, bounded memory."""

from __future__ import annotations

import itertools
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof_runtime.metrics.latency import (
    STAGES,
    LatencyRecorder,
    LatencySummary,
    distribution,
    samples_needed,
    summarize,
)

LATENCIES = st.lists(st.floats(0, 1e6), max_size=400)


def test_samples_needed_are_wilks_numbers() -> None:
    assert [samples_needed(p) for p in (0.5, 0.9, 0.99, 0.999)] == [5, 29, 299, 2995]


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_samples_needed_is_the_smallest_that_reaches_the_confidence(quantile: float) -> None:
    n = samples_needed(quantile)
    assert 1 - quantile**n >= 0.95
    assert 1 - quantile ** (n - 1) < 0.95


@pytest.mark.parametrize(
    ("count", "missing"),
    [(1, {"p50", "p90", "p99"}), (4, {"p50", "p90", "p99"}), (5, {"p90", "p99"}), (28, {"p90", "p99"}),
     (29, {"p99"}), (298, {"p99"}), (299, set())],
)  # fmt: skip
def test_percentiles_appear_exactly_where_the_sample_supports_them(count: int, missing: set[str]) -> None:
    summary = summarize(np.arange(count))
    assert set(summary.unsupported) == missing
    for name in ("p50", "p90", "p99"):
        assert (getattr(summary, f"{name}_ms") is None) == (name in missing)
    for name in missing:
        assert f"{name} needs {samples_needed(float(name[1:]) / 100)}" in summary.unsupported[name]


@given(LATENCIES)
def test_summary_equals_numpy(values: list[float]) -> None:
    summary = summarize(values)
    assert summary.count == summary.sampled == len(values)
    if not values:
        assert (summary.mean_ms, summary.max_ms) == (None, None)
        return
    assert summary.mean_ms == pytest.approx(np.mean(values), rel=1e-12)
    assert summary.max_ms == max(values)
    for name, percent in (("p50", 50), ("p90", 90), ("p99", 99)):
        value = getattr(summary, f"{name}_ms")
        assert value is None or value == np.percentile(values, percent)


@given(LATENCIES)
def test_recorder_equals_summarize_until_it_thins(values: list[float]) -> None:
    recorder = LatencyRecorder()
    recorder.extend("inference", values)
    recorded, expected = recorder.summary("inference"), summarize(values)
    assert recorded.mean_ms == (None if not values else pytest.approx(expected.mean_ms, rel=1e-12))
    assert recorded.to_json() | {"mean": None} == expected.to_json() | {"mean": None}


@pytest.mark.parametrize("bad", [-0.001, float("nan"), float("inf")])
def test_what_is_no_latency_is_refused(bad: float) -> None:
    recorder = LatencyRecorder()
    with pytest.raises(ValueError, match="is not a latency"):
        recorder.add("capture", bad)
    with pytest.raises(ValueError, match="negative or not finite"):
        summarize([1.0, bad])
    assert recorder.count("capture") == 0


def test_unknown_stage_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown stage 'infer'.*inference"):
        LatencyRecorder().add("infer", 1.0)


def test_summaries_keep_the_order_of_the_stages_and_leave_out_the_unmeasured() -> None:
    recorder = LatencyRecorder()
    for stage in ("end_to_end", "inference", "capture"):
        recorder.add(stage, 1.0)
    assert list(recorder.summaries()) == [s for s in STAGES if s in ("end_to_end", "inference", "capture")]


def test_thinned_recorder_stays_exact_where_it_can_and_uniform_where_it_samples() -> None:
    recorder = LatencyRecorder(capacity=2000)
    values = np.linspace(0, 100, 50_000)
    recorder.extend("end_to_end", values)
    summary = recorder.summary("end_to_end")
    assert (summary.count, summary.sampled, summary.max_ms) == (50_000, 2000, 100.0)
    assert summary.mean_ms == pytest.approx(50.0)
    # Of 2,000 uniform draws the median's standard error is 100 * 0.5 / sqrt(2000) = 1.1.
    assert summary.p50_ms == pytest.approx(50.0, abs=5)
    assert summary.p99_ms == pytest.approx(99.0, abs=1.5)


def test_a_record_does_not_grow() -> None:
    recorder = LatencyRecorder(capacity=50_000)
    recorder.add("capture", 1.0)
    tracemalloc.start()
    try:
        recorder.extend("capture", itertools.repeat(1.0, 49_999))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert recorder.summary("capture").sampled == 50_000
    assert grown < 10_000


def test_a_reader_never_disturbs_the_writers() -> None:
    recorder = LatencyRecorder()
    latencies = [float(i) for i in range(20_000)]
    writers = [threading.Thread(target=recorder.extend, args=(stage, latencies)) for stage in STAGES]
    for thread in writers:
        thread.start()
    while any(thread.is_alive() for thread in writers):
        for summary in recorder.summaries().values():
            assert summary.sampled <= summary.count
    # pytest turns an exception in a thread into a failure of the test.
    assert [recorder.count(stage) for stage in STAGES] == [20_000] * len(STAGES)


def test_a_percentile_cannot_be_missing_without_a_reason() -> None:
    with pytest.raises(ValueError, match="p99"):
        LatencySummary(500, 1.0, 1.0, 1.0, None, 1.0, {}, 500)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=3000))
def test_distribution_is_a_distribution_and_keeps_the_ends(values: list[float]) -> None:
    thinned = distribution(values, points=100)
    assert len(thinned["ms"]) == len(thinned["share"]) <= 100
    assert thinned["ms"] == sorted(thinned["ms"])
    assert thinned["share"] == sorted(thinned["share"])
    assert thinned["ms"][0] == min(values)
    assert thinned["ms"][-1] == max(values)
    assert thinned["share"][-1] == 1.0
    for ms, share in zip(thinned["ms"], thinned["share"], strict=True):
        assert sum(v < ms for v in values) / len(values) < share <= sum(v <= ms for v in values) / len(values) + 1e-9


def test_distribution_of_nothing_is_empty() -> None:
    assert distribution([]) == {"ms": [], "share": []}
