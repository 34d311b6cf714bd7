"""The plots of a report and their sizes. Each is drawn twice, for a wide and for a narrow screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgeproof.report import (
    anomaly_plots,
    bench_plots,
    hop_plots,
    layer_plots,
    optimize_plots,
    plots,
    soak_plots,
    training_plots,
)
from edgeproof.report.svg import Draw, Plotter

__all__ = ["Figures", "Pair", "figures"]

_FULL, _HALF, _PHONE = 1000, 484, 350


@dataclass(frozen=True, slots=True)
class Pair:
    """One plot in two widths; the page shows the one that fits the screen."""

    wide: Markup
    narrow: Markup


@dataclass(frozen=True, slots=True)
class BenchFigures:
    """The plots of a benchmark."""

    cdf: Pair
    trade_off: Pair | None
    trade_off_note: str
    stages: Pair | None
    over_time: Pair | None


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """The plots of layers: one of their numbers, and one for each engine of their times."""

    drift: Pair | None
    times: list[Pair]


@dataclass(frozen=True, slots=True)
class Figures:
    """The plots of one report; None for a plot without data."""

    stage_bars: Pair | None
    distributions: Pair | None
    timeline: Pair | None
    per_class: Pair | None
    per_class_note: str
    confusion: Pair | None
    learning: Pair | None
    reliability: Pair | None
    soak: Pair | None
    bench: BenchFigures | None
    trade_off: Pair | None
    hops: Pair | None
    layers: LayerFigures | None
    scores: Pair | None


def figures(report: Mapping[str, Any]) -> Figures:
    """Draw every plot that the report has data for."""
    plotter = Plotter()

    def pair(draw: Draw, width: int, height: int, phone_height: int) -> Pair:
        # Matplotlib's XML writer has escaped the labels; the rest of the SVG is its own.
        return Pair(
            Markup(plotter.render(draw, width=width, height=height)),  # noqa: S704
            Markup(plotter.render(draw, width=_PHONE, height=phone_height, narrow=True)),  # noqa: S704
        )

    latency, timeline, accuracy = report["latency_ms"], report["timeline"], report["accuracy"]
    spread, matrix = report["distribution_ms"], accuracy["confusion"] if accuracy else None
    classes = plots.telling(accuracy["per_class"]) if accuracy else []
    bar_height = 90 + 36 * len(latency)
    class_height = 80 + 22 * max(4, min(len(classes), plots.CLASSES_SHOWN))
    median = latency["end_to_end"]["p50"] if "end_to_end" in latency else None
    training = report["training"] or {}
    soak = report["soak"]
    anomaly = report["anomaly"]
    score_height = 90 + 44 * len(anomaly["scores"]) if anomaly else 0
    optimization, walk = report["optimization"], report["hops"]
    history, calibration = training.get("history") or [], training.get("calibration")
    return Figures(
        stage_bars=pair(plots.stage_bars(latency), _HALF, bar_height, bar_height) if latency else None,
        distributions=pair(plots.distributions(spread), _HALF, 310, 310) if spread else None,
        timeline=pair(plots.timeline(timeline, median), _FULL, 300, 290) if timeline and timeline["time_s"] else None,
        per_class=pair(plots.per_class(classes), _HALF, class_height, class_height) if len(classes) > 1 else None,
        per_class_note=_classes_note(len(classes), len(accuracy["per_class"])) if accuracy else "",
        confusion=pair(plots.confusion(matrix), _HALF, 470, 370) if matrix and len(matrix["labels"]) > 1 else None,
        learning=pair(training_plots.learning(history), _FULL, 320, 420) if history else None,
        trade_off=pair(optimize_plots.trade_off(optimization), _FULL, 380, 380)
        if optimization and optimize_plots.timed_points(optimization)
        else None,
        hops=pair(hop_plots.hop_chain(walk), _FULL, *2 * (90 + 40 * len(walk["hops"]),)) if walk else None,
        layers=_layers(report["layers"], pair) if report["layers"] else None,
        bench=_bench(report["bench"], pair) if report["bench"] else None,
        soak=pair(soak_plots.soak(soak), _FULL, *_soak_heights(soak)) if soak and soak["time_s"] else None,
        scores=pair(anomaly_plots.scores(anomaly), _FULL, score_height, score_height) if anomaly else None,
        reliability=pair(training_plots.reliability(calibration), _HALF, 360, 330) if calibration else None,
    )


def _bench(bench: Mapping[str, Any], pair: Callable[[Draw, int, int, int], Pair]) -> BenchFigures:
    shown = bench["configurations"]
    legend = 20 * min(len(shown), bench_plots.MOST)
    staged = [one for one in shown if one["stages_ms"]][: bench_plots.MOST]
    bars = 110 + 34 * len(staged)
    half = (_HALF, 300 + legend, 300 + legend)
    note = "accuracy against latency" if all(one["accuracy"] for one in shown) else "rate against latency"
    timed = bool(bench["conditions"])
    return BenchFigures(
        cdf=pair(bench_plots.cdf(shown), *half),
        trade_off=pair(bench_plots.trade_off(shown), *half) if len(shown) > 1 else None,
        trade_off_note=note,
        stages=pair(bench_plots.stages(shown), _FULL, bars, bars) if staged else None,
        over_time=pair(bench_plots.over_time(bench), _FULL, 440 + legend // 2, 440 + legend) if timed else None,
    )


def _layers(layers: Mapping[str, Any], pair: Callable[[Draw, int, int, int], Pair]) -> LayerFigures:
    drift, times = layers.get("drift"), layers.get("times") or []
    heights = [90 + 28 * min(len(one["layers"]), layer_plots.TIMES_SHOWN) for one in times]
    return LayerFigures(
        drift=pair(layer_plots.drift(drift), _FULL, 360, 380) if drift else None,
        times=[pair(layer_plots.times(one), _FULL, height, height) for one, height in zip(times, heights, strict=True)],
    )


def _soak_heights(document: Mapping[str, Any]) -> tuple[int, int]:
    count = len(soak_plots.panels(document))
    return 60 + 190 * -(-count // 2), 60 + 190 * count


def _classes_note(telling: int, present: int) -> str:
    enough = "" if telling == present else f" with {plots.FRAMES_TO_TELL} frames or more"
    if telling > plots.CLASSES_SHOWN:
        return f"the {plots.CLASSES_SHOWN} lowest F1 of {telling} classes{enough}"
    return f"lowest F1 first, classes{enough}" if enough else "lowest F1 first"
