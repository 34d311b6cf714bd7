"""Options for events."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproof.cli._paths import Writes

__all__ = ["AtOnce", "EventSink", "Smooth", "Stable", "Threshold"]

_PANEL = "Events"

EventSink = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        help="Append events to FILE.csv, or send them to mqtt://host/topic or http://host/path. Repeat for several.",
        metavar="SINK",
        rich_help_panel=_PANEL,
    ),
    Writes("lines"),
]
Smooth = Annotated[
    float, typer.Option(help="Half-life of the average over frames, in frames; 0: off.", rich_help_panel=_PANEL)
]
Threshold = Annotated[
    float, typer.Option(help="Lowest averaged probability at which a class counts.", rich_help_panel=_PANEL)
]
Stable = Annotated[int, typer.Option(help="Consecutive frames that start or end an event.", rich_help_panel=_PANEL)]
AtOnce = Annotated[int, typer.Option(help="Most classes that count at the same time.", rich_help_panel=_PANEL)]
