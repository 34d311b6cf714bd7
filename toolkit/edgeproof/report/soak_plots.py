"""The plot of a soak: whether memory, temperature and latency drifted over the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from edgeproof.report.svg import COLORS, NUMBER, Draw

__all__ = ["panels", "soak"]

# Panel -> its series; a panel without values is left out.
_PANELS = {
    "memory, MB": ("memory_mb",),
    "threads and descriptors": ("threads", "descriptors"),
    "temperature, °C": ("temperature_c",),
    "frame age, ms": ("frame_age_ms", "frame_age_max_ms"),
    "frames/s": ("decided_fps", "dropped_fps", "failed_fps"),
}
_STYLES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), "-.")

Times = NDArray[np.float64]


def panels(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the titles of the panels with values, each with its series."""
    there = {name for name, series in document["series"].items() if any(v is not None for v in series["values"])}
    found = {title: [name for name in names if name in there] for title, names in _PANELS.items()}
    return {title: names for title, names in found.items() if names}


def soak(document: Mapping[str, Any]) -> Draw:
    """Plot each quantity over the run with its slope; the warm-up is shaded."""
    time_s = np.array(document["time_s"], np.float64)
    scale, unit = (3600, "hours") if time_s[-1] > 7200 else (60, "minutes") if time_s[-1] > 120 else (1, "seconds")
    drawn = panels(document)

    def draw(figure: Figure, narrow: bool) -> str:
        columns = 1 if narrow else 2
        rows = -(-len(drawn) // columns)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax in axes[len(drawn) :]:
            ax.set_visible(False)
        for ax, (title, names) in zip(axes, drawn.items(), strict=False):
            for name in names:
                _series(ax, name, document["series"][name], time_s, scale, document["warm_up_s"])
            ax.axvspan(0, document["warm_up_s"] / scale, color=COLORS["muted"], alpha=0.12, linewidth=0)
            ax.set_xlim(0, time_s[-1] / scale)
            # From zero: on a scaled axis, noise may look like a steep slope.
            ax.set_ylim(0, 1.15 * max(ax.get_ylim()[1], 1e-9))
            ax.set_title(title, loc="left")
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(4))
                axis.set_major_formatter(NUMBER)
            ax.tick_params(axis="y", labelcolor=COLORS["muted"])
            ax.grid(axis="x", visible=False)
            ax.set_xlabel(unit)
            if len(ax.lines) > 1:
                ax.legend(loc="best", handlelength=2.2)
        return f"{', '.join(drawn)} over {time_s[-1] / scale:.1f} {unit}; the warm-up is shaded"

    return draw


def _series(ax: Axes, name: str, series: Mapping[str, Any], time_s: Times, scale: int, warm_up_s: float) -> None:
    values = np.array([np.nan if v is None else v for v in series["values"]], np.float64)
    first = not ax.lines
    color = COLORS["accent"] if first else COLORS["ink"]
    label = "largest" if "max" in name else "median" if "age" in name else name.split("_")[0]
    ax.plot(time_s / scale, values, color=color, linestyle=_STYLES[len(ax.lines)], linewidth=1.3, label=label)
    after = np.isfinite(values) & (time_s >= warm_up_s)
    if first and series["per_hour"] is not None and after.any():
        # Sen's line goes through the medians.
        ends_s = time_s[after][[0, -1]]
        line = np.median(values[after]) + series["per_hour"]["estimate"] / 3600 * (ends_s - np.median(time_s[after]))
        ax.plot(ends_s / scale, line, color=COLORS["fail"], linewidth=1.4, label="slope")
