"""The plots of a training: learning curves and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgeproof.report.svg import COLORS, NUMBER, SERIES, Draw

__all__ = ["learning", "reliability"]

_SHARES = ("accuracy",)  # figures that are shares of 1, on a separate axis


def learning(history: Sequence[Mapping[str, float]]) -> Draw:
    """Plot losses, and shares such as accuracy, by epoch."""
    names = [
        name
        for name in dict.fromkeys(name for row in history for name in row)
        if name.endswith("loss") or name.endswith(_SHARES)
    ]
    losses = [name for name in names if name.endswith("loss")]
    shares = [name for name in names if name.endswith(_SHARES)]

    def draw(figure: Figure, narrow: bool) -> str:
        groups = [group for group in (losses, shares) if group]
        axes = figure.subplots(len(groups) if narrow else 1, 1 if narrow else len(groups), squeeze=False).ravel()
        for ax, group in zip(axes, groups, strict=True):
            factor = 100 if group is shares else 1
            for number, name in enumerate(group):
                points = [(row["epoch"], factor * row[name]) for row in history if row.get(name) is not None]
                ax.plot(
                    *zip(*points, strict=True),
                    color=SERIES[number],
                    linestyle="-" if name.startswith("val") else (0, (4, 2)),
                    marker="o",
                    markersize=3.5,
                    label=name.replace("_", " "),
                )
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(5))
            ax.yaxis.set_major_formatter(NUMBER if group is losses else (lambda value, _: f"{value:g} %"))
            ax.tick_params(axis="y", labelcolor=COLORS["muted"])
            ax.grid(axis="x", visible=False)
            ax.set_xlabel("epoch")
            ax.legend(loc="best")
        last = {name: row[name] for row in history for name in names if row.get(name) is not None}
        figures = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in last.items())
        return f"Learning over {len(history)} epochs, at the end: {figures}"

    return draw


def reliability(calibration: Mapping[str, Any]) -> Draw:
    """Plot accuracy by confidence beside the diagonal of perfect calibration."""
    bins = calibration["bins"]

    def draw(figure: Figure, narrow: bool) -> str:
        del narrow
        ax = figure.add_subplot()
        total = sum(row["count"] for row in bins)
        ax.plot([0, 100], [0, 100], color=COLORS["muted"], linewidth=1, linestyle=(0, (4, 3)), label="perfect")
        for row in bins:
            x, y = 100 * row["confidence"], 100 * row["accuracy"]
            ax.plot([x, x], [x, y], color=COLORS["fail"], linewidth=2, alpha=0.5)
            ax.plot(x, y, "o", color=COLORS["accent"], markersize=4 + 9 * (row["count"] / total) ** 0.5, clip_on=False)
        ax.set_xlim(0, 100)
        ax.set_ylim(0, 100)
        ax.set_aspect("equal")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(lambda value, _: f"{value:g} %")
        ax.tick_params(axis="y", labelcolor=COLORS["muted"])
        ax.set_xlabel("confidence")
        ax.set_ylabel("accuracy")
        return f"Reliability: expected calibration error {100 * calibration['ece']:.1f} %"

    return draw
