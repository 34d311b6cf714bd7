"""The trade-off curve of an optimisation: drop against speed-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgeproof.report.svg import COLORS, SERIES, Draw

__all__ = ["timed_points", "trade_off"]

_MARKERS = {"fp16": "s", "int8": "o"}


def timed_points(optimization: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the points that were timed beside fp32, in the order in which they were tried."""
    return [p for model in optimization["models"].values() for p in model["points"] if p["speed"] is not None]


def trade_off(optimization: Mapping[str, Any]) -> Draw:
    """Plot the drop in points over the speed-up: fp32 at (1, 0), the budget as a line, the added points ringed."""
    points = timed_points(optimization)

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        ax.plot(1.0, 0.0, "D", color=COLORS["ink"], markersize=7, label="fp32")
        for number, name in enumerate(dict.fromkeys(point["model"] for point in points)):
            own = [point for point in points if point["model"] == name]
            speeds = [point["speed"]["speedup"]["estimate"] for point in own]
            drops = [100 * point["paired"]["drop"] for point in own]
            color = SERIES[number]
            ax.plot(speeds, drops, color=color, linewidth=1.2, alpha=0.6)
            ax.plot(speeds, drops, _MARKERS.get(name, "o"), color=color, markersize=6, label=name)
            for point, speed in zip(own, speeds, strict=True):
                low, high = (100 * bound for bound in point["paired"]["drop_ci95"])
                ax.plot([speed, speed], [low, high], color=color, linewidth=1, alpha=0.5)
                if point["chosen"]:
                    style: dict[str, Any] = {
                        "markersize": 15,
                        "markerfacecolor": "none",
                        "markeredgecolor": COLORS["pass"],
                    }
                    ax.plot(speed, 100 * point["paired"]["drop"], "o", markeredgewidth=2, zorder=5, **style)
        budget = 100 * optimization["max_drop"]
        if budget < 100:
            line = ax.axhline(budget, color=COLORS["fail"], linewidth=1, linestyle=(0, (4, 3)))
            line.set_label(f"budget, {budget:g} points")
        ax.plot([], [], "o", color="none", markeredgecolor=COLORS["pass"], markersize=11, label="added")
        ax.axvline(1.0, color=COLORS["line"], linewidth=1)
        ax.invert_yaxis()
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        ax.tick_params(axis="y", labelcolor=COLORS["muted"])
        ax.set_xlabel("speed-up over fp32")
        ax.set_ylabel("drop, points")
        figure.legend(loc="outside lower center", ncols=2 if narrow else 5)
        return f"Drop of {optimization.get('metric', 'top-1')} in points and speed-up, against fp32: " + ", ".join(
            f"{p['model']} {100 * p['paired']['drop']:.2f} at {p['speed']['speedup']['estimate']:.2f}×" for p in points
        )

    return draw
