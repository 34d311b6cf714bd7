"""Recommend a configuration: the Pareto front, and the best choice for a target rate and latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeproof_runtime.bench.record import Measured
from edgeproof_runtime.metrics.gate import Gate

__all__ = ["Wanted", "pareto", "recommend"]

_PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Target: lowest frames per second, and highest latency from frame to prediction, ms."""

    fps: float | None = None
    latency_ms: float | None = None


def pareto(measured: Sequence[Measured]) -> list[str]:
    """Return the names of the configurations on the Pareto front of latency, throughput and accuracy.

    If accuracy was not measured, fp32 counts as more accurate than fp16, and fp16 as more accurate than int8.
    """
    points = {one.name: _point(one) for one in measured}
    return [name for name, point in points.items() if not any(_beats(other, point) for other in points.values())]


def _point(one: Measured) -> tuple[float, float, float]:
    accuracy = one.top1 if one.top1 is not None else -_PRECISIONS.index(one.configuration.precision)
    return (-one.timing.median_ci().estimate, one.throughput_fps, accuracy)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def recommend(measured: Sequence[Measured], wanted: Wanted) -> tuple[Gate, dict[str, Any]]:
    """Return the recommended configuration, and the gate on whether it meets the target.

    A frame's latency is its 99th percentile (90th if the sample supports no more) plus the wait for a full batch at the
    target rate. Of the configurations that meet the target, the most accurate wins, then the one with the least CPU
    time.

    Args:
        measured: at least one configuration, all with correct outputs.
        wanted: target with at least one bound.
    """
    ranked = sorted(measured, key=lambda one: _rank(one, wanted))
    best = ranked[0]
    latency_ms, percentile = _latency_ms(best, wanted)
    gate = Gate.judge(
        "wanted",
        f"{best.name} with the target",
        {"fps": best.throughput_fps, "latency_ms": latency_ms},
        at_least={"fps": wanted.fps} if wanted.fps is not None else None,
        at_most={"latency_ms": wanted.latency_ms} if wanted.latency_ms is not None else None,
    )
    answer = {
        "wanted_fps": wanted.fps,
        "wanted_latency_ms": wanted.latency_ms,
        "fulfilled": gate.passed,
        "use": best.name,
        "throughput_fps": best.throughput_fps,
        "latency_ms": latency_ms,
        "percentile": percentile,
        "fulfilling": [one.name for one in ranked if _missed(one, wanted) == 0],
        "flags": _flags(best),
    }
    return gate, answer


def _rank(one: Measured, wanted: Wanted) -> tuple[float, ...]:
    accuracy, precision = one.top1 or 0.0, _PRECISIONS.index(one.configuration.precision)
    samples = sum(block.samples for block in one.timing.blocks)
    cpu_s = sum(block.cpu_s for block in one.timing.blocks) / samples
    return (_missed(one, wanted), -accuracy, precision, cpu_s)


def _missed(one: Measured, wanted: Wanted) -> float:
    """Return 0 if the target is met, else the ratio by which the worse bound is missed."""
    latency_ms, _ = _latency_ms(one, wanted)
    late = latency_ms / wanted.latency_ms if wanted.latency_ms is not None else 0.0
    slow = wanted.fps / one.throughput_fps if wanted.fps is not None else 0.0
    return max(late, slow) if max(late, slow) > 1 else 0.0


def _latency_ms(one: Measured, wanted: Wanted) -> tuple[float, str]:
    summary = one.timing.summary
    filling_ms = 1e3 * (one.configuration.batch - 1) / wanted.fps if wanted.fps else 0.0
    for name, value_ms in (("p99", summary.p99_ms), ("p90", summary.p90_ms), ("max", summary.max_ms)):
        if value_ms is not None:
            return value_ms + filling_ms, name
    raise ValueError(f"{one.name}: not measured")


def _flags(one: Measured) -> str:
    chosen = one.configuration
    threads = f" --threads {chosen.threads}" if chosen.threads is not None else ""
    streams = f", {chosen.streams} in parallel" if chosen.streams > 1 else ""
    batch = f", in batches of {chosen.batch}" if chosen.batch > 1 else ""
    return f"--engine {chosen.engine} --precision {chosen.precision}{threads}{streams}{batch}"
