"""The plots of a benchmark: configurations side by side, distinguished by line, hatch, label and colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from edgeproof.report.svg import COLORS, NUMBER, SERIES, Draw, shorten
from edgeproof.report.wording import three_digits

__all__ = ["MOST", "cdf", "over_time", "stages", "trade_off"]

MOST = 7  # configurations in a plot; more lines are hard to tell apart, and the table has them all

_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1.5)), (0, (8, 3)), "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STAGES = {"preprocess": "//", "inference": "", "postprocess": ".."}

Configurations = Sequence[Mapping[str, Any]]


def cdf(configurations: Configurations) -> Draw:
    """Plot the empirical distribution of each configuration's latency, on a logarithmic axis."""

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        for i, one in enumerate(configurations[:MOST]):
            ms = np.maximum(one["distribution_ms"]["ms"], 1e-3)
            share = 100 * np.asarray(one["distribution_ms"]["share"])
            style: dict[str, Any] = {"color": SERIES[i], "linestyle": _DASHES[i], "linewidth": 2.0}
            label = shorten(one["name"], 30 if narrow else 44)
            ax.step(np.concatenate([ms[:1], ms]), np.concatenate([[0], share]), where="post", label=label, **style)
        ax.set_xscale("log")
        wide = float(np.ptp(np.log10(ax.get_xlim()))) >= 1.5
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(NUMBER)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_ylim(0, 102)
        ax.set_yticks([0, 50, 90, 99], ["0 %", "50 %", "90 %", "99 %"])
        ax.set_xlabel("milliseconds per query")
        figure.legend(loc="outside lower left", handlelength=3.2)
        return "Distribution of latency: " + "; ".join(
            f"{one['name']} median {_ms(one['latency_ms']['p50'])}" for one in configurations[:MOST]
        )

    return draw


def stages(configurations: Configurations) -> Draw:
    """Plot the median of each stage of a frame, one bar per configuration."""
    shown = [one for one in configurations if one["stages_ms"]][:MOST]

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        for row, one in enumerate(shown):
            left = 0.0
            for stage, hatch in _STAGES.items():
                summary = one["stages_ms"][stage]
                middle = summary["p50"] if summary["p50"] is not None else summary["mean"]
                ax.barh(
                    row,
                    middle,
                    left=left,
                    height=0.55,
                    facecolor=COLORS["accent"] if stage == "inference" else COLORS["surface"],
                    edgecolor=COLORS["accent"],
                    hatch=hatch,
                )
                left += middle
            ax.text(left, row, f"  {three_digits(left)} ms", va="center")
        ax.set_yticks(range(len(shown)), [shorten(one["name"], 20 if narrow else 44) for one in shown])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlim(0, 1.22 * ax.get_xlim()[1])
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_formatter(NUMBER)
        ax.set_xlabel("milliseconds, median of each stage")
        handles = [
            Patch(
                facecolor=COLORS["accent"] if stage == "inference" else COLORS["surface"],
                edgecolor=COLORS["accent"],
                hatch=hatch,
                label=stage,
            )
            for stage, hatch in _STAGES.items()
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=3)
        return f"Medians of preprocessing, inference and postprocessing of {len(shown)} configurations"

    return draw


def over_time(bench: Mapping[str, Any]) -> Draw:
    """Plot each block's fastest query over its own median, with a reference engine; below, the machine's state."""
    configurations, conditions = bench["configurations"][:MOST], bench["conditions"]
    panels = [
        (title, unit, conditions[key])
        for title, unit, key in (
            ("other processes", "cores", "other_cores"),
            ("CPU clock", "MHz", "clock_mhz"),
            ("temperature", "°C", "temperature_c"),
            ("GPU clock", "MHz", "gpu_clock_mhz"),
            ("GPU temperature", "°C", "gpu_temperature_c"),
        )
        if any(value is not None for value in conditions.get(key, ()))
    ]

    def draw(figure: Figure, narrow: bool) -> str:
        axes = figure.subplots(
            1 + len(panels), 1, sharex=True, squeeze=False, height_ratios=[3, *([1] * len(panels))]
        ).ravel()
        slowest = 1.0
        for i, one in enumerate(configurations):
            values = np.asarray(one["blocks"]["fastest_ms"])
            relative = values / np.median(values)
            slowest = max(slowest, float(np.percentile(relative, 98)))
            axes[0].plot(
                one["blocks"]["started_s"],
                relative,
                color=SERIES[i],
                linestyle=_DASHES[i],
                linewidth=1.2,
                label=shorten(one["name"], 44),
            )
        for reference in bench["yardsticks"][:1]:
            blocks = reference["blocks"]
            values = np.asarray(blocks["fastest_ms"])
            axes[0].plot(
                blocks["started_s"],
                values / np.median(values),
                color=COLORS["ink"],
                linewidth=0,
                marker="|",
                markersize=7,
                label=f"reference engine: the model on {reference['engine']}",
            )
        axes[0].set_ylim(min(0.7, axes[0].get_ylim()[0]), max(1.3, 1.1 * slowest))
        axes[0].set_ylabel("of its median")
        for ax, (title, unit, values) in zip(axes[1:], panels, strict=True):
            ax.step(
                conditions["time_s"], [np.nan if v is None else v for v in values], where="pre", color=COLORS["muted"]
            )
            ax.set_ylim(bottom=0)
            ax.yaxis.set_major_locator(MaxNLocator(3))
            ax.set_title(f"{title}, {unit}", loc="left", fontsize=11.5, color=COLORS["muted"])
        axes[-1].set_xlabel("seconds since the first round")
        axes[-1].xaxis.set_major_formatter(NUMBER)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=1 if narrow else 2)
        seconds = max(conditions["time_s"], default=0)
        return f"Each configuration's speed over {seconds:.0f} seconds, and the machine's state"

    return draw


def trade_off(configurations: Configurations) -> Draw:
    """Plot latency against accuracy, or throughput if accuracy was not measured; the Pareto front is filled."""
    by_accuracy = all(one["accuracy"] for one in configurations)

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        for i, one in enumerate(configurations):
            summary = one["latency_ms"]
            ms = summary["p50"] if summary["p50"] is not None else summary["mean"]
            value = 100 * one["accuracy"]["top1"] if by_accuracy else one["throughput_fps"]
            color, front = SERIES[i % MOST], one["on_front"]
            if by_accuracy:
                low, high = (100 * v for v in one["accuracy"]["ci95"])
                ax.plot([ms, ms], [low, high], color=color, linewidth=1)
            ax.plot(
                ms,
                value,
                marker=_MARKERS[i % MOST],
                markersize=9,
                color=color,
                markerfacecolor=color if front else "none",
                linestyle="",
                label=shorten(one["name"], 30 if narrow else 40),
            )
        ax.set_xlim(0, 1.15 * ax.get_xlim()[1])
        if not by_accuracy:
            ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
        ax.xaxis.set_major_formatter(NUMBER)
        ax.set_xlabel("median latency, milliseconds")
        ax.set_ylabel("top-1, %" if by_accuracy else "frames per second")
        handles, _ = ax.get_legend_handles_labels()
        shown = handles[: 2 * MOST]
        shown.append(Line2D([], [], marker="o", color=COLORS["ink"], ls="", label="filled: on the Pareto front"))
        figure.legend(handles=shown, loc="outside lower left")
        front = ", ".join(one["name"] for one in configurations if one["on_front"])
        return f"{'Accuracy' if by_accuracy else 'Throughput'} against latency; on the Pareto front: {front}"

    return draw


def _ms(value: float | None) -> str:
    return "n/a" if value is None else f"{three_digits(value)} ms"
