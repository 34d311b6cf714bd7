"""The plot of a chain of hops: top-1 after each hop, and its drop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgeproof.report.svg import COLORS, Draw

__all__ = ["hop_chain"]


def hop_chain(walk: Mapping[str, Any]) -> Draw:
    """Plot top-1 after each hop with its interval; hops that lost accuracy are marked, with the drop beside them."""
    hops = walk["hops"]

    def draw(figure: Figure, narrow: bool) -> str:
        ax = figure.add_subplot()
        rows = np.arange(len(hops))
        top1 = np.array([100 * hop["top1"] for hop in hops])
        low, high = (np.array([100 * hop["ci95"][side] for hop in hops]) for side in (0, 1))
        ax.plot(top1, rows, color=COLORS["line"], linewidth=1.4, zorder=2)
        for row, hop in enumerate(hops):
            color = COLORS["fail"] if hop["lost"] else COLORS["accent"]
            ax.hlines(row, low[row], high[row], color, linewidth=5, alpha=0.3, zorder=3)
            ax.plot(top1[row], row, marker="D" if hop["lost"] else "o", color=color, markersize=7, zorder=4)
            beside = f"{top1[row]:.2f} %"
            if hop["change"] is not None and not narrow:
                beside += f"   {0.0 - hop['cost_points']:+.2f}"
            ax.text(1.02, row, beside, transform=ax.get_yaxis_transform(), va="center", color=COLORS["ink"])
        ax.set_yticks(rows, [hop["name"] for hop in hops])
        ax.set_ylim(len(hops) - 0.4, -0.6)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(4 if narrow else 8))
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        ax.set_xlabel("top-1 accuracy")
        return "Top-1 accuracy along the chain: " + ", ".join(
            f"{hop['name']} {value:.2f} %" for hop, value in zip(hops, top1, strict=True)
        )

    return draw
