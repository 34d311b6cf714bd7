"""Options for recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Writes

__all__ = ["Clips", "KeepFor", "Post", "Pre", "SegmentAt", "Snapshots"]

_PANEL = "Recording"

SegmentAt = Annotated[
    list[str] | None,
    typer.Option(
        "--segment",
        help="With --save: write files NAME.TIME.mp4 of at most this time (10m) or size (500MB). Repeat for both.",
        metavar="TIME|SIZE",
        rich_help_panel=_PANEL,
    ),
]
KeepFor = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        help="Remove segments, clips and snapshots older than this (7d), or the oldest beyond a size (20GB). "
        "Repeat for both.",
        metavar="TIME|SIZE",
        rich_help_panel=_PANEL,
    ),
]
Clips = Annotated[
    Path | None,
    typer.Option(help="Write a video of each event into this folder.", metavar="DIR", rich_help_panel=_PANEL),
    Writes("folder"),
]
Pre = Annotated[
    str, typer.Option(help="Time before an event that its clip holds.", metavar="TIME", rich_help_panel=_PANEL)
]
Post = Annotated[
    str, typer.Option(help="Time after an event that its clip holds.", metavar="TIME", rich_help_panel=_PANEL)
]
Snapshots = Annotated[
    Path | None,
    typer.Option(
        help="Write an annotated JPEG file at the start of each event into this folder.",
        metavar="DIR",
        rich_help_panel=_PANEL,
    ),
    Writes("folder"),
]
