"""Callables timed in interleaved rounds, after a warm-up, so that all meet the same conditions."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.metrics.intervals import Interval, median_interval, ratio_interval
from edgeproof_runtime.metrics.latency import LatencySummary, summarize

__all__ = ["Block", "Plan", "Timing", "WarmUp", "measure", "take_turns", "timed_block", "warm_up"]

_STABLE_WITHIN = 0.03  # warm-up goes on while a window's fastest run beats all earlier ones by this share


@dataclass(frozen=True, slots=True)
class Plan:
    """How `measure` spends its time.

    Attributes:
        turns: most rounds; every contender runs one block in each.
        duration_s: latest start of a round, seconds after the first; None limits by `turns` alone.
        block_ms: target length of a block, ms.
        min_runs: fewest timed runs per block.
        max_runs: most timed runs per block.
        untimed_ms: shortest time of untimed runs at the start of each block, ms. The threads of the previous engine
            spin for a while after its last run and take cores from the next.
        untimed_runs: fewest untimed runs at the start of each block.
        warm_up_s: longest warm-up per contender before the first round, seconds.
    """

    turns: int = 20
    duration_s: float | None = None
    block_ms: float = 50.0
    min_runs: int = 5
    max_runs: int = 1000
    untimed_ms: float = 3.0
    untimed_runs: int = 3
    warm_up_s: float = 3.0

    def __post_init__(self) -> None:
        if self.turns < 1 or not 1 <= self.min_runs <= self.max_runs or self.untimed_runs < 0:
            raise ValueError(f"plan: turns, min_runs, max_runs or untimed_runs out of range: {self}")


@dataclass(frozen=True, slots=True)
class Block:
    """One contender's runs in one round.

    Attributes:
        values_ms: float64, latency of each query in order, ms.
        samples: samples in all queries together.
        elapsed_s: wall time from the first query to the last completion, seconds.
        cpu_s: CPU time of the whole process, spinning threads included, seconds; NaN if not measured.
        started_s: start of the block, seconds since the first round.
    """

    values_ms: NDArray[np.float64]
    samples: int
    elapsed_s: float
    cpu_s: float
    started_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Runs before the first round; ``stable`` is whether they had stopped getting faster."""

    runs: int
    seconds: float
    stable: bool


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender's blocks, in the order of the rounds."""

    name: str
    blocks: tuple[Block, ...]
    warm_up: WarmUp

    @property
    def values_ms(self) -> NDArray[np.float64]:
        """Latency of every query in order, ms."""
        return np.concatenate([block.values_ms for block in self.blocks])

    @property
    def summary(self) -> LatencySummary:
        """Mean and percentiles of the latency, ms."""
        return summarize(self.values_ms)

    @property
    def block_fastest_ms(self) -> NDArray[np.float64]:
        """The fastest query of each block, ms; host load can only add time."""
        return np.array([block.values_ms.min() for block in self.blocks])

    @property
    def typical_ms(self) -> float:
        """Median over the blocks of the fastest query of each, ms: the figure that host load changes least."""
        return float(np.median(self.block_fastest_ms))

    @property
    def throughput(self) -> float:
        """Samples per second over all blocks."""
        elapsed_s = sum(block.elapsed_s for block in self.blocks)
        return sum(block.samples for block in self.blocks) / elapsed_s

    def median_ci(self) -> Interval:
        """Return the median latency in milliseconds with its 95 % bootstrap interval over blocks."""
        return median_interval([block.values_ms for block in self.blocks])

    def ratio_to(self, other: Timing) -> Interval:
        """Return this time over the other's, round by round (both of the same `measure`): 2 means half as fast."""
        return ratio_interval(self.block_fastest_ms, other.block_fastest_ms, paired=True)


def measure(
    calls: Mapping[str, Callable[[], object]],
    plan: Plan = Plan(),
    *,
    on_turn: Callable[[int, int], None] | None = None,
) -> dict[str, Timing]:
    """Time callables in interleaved rounds.

    Each is warmed up until it stops getting faster; then each runs one block in every round, in random order.
    The clock is `time.perf_counter_ns`, which is monotonic. The garbage collector is disabled meanwhile.

    Args:
        calls: name -> callable to time. Add an empty function to measure the overhead of the harness.
        plan: lengths and numbers of blocks and rounds.
        on_turn: called with (rounds done, rounds planned).
    """
    warmed = {name: warm_up(call, plan) for name, call in calls.items()}
    contenders = {name: timed_block(call, plan) for name, call in calls.items()}
    blocks = take_turns(contenders, turns=plan.turns, duration_s=plan.duration_s, on_turn=on_turn)
    return {name: Timing(name, blocks[name], warmed[name]) for name in calls}


def warm_up(call: Callable[[], object], plan: Plan = Plan()) -> WarmUp:
    """Call until two windows in a row have no faster run, or until ``plan.warm_up_s`` is over."""
    begin = time.perf_counter()
    fastest_s = float("inf")
    runs = calm = 0
    while calm < 2:
        window_s = float("inf")
        window_end = time.perf_counter() + plan.block_ms / 1e3
        for _ in range(plan.max_runs):
            started = time.perf_counter()
            call()
            ended = time.perf_counter()
            window_s = min(window_s, ended - started)
            runs += 1
            if ended >= window_end:
                break
        calm = calm + 1 if window_s > (1 - _STABLE_WITHIN) * fastest_s else 0
        fastest_s = min(fastest_s, window_s)
        if time.perf_counter() - begin >= plan.warm_up_s:
            break
    return WarmUp(runs, time.perf_counter() - begin, calm >= 2)


def timed_block(
    call: Callable[[], object],
    plan: Plan = Plan(),
    *,
    samples_per_call: int = 1,
) -> Callable[[], Block]:
    """Return a contender for `take_turns` that calls ``call`` repeatedly for one block."""

    def block() -> Block:
        clock = time.perf_counter_ns
        settled = clock() + round(plan.untimed_ms * 1e6)
        runs = 0
        while runs < plan.untimed_runs or clock() < settled:
            call()
            runs += 1
        times_ns: list[int] = []
        cpu = time.process_time()
        begin = clock()
        end = begin + round(plan.block_ms * 1e6)
        while True:
            started = clock()
            call()
            now = clock()
            times_ns.append(now - started)
            count = len(times_ns)
            if (now >= end and count >= plan.min_runs) or count >= plan.max_runs:
                break
        cpu = time.process_time() - cpu
        values_ms = np.array(times_ns, np.float64) / 1e6
        return Block(values_ms, count * samples_per_call, (now - begin) / 1e9, cpu)

    return block


def take_turns(
    contenders: Mapping[str, Callable[[], Block]],
    *,
    turns: int,
    duration_s: float | None = None,
    on_turn: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[Block, ...]]:
    """Run one block of every contender in each round, in random order.

    Args:
        contenders: name -> function that runs one block.
        turns: most rounds.
        duration_s: latest start of a round, seconds after the first; None limits by `turns` alone.
        on_turn: called with (rounds done, rounds planned).

    Returns:
        Name -> its blocks; all contenders have the same number of blocks.
    """
    blocks: dict[str, list[Block]] = {name: [] for name in contenders}
    order: Sequence[str] = list(contenders)
    rng = random.Random(0)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        begin = time.perf_counter()
        for turn in range(turns):
            if turn and duration_s is not None and time.perf_counter() - begin >= duration_s:
                break
            order = rng.sample(order, len(order))
            for name in order:
                started_s = time.perf_counter() - begin
                blocks[name].append(replace(contenders[name](), started_s=started_s))
            if on_turn is not None:
                on_turn(turn + 1, turns)
    finally:
        if collecting:
            gc.enable()
    return {name: tuple(taken) for name, taken in blocks.items()}
