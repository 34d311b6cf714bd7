"""Callables timed side by side: warmed up until stable, then in turns, so that all meet the same moments."""

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

_STABLE_WITHIN = 0.03  # a window whose fastest run is not this much faster than all before has nothing left to warm


@dataclass(frozen=True, slots=True)
class Plan:
    """How `measure` spends its time.

    Attributes:
        turns: at most so many; every contender has one block in each.
        duration_s: no turn begins later than this after the first; None means that only `turns` counts.
        block_ms: a block lasts about this long, but has at least
        min_runs: timed runs, and at most
        max_runs.
        untimed_ms: every block begins with runs that are not timed, at least this long and at least
        untimed_runs: of them: engines' threads spin for a while after a run, and take the cores of the next one.
        warm_up_s: at most so long before the first turn, for each contender.
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
            raise ValueError(f"a plan that measures nothing: {self}")


@dataclass(frozen=True, slots=True)
class Block:
    """What one contender did in one turn.

    Attributes:
        values_ms: float64, latency of each query, in order.
        samples: how many samples the queries had together.
        elapsed_s: wall time from the first query to the last answer.
        cpu_s: CPU time that the whole process took meanwhile, spinning threads included; NaN where nobody measured it.
        started_s: when it began, seconds since the first turn.
    """

    values_ms: NDArray[np.float64]
    samples: int
    elapsed_s: float
    cpu_s: float
    started_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Runs before the first turn; ``stable`` says whether they had stopped getting faster."""

    runs: int
    seconds: float
    stable: bool


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender's blocks, in the order of the turns."""

    name: str
    blocks: tuple[Block, ...]
    warm_up: WarmUp

    @property
    def values_ms(self) -> NDArray[np.float64]:
        """Latency of every query, in order."""
        return np.concatenate([block.values_ms for block in self.blocks])

    @property
    def summary(self) -> LatencySummary:
        """Mean and percentiles, as everywhere in the project."""
        return summarize(self.values_ms)

    @property
    def block_fastest_ms(self) -> NDArray[np.float64]:
        """The fastest query of each block: what else a machine does only ever adds time."""
        return np.array([block.values_ms.min() for block in self.blocks])

    @property
    def typical_ms(self) -> float:
        """Median over the blocks of the fastest query of each: one figure that other load moves least."""
        return float(np.median(self.block_fastest_ms))

    @property
    def throughput(self) -> float:
        """Samples per second over all blocks."""
        elapsed_s = sum(block.elapsed_s for block in self.blocks)
        return sum(block.samples for block in self.blocks) / elapsed_s

    def median_ci(self) -> Interval:
        """The median latency in milliseconds with its 95 % bootstrap interval over blocks."""
        return median_interval([block.values_ms for block in self.blocks])

    def ratio_to(self, other: Timing) -> Interval:
        """This time over the other's, turn by turn (both of the same `measure`): 2 means half as fast."""
        return ratio_interval(self.block_fastest_ms, other.block_fastest_ms, paired=True)


def measure(
    calls: Mapping[str, Callable[[], object]],
    plan: Plan = Plan(),
    *,
    on_turn: Callable[[int, int], None] | None = None,
) -> dict[str, Timing]:
    """Time callables side by side.

    Each is warmed up until it stops getting faster; then all have a block of runs in every turn, in random order.
    The clock is `time.perf_counter_ns`, which is monotonic; the garbage collector rests meanwhile.

    Args:
        calls: name -> what to time. Beside engines, give an empty function to see what the harness itself costs.
        plan: how long.
        on_turn: is told (turns done, turns planned).
    """
    warmed = {name: warm_up(call, plan) for name, call in calls.items()}
    contenders = {name: timed_block(call, plan) for name, call in calls.items()}
    blocks = take_turns(contenders, turns=plan.turns, duration_s=plan.duration_s, on_turn=on_turn)
    return {name: Timing(name, blocks[name], warmed[name]) for name in calls}


def warm_up(call: Callable[[], object], plan: Plan = Plan()) -> WarmUp:
    """Call until two windows in a row bring no faster run, or ``plan.warm_up_s`` is over."""
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
    """A contender for `take_turns` that calls ``call`` over and over for one block."""

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
    """One block of every contender in each turn, in random order.

    Args:
        contenders: name -> runs one block.
        turns: at most so many.
        duration_s: no turn begins later than this after the first.
        on_turn: is told (turns done, turns planned).

    Returns:
        Name -> its blocks; all contenders have the same number of them.
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
