"""Options of events, and the files that they are written to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AtOnce", "EventSink", "Smooth", "Stable", "Threshold", "event_files"]

_PANEL = "Events"

EventSink = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        help="Where events go: FILE.csv, mqtt://host/topic, http://host/path. Repeat it for several.",
        metavar="SINK",
        rich_help_panel=_PANEL,
    ),
]
Smooth = Annotated[
    float, typer.Option(help="Half-life, in frames, of the average over frames; 0: none.", rich_help_panel=_PANEL)
]
Threshold = Annotated[float, typer.Option(help="Probability from which a class counts.", rich_help_panel=_PANEL)]
Stable = Annotated[int, typer.Option(help="Frames in a row that begin or end an event.", rich_help_panel=_PANEL)]
AtOnce = Annotated[int, typer.Option(help="Classes that may count at once.", rich_help_panel=_PANEL)]


def event_files(sinks: Sequence[str]) -> list[Path]:
    """Return the sinks that are files."""
    return [Path(sink) for sink in sinks if "://" not in sink]
