"""The plots of layers: where the numbers move, and where the time goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from edgeproof.report.svg import COLORS, NUMBER, SERIES, Draw, shorten

__all__ = ["TIMES_SHOWN", "drift", "times"]

TIMES_SHOWN = 12
_LEAST = 1e-9  # of an error on the logarithmic axis


def drift(traces: Sequence[Mapping[str, Any]]) -> Draw:
    """Plot the relative error of every compared value, in the graph's order; the first that moves is marked."""

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        told = []
        for i, trace in enumerate(traces):
            color = SERIES[i % len(SERIES)]
            errors = [layer["error"] for layer in trace["layers"]]
            # A value that is not finite is null in the document; it lies above all others.
            finite = [e for e in errors if e is not None and math.isfinite(e)]
            top = 10 * max([*finite, 0.1])
            heights = np.array([top if e is None or not math.isfinite(e) else max(e, _LEAST) for e in errors])
            name = f"{trace['engine']} {trace['precision']}"
            ax.plot(np.arange(len(heights)), heights, color=color, linewidth=1.6, label=name)
            first = next((n for n, layer in enumerate(trace["layers"]) if layer["moved"]), None)
            if first is None:
                told.append(f"{name}: none")
                continue
            layer = trace["layers"][first]
            ax.plot(first, heights[first], marker="D", color=COLORS["fail"], markersize=8, zorder=4)
            ax.annotate(
                shorten(layer["name"], 24 if narrow else 48),
                (first, heights[first]),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center"
                if 0.2 < first / max(1, len(heights)) < 0.8
                else "left"
                if first < len(heights) / 2
                else "right",
                color=COLORS["ink"],
            )
            told.append(f"{name}: {layer['name']}")
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(NUMBER)
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.margins(y=0.16)
        ax.set_xlabel("compared values, in the order of the graph")
        ax.set_ylabel("relative error")
        ax.xaxis.set_major_locator(MaxNLocator(4 if narrow else 10, integer=True))
        ax.legend(loc="lower right", ncols=1 if narrow else 3)
        return "Relative error of the intermediate values; the first layer that moves: " + ", ".join(told)

    return draw


def times(engine: Mapping[str, Any]) -> Draw:
    """Plot the layers of an engine that take the most time."""
    shown = engine["layers"][:TIMES_SHOWN]

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        rows = np.arange(len(shown))
        ax.barh(rows, [layer["ms"] for layer in shown], 0.64, color=COLORS["accent"])
        for row, layer in enumerate(shown):
            ax.text(layer["ms"], row, f" {100 * layer['share']:.1f} %", va="center", color=COLORS["ink"])
        ax.set_yticks(rows, [shorten(layer["module"] or layer["name"], 20 if narrow else 48) for layer in shown])
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.margins(x=0.14)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(4 if narrow else 8))
        ax.xaxis.set_major_formatter(NUMBER)
        ax.set_xlabel("ms per run")
        return f"Layers of {engine['engine']} {engine['precision']} by time: " + ", ".join(
            f"{layer['module'] or layer['name']} {layer['ms']:.3g} ms" for layer in shown
        )

    return draw
