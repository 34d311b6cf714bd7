"""Predictions as text and, in notebooks, as HTML: the lines of their panel."""

from __future__ import annotations

from html import escape
from typing import Any

from numpy.typing import NDArray

from edgeproof_runtime.tasks.decision import Decision

__all__ = ["html_of", "text_of"]

_LINES = 5
_BAR_PIXELS = 160


def text_of(decision: Decision) -> str:
    """Return a prediction in one line: ``Prediction(tiger cat 39.1 %, tabby 34.0 %, ...)``."""
    lines = ", ".join(f"{row.label} {row.figure}" for row in decision.rows(_LINES))
    return f"{type(decision).__name__}({lines})"


def html_of(decision: Decision, image: NDArray[Any] | None = None) -> str:
    """Return a prediction as HTML: its lines with bars, next to the frame if there is one.

    Args:
        decision: the prediction.
        image: its frame, BGR or gray.
    """
    rows = "".join(
        f'<tr><td style="text-align:left">{escape(row.label)}</td><td style="text-align:left;width:{_BAR_PIXELS}px">'
        f'<div style="background:#4c84d6;height:0.8em;width:{100 * min(max(row.bar, 0.0), 1.0):.1f}%"></div></td>'
        f'<td style="text-align:right">{escape(row.figure)}</td></tr>'
        for row in decision.rows(_LINES)
    )
    shown = ""
    if image is not None:
        from edgeproof_runtime.data.preview import preview  # not loaded to run a model

        small = preview(decision.over(image))
        shown = f'<img src="{small.url}" width="{small.width}" height="{small.height}" alt="the frame">'
    return f'<div style="display:flex;gap:1em;align-items:center">{shown}<table>{rows}</table></div>'
