"""Options for events, and the files that events are written to."""

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
        help="Write events to FILE.csv, mqtt://host/topic or http://host/path. Repeat for several.",
        metavar="SINK",
        rich_help_panel=_PANEL,
    ),
]
Smooth = Annotated[
    float, typer.Option(help="Half-life of the average over frames, in frames; 0: off.", rich_help_panel=_PANEL)
]
Threshold = Annotated[
    float, typer.Option(help="Lowest averaged probability at which a class counts.", rich_help_panel=_PANEL)
]
Stable = Annotated[int, typer.Option(help="Consecutive frames that start or end an event.", rich_help_panel=_PANEL)]
AtOnce = Annotated[int, typer.Option(help="Most classes that count at the same time.", rich_help_panel=_PANEL)]


def event_files(sinks: Sequence[str]) -> list[Path]:
    """Return the sinks that are files."""
    return [Path(sink) for sink in sinks if "://" not in sink]
