"""The measuring core: turns, warm-up, intervals, LoadGen's early stopping."""

from __future__ import annotations

import gc
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof_runtime.measure import (
    Block,
    Plan,
    early_stopping_estimate,
    early_stopping_needed,
    measure,
    median_interval,
    ratio_interval,
    take_turns,
    warm_up,
)

QUICK = Plan(turns=6, block_ms=2, untimed_ms=0, warm_up_s=0.05)


def test_contenders_take_turns_and_all_have_a_block_in_each() -> None:
    seen: list[str] = []

    def contender(name: str) -> Block:
        seen.append(name)
        return Block(np.array([1.0]), 1, 0.001, 0.0)

    blocks = take_turns({name: lambda name=name: contender(name) for name in "abc"}, turns=5)
    assert [sorted(seen[i : i + 3]) for i in range(0, 15, 3)] == [list("abc")] * 5
    assert len({tuple(seen[i : i + 3]) for i in range(0, 15, 3)}) > 1, "the order must change"
    assert {name: len(taken) for name, taken in blocks.items()} == dict.fromkeys("abc", 5)
    starts = [block.started_s for block in blocks["a"]]
    assert starts == sorted(starts)


def test_a_duration_ends_the_turns_but_never_before_the_first() -> None:
    told: list[tuple[int, int]] = []
    found = measure({"a": lambda: None}, Plan(turns=50, duration_s=0.0), on_turn=lambda *at: told.append(at))
    assert len(found["a"].blocks) == 1
    assert told == [(1, 50)]


def test_untimed_runs_come_first_and_are_not_counted() -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    found = measure({"a": call}, Plan(turns=1, min_runs=7, max_runs=7, untimed_runs=11, untimed_ms=0))["a"]
    assert found.values_ms.size == 7
    assert calls == found.warm_up.runs + 11 + 7


def test_slow_and_fast_are_told_apart_and_the_collector_is_as_before() -> None:
    found = measure({"fast": lambda: None, "slow": lambda: time.sleep(0.002)}, QUICK)
    assert gc.isenabled()
    assert found["slow"].typical_ms >= 2.0
    assert found["slow"].ratio_to(found["fast"]).estimate > 10
    assert found["slow"].throughput <= 500
    assert found["slow"].median_ci().estimate == found["slow"].summary.p50_ms


def test_warm_up_waits_for_what_gets_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0

    def lasts(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: now_s)  # a real sleep may last longer than the one before
    delays = iter([0.004, 0.002, 0.001])
    found = warm_up(lambda: lasts(next(delays, 0.0005)), Plan(block_ms=1, warm_up_s=5))
    assert found.stable
    assert found.runs > 5
    hurried = warm_up(lambda: lasts(0.01), Plan(block_ms=1, warm_up_s=0.0))
    assert (hurried.runs, hurried.stable) == (1, False)


def test_a_plan_that_measures_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        Plan(turns=0)


def test_median_interval_covers_the_median_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(80):
        # Each block is a moment of its own: what is alike within a block must not be taken for many samples.
        blocks = [rng.normal(10 + rng.normal(0, 1), 0.1, 20) for _ in range(20)]
        interval = median_interval(blocks, seed=trial)
        covered += interval.low <= 10 <= interval.high
    assert covered >= 69


@given(st.lists(st.lists(st.floats(0.01, 100), min_size=1, max_size=20), min_size=4, max_size=8))
@settings(max_examples=10)
def test_median_interval_holds_the_median(lists: list[list[float]]) -> None:
    blocks = [np.array(values) for values in lists]
    interval = median_interval(blocks)
    assert interval.estimate == np.median(np.concatenate(blocks))
    assert interval.low <= interval.estimate <= interval.high


def test_ratio_interval_of_what_was_slowed_by_a_tenth() -> None:
    rng = np.random.default_rng(0)
    moments = rng.uniform(1, 1.5, 30)
    old, new = moments * rng.normal(5, 0.02, 30), moments * rng.normal(5.5, 0.02, 30)
    paired = ratio_interval(new, old, paired=True)
    assert paired.low < 1.1 < paired.high
    assert paired.high - paired.low < 0.01, "moments are common to both and must cancel"
    unpaired = ratio_interval(new, old, paired=False)
    assert unpaired.high - unpaired.low > 0.05
    assert ratio_interval(new[:3], old[:3], paired=True).low is None


def test_early_stopping_is_loadgens() -> None:
    # What LoadGen prints as the number of queries that it needs for its p90 and p99 estimates.
    assert (early_stopping_needed(0.9), early_stopping_needed(0.99)) == (64, 662)
    assert early_stopping_estimate(np.arange(63), 0.9) is None
    assert early_stopping_estimate(np.arange(64), 0.9) == 63


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
def test_early_stopping_estimate_is_hardly_ever_below_the_percentile(quantile: float) -> None:
    rng = np.random.default_rng(1)
    true = -math.log(1 - quantile)
    n = max(200, early_stopping_needed(quantile))
    estimates = [early_stopping_estimate(rng.exponential(size=n), quantile) for _ in range(400)]
    assert np.mean([e is not None and e < true for e in estimates]) <= 0.02
