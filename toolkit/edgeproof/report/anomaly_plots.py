"""The plot of anomaly scores: one dot per labelled image, by kind, and the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from edgeproof.report.svg import COLORS, SERIES, Draw

__all__ = ["scores"]


def scores(anomaly: Mapping[str, Any]) -> Draw:
    """Plot a row of dots per kind, good images on top; the line is the threshold."""
    found: Mapping[str, Sequence[float | None]] = anomaly["scores"]
    kinds = sorted(found, key=lambda kind: (kind == "good", kind))

    def draw(figure: Figure, narrow: bool) -> str:
        del narrow
        axes = figure.subplots()
        rng = np.random.default_rng(0)  # spreads the dots of a row, so that equal scores do not overlap
        for row, kind in enumerate(kinds):
            values = [value for value in found[kind] if value is not None]
            spread = row + rng.uniform(-0.28, 0.28, len(values))
            color = SERIES[0] if kind == "good" else SERIES[1]
            axes.scatter(values, spread, s=11, color=color, alpha=0.75, linewidths=0)
        axes.axvline(anomaly["threshold"], color=COLORS["muted"], linestyle=(0, (4, 3)), linewidth=1.2)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_ylim(-0.6, len(kinds) - 0.4)
        axes.set_xlim(left=0)
        axes.set_xlabel("anomaly score")
        axes.grid(axis="y", visible=False)
        return f"Anomaly scores of {anomaly['n']} images of {len(kinds)} kinds, threshold {anomaly['threshold']:.3g}"

    return draw
