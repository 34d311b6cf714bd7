"""The plots of a report. Each function turns a part of the JSON document into a `Draw`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from edgeproof.report.svg import COLORS, NUMBER, SERIES, Draw, shorten
from edgeproof.report.wording import three_digits
from edgeproof_runtime.metrics.latency import STAGES

__all__ = [
    "CLASSES_SHOWN",
    "FRAMES_TO_TELL",
    "confusion",
    "distributions",
    "per_class",
    "stage_bars",
    "telling",
    "timeline",
]

CLASSES_SHOWN = 20
FRAMES_TO_TELL = 5

_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1.5)), (0, (8, 3)), "-.")


def _name(stage: str) -> str:
    return stage.replace("_", " ")


def _log_ms(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if np.ptp(np.log10(ax.get_xlim())) < 2.2 else (1.0,)))
    ax.xaxis.set_major_formatter(NUMBER)
    ax.xaxis.set_minor_formatter(NullFormatter())


def stage_bars(latency_ms: Mapping[str, Mapping[str, Any]]) -> Draw:
    """Plot median, 90th percentile and maximum of each stage."""
    stages = list(latency_ms)

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        typical = [s["p50"] if s["p50"] is not None else s["mean"] for s in latency_ms.values()]
        usual = [max(t, s["p90"] or 0.0) for t, s in zip(typical, latency_ms.values(), strict=True)]
        # One slow frame must not shrink every bar: beyond the limit the line ends in an arrow.
        limit = max(1.8 * max(usual), 1e-3)
        for row, (summary, middle, high) in enumerate(zip(latency_ms.values(), typical, usual, strict=True)):
            ax.plot([high, min(summary["max"], limit)], [row, row], color=COLORS["muted"], linewidth=1.2)
            beyond = summary["max"] > limit
            ax.plot(
                min(summary["max"], limit), row, marker=">" if beyond else "|", color=COLORS["muted"], clip_on=False
            )
            ax.barh(row, high, height=0.5, color=COLORS["accent"], alpha=0.28)
            ax.barh(row, middle, height=0.5, color=COLORS["accent"])
            ax.text(
                1.02,
                row,
                f"{three_digits(middle)} ms",
                transform=ax.get_yaxis_transform(),
                va="center",
                color=COLORS["ink"],
            )
        ax.set_xlim(0, limit)
        ax.set_yticks(range(len(stages)), [_name(s) for s in stages])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(4 if narrow else 6))
        ax.xaxis.set_major_formatter(NUMBER)
        ax.set_xlabel("milliseconds")
        handles = [
            Patch(color=COLORS["accent"]),
            Patch(color=COLORS["accent"], alpha=0.28),
            Line2D([], [], color=COLORS["muted"], marker="|"),
        ]
        figure.legend(
            handles,
            ["median", "90th percentile", "maximum"],
            loc="outside lower center",
            ncols=3,
            handlelength=1.2,
            columnspacing=1.0,
        )
        return "Median latency per stage: " + ", ".join(
            f"{_name(s)} {three_digits(m)} ms" for s, m in zip(stages, typical, strict=True)
        )

    return draw


def distributions(distribution_ms: Mapping[str, Mapping[str, Sequence[float]]]) -> Draw:
    """Plot the empirical distribution of each stage's latency, on a logarithmic axis."""

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        for stage, thinned in distribution_ms.items():
            i = STAGES.index(stage)
            ms = np.maximum(thinned["ms"], 1e-3)
            whole = stage == "end_to_end"
            ax.step(
                np.concatenate([ms[:1], ms]),
                100 * np.concatenate([[0.0], thinned["share"]]),
                where="post",
                color=COLORS["accent"] if whole else SERIES[i],
                linestyle=_DASHES[0] if whole else _DASHES[i],
                linewidth=2.4 if whole else 1.6,
                label=_name(stage),
            )
        _log_ms(ax)
        ax.set_ylim(0, 101)
        ax.set_yticks([0, 25, 50, 75, 100], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        ax.tick_params(axis="y", labelcolor=COLORS["muted"])
        ax.set_xlabel("milliseconds, logarithmic")
        figure.legend(loc="outside lower center", ncols=2 if narrow else 3, handlelength=2.6, columnspacing=1.2)
        return "Share of frames at or below a latency, for " + ", ".join(_name(s) for s in distribution_ms)

    return draw


def timeline(document: Mapping[str, Any], median_ms: float | None) -> Draw:
    """Plot end-to-end latency over time, and where frames were late, dropped or unreadable."""
    time_s = np.array(document["time_s"], np.float64)
    ms = np.array([np.nan if v is None else v for v in document["end_to_end_ms"]], np.float64)
    state = np.array(document["state"])
    frames = np.array(document["frames"])
    several = document["frames_per_point"]

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        known = np.isfinite(ms)
        handles: list[Line2D] = []
        slowest = float(ms[known].max()) if known.any() else 0.0
        name = "end to end" if several == 1 else f"end to end, slowest of each {several} frames"
        if known.any():
            ax.plot(time_s[known], ms[known], color=COLORS["accent"], linewidth=0.8, alpha=0.55)
            size = 3.2 if known.sum() <= 500 else 1.6
            ax.plot(time_s[known], ms[known], ".", color=COLORS["accent"], markersize=size)
            handles.append(Line2D([], [], color=COLORS["accent"], marker=".", linewidth=0.8, label=name))
            if median_ms is not None:
                line = ax.axhline(median_ms, color=COLORS["ink"], linewidth=1, linestyle=(0, (4, 3)))
                line.set_label(f"median {three_digits(median_ms)} ms")
                handles.append(line)
        if known.any() and slowest > 20 * float(np.median(ms[known])) > 0:
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(NUMBER)
        else:
            ax.set_ylim(0, 1.12 * slowest or 1)
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        marks = (("stale", "D", COLORS["warn"]), ("dropped", "v", COLORS["fail"]), ("failed", "X", COLORS["fail"]))
        for kind, marker, color in marks:
            here = state == kind
            if here.any():
                # Late frames are drawn at their latency, frames without a result on the axis.
                where = ms[here] if kind == "stale" else np.full(here.sum(), ax.get_ylim()[0])
                ax.plot(
                    time_s[here],
                    where,
                    marker,
                    color=color,
                    markersize=6,
                    markerfacecolor="none",
                    clip_on=False,
                    zorder=5,
                )
                label = f"{kind} ({here.sum()})" if several == 1 else kind
                handles.append(Line2D([], [], color=color, marker=marker, markerfacecolor="none", ls="", label=label))
        ax.set_xlim(0, time_s.max() or 1)
        ax.xaxis.set_major_formatter(NUMBER)
        ax.grid(axis="x", visible=False)
        ax.tick_params(axis="y", labelcolor=COLORS["muted"])
        ax.set_xlabel("seconds since the start")
        ax.set_ylabel("milliseconds")
        figure.legend(handles=handles, loc="outside lower center", ncols=1 if narrow else 5, columnspacing=1.6)
        return f"End-to-end latency of {int(frames.sum())} frames over {float(np.ptp(time_s)):.1f} seconds"

    return draw


def telling(classes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the classes with at least `FRAMES_TO_TELL` frames, lowest F1 first."""
    return sorted((c for c in classes if c["support"] >= FRAMES_TO_TELL), key=lambda c: (c["f1"], c["label"]))


def per_class(classes: Sequence[Mapping[str, Any]]) -> Draw:
    """Plot precision and recall of each class of `telling`, lowest F1 first."""
    worst = classes[:CLASSES_SHOWN]

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        rows = np.arange(len(worst))
        precision = np.array([100 * c["precision"] for c in worst])
        recall = np.array([100 * c["recall"] for c in worst])
        ax.hlines(rows, np.minimum(precision, recall), np.maximum(precision, recall), COLORS["muted"], linewidth=1.4)
        style: dict[str, Any] = {"linestyle": "", "clip_on": False, "zorder": 4}
        ax.plot(recall, rows, marker="o", markersize=7, color=COLORS["accent"], label="recall", **style)
        ax.plot(
            precision,
            rows,
            marker="D",
            markersize=6.5,
            markerfacecolor=COLORS["surface"],
            markeredgecolor=COLORS["ink"],
            label="precision",
            **style,
        )
        ax.set_yticks(rows, [shorten(c["label"], 18 if narrow else 26) for c in worst])
        ax.set_ylim(len(worst) - 0.4, -0.6)
        lowest = min(float(precision.min()), float(recall.min()))
        ax.set_xlim(max(0.0, np.floor(lowest / 10) * 10 - 10), 100)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        figure.legend(loc="outside lower center", ncols=2)
        return f"Precision and recall of {len(worst)} classes, the lowest F1 first"

    return draw


def confusion(matrix: Mapping[str, Any]) -> Draw:
    """Plot the confusion matrix: rows are ground truth, columns predictions, the shade is the share of the row."""
    labels: list[str] = matrix["labels"]
    counts = np.array(matrix["counts"], np.float64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        k = len(labels)
        # Shades by opacity work on a light and on a dark page.
        for row, column in zip(*np.nonzero(counts), strict=True):
            right = row == column
            color = COLORS["accent"] if right else COLORS["fail"]
            shade = 0.12 + 0.6 * share[row, column]
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=shade, linewidth=0))
            if k <= 12:
                ax.text(
                    column,
                    row,
                    f"{counts[row, column]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=9 if narrow else 11,
                    weight="bold" if right else "normal",
                )
        ax.set_xlim(-0.5, k - 0.5)
        ax.set_ylim(k - 0.5, -0.5)
        ax.set_aspect("equal")
        size = 12 if k <= 12 else 9 if k <= 26 else 6.5
        names = [shorten(label, 14 if narrow else 20) for label in labels]
        turned: dict[str, Any] = {"rotation": 90, "ha": "center"}
        if k <= 26:
            turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(range(k), names, fontsize=size, **turned)
        ax.set_yticks(range(k), names, fontsize=size)
        ax.tick_params(axis="x", labelcolor=COLORS["ink"])
        ax.grid(visible=False)
        ax.set_xticks(np.arange(k - 1) + 0.5, minor=True)
        ax.set_yticks(np.arange(k - 1) + 0.5, minor=True)
        ax.grid(visible=True, which="minor")
        ax.set_xlabel("prediction")
        ax.set_ylabel("ground truth")
        return f"Confusion matrix of {k} classes: {int(np.trace(counts))} of {int(counts.sum())} correct"

    return draw
