"""Timing of callables: warm-up, interleaved rounds, intervals, load scenarios, host conditions and energy."""

from edgeproof_runtime.measure.turns import Block, Plan, Timing, WarmUp, measure, take_turns, timed_block, warm_up
from edgeproof_runtime.metrics.intervals import (
    Interval,
    early_stopping_estimate,
    early_stopping_needed,
    median_interval,
    ratio_interval,
)

__all__ = [
    "Block",
    "Interval",
    "Plan",
    "Timing",
    "WarmUp",
    "early_stopping_estimate",
    "early_stopping_needed",
    "measure",
    "median_interval",
    "ratio_interval",
    "take_turns",
    "timed_block",
    "warm_up",
]
