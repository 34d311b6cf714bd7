"""Options for what `run` and `serve` write: annotated video, predictions, events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Writes
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import EventSettings

__all__ = [
    "EVENTS",
    "AtOnce",
    "EventSink",
    "HomeAssistant",
    "Predictions",
    "RotateFiles",
    "Save",
    "Smooth",
    "Stable",
    "Threshold",
    "ThresholdOf",
    "TopK",
    "Unknown",
    "events_of",
    "thresholds_of",
]

EVENTS = EventSettings()
_EVENTS, _OUTPUTS = "Events", "Outputs"

Save = Annotated[
    Path | None,
    typer.Option(
        help="Write an annotated video; an existing file is kept, and the name numbered.",
        metavar="FILE.mp4",
        rich_help_panel=_OUTPUTS,
    ),
    Writes("video"),
]
Predictions = Annotated[
    Path | None,
    typer.Option(help="Append one JSON line per frame.", metavar="FILE.jsonl", rich_help_panel=_OUTPUTS),
    Writes("lines"),
]
RotateFiles = Annotated[
    str | None,
    typer.Option(
        help="Set files of --predictions and --sink aside and begin new ones: each day, or at a size (100MB).",
        metavar="day|SIZE",
        rich_help_panel=_OUTPUTS,
    ),
]
TopK = Annotated[int, typer.Option(help="Classes per frame in --predictions.", min=1, rich_help_panel=_OUTPUTS)]
EventSink = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        help="Append events to FILE.csv, or send them to mqtt://host/topic or http://host/path. Repeat for several.",
        metavar="SINK",
        rich_help_panel=_EVENTS,
    ),
    Writes("lines"),
]
Smooth = Annotated[
    float, typer.Option(help="Half-life of the average over frames, in frames; 0: off.", rich_help_panel=_EVENTS)
]
Threshold = Annotated[
    float, typer.Option(help="Lowest averaged probability at which a class counts.", rich_help_panel=_EVENTS)
]
ThresholdOf = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold-of",
        help="Threshold of one class instead of --threshold. Repeat for several.",
        metavar="LABEL=P",
        rich_help_panel=_EVENTS,
    ),
]
Unknown = Annotated[
    str | None,
    typer.Option(
        help="Say unknown below a score: max-probability:P, margin:P or energy:NUMBER (see evaluate --unknown).",
        metavar="SCORE:LIMIT",
        rich_help_panel=_EVENTS,
    ),
]
Stable = Annotated[int, typer.Option(help="Consecutive frames that start or end an event.", rich_help_panel=_EVENTS)]
AtOnce = Annotated[int, typer.Option(help="Most classes that count at the same time.", rich_help_panel=_EVENTS)]
HomeAssistant = Annotated[
    bool,
    typer.Option(
        "--home-assistant",
        help="Announce the streams to Home Assistant through the MQTT sinks, with state, classes and snapshots.",
        rich_help_panel=_EVENTS,
    ),
]


def events_of(
    *, smooth: float, threshold: float, threshold_of: Sequence[str] | None, stable: int, at_once: int
) -> EventSettings:
    """Collect the options of events in one record.

    Raises:
        InputError: an option is invalid.
    """
    return EventSettings(
        half_life_frames=smooth,
        threshold=threshold,
        thresholds=thresholds_of(threshold_of),
        top_k=at_once,
        stable_frames=stable,
    )


def thresholds_of(given: Sequence[str] | None) -> tuple[tuple[str, float], ...]:
    """Parse the values of ``--threshold-of``.

    Raises:
        InputError: a value is not ``LABEL=P``, or a label is given twice.
    """
    found: dict[str, float] = {}
    for text in given or ():
        label, _, value = text.rpartition("=")
        try:
            threshold = float(value)
        except ValueError:
            threshold = math.nan
        if not label or label in found or not math.isfinite(threshold):
            raise InputError("--threshold-of: invalid", got=text, expected="LABEL=P, each label once, such as cat=0.8")
        found[label] = threshold
    return tuple(found.items())
