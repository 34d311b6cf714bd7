"""What is given as ``--source`` becomes named streams, with the options of how to open them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sources import SourceOptions, StreamSpec, parse_crop, parse_resolution, read_streams
from edgeproof_runtime.sources.opening import is_path
from edgeproof_runtime.system.redact import expand_environment, without_credentials

__all__ = [
    "CameraClock",
    "Crop",
    "Fps",
    "HardwareDecode",
    "Loop",
    "Mjpeg",
    "RateLimit",
    "Resolution",
    "Rotate",
    "options_of",
    "specs_of",
]

_LONGEST = 48
_PANEL = "Source"

Resolution = Annotated[
    str | None, typer.Option(help="Ask the camera for it.", metavar="WIDTHxHEIGHT", rich_help_panel=_PANEL)
]
Fps = Annotated[float | None, typer.Option(help="Ask the camera for this rate.", rich_help_panel=_PANEL)]
Mjpeg = Annotated[bool, typer.Option("--mjpeg", help="Ask a V4L2 camera for MJPEG.", rich_help_panel=_PANEL)]
Rotate = Annotated[int, typer.Option(help="Degrees clockwise: 0, 90, 180 or 270.", rich_help_panel=_PANEL)]
Crop = Annotated[
    str | None,
    typer.Option(help="Only this part of the rotated frame.", metavar="X,Y,WIDTH,HEIGHT", rich_help_panel=_PANEL),
]
RateLimit = Annotated[
    float | None,
    typer.Option(
        help="Frames per second at most: of a camera the others are left out, a file is read at this pace.",
        rich_help_panel=_PANEL,
    ),
]
Loop = Annotated[bool, typer.Option("--loop", help="Begin a file or folder again at its end.", rich_help_panel=_PANEL)]
HardwareDecode = Annotated[
    bool,
    typer.Option("--hardware-decode", help="Decode on the GPU where FFmpeg can; says if not.", rich_help_panel=_PANEL),
]
CameraClock = Annotated[
    bool,
    typer.Option(
        "--camera-clock",
        help="Take an RTSP camera's word for when a frame was captured; its clock must agree with this machine's.",
        rich_help_panel=_PANEL,
    ),
]


def options_of(
    *,
    resolution: str | None,
    fps: float | None,
    mjpeg: bool,
    rotate: int,
    crop: str | None,
    rate_limit: float | None,
    loop: bool,
    hardware_decode: bool,
    camera_clock: bool,
) -> SourceOptions:
    """The options above as one record.

    Raises:
        InputError: one of them makes no sense.
    """
    return SourceOptions(
        resolution=parse_resolution(resolution) if resolution is not None else None,
        fps=fps,
        mjpeg=mjpeg,
        rotate=rotate,
        crop=parse_crop(crop) if crop is not None else None,
        rate_limit_fps=rate_limit,
        loop=loop,
        hardware_decode=hardware_decode,
        camera_clock=camera_clock,
    )


def specs_of(
    sources: Sequence[str], labels_from: str | None = None, options: SourceOptions | None = None
) -> tuple[StreamSpec, ...]:
    """A stream for each source, those of a ``.toml`` file among them.

    Args:
        sources: as a person typed them; ``${NAME}`` is taken from the environment.
        labels_from: a file of labels for each.
        options: for each.

    Raises:
        InputError: a file of streams cannot be read, or labels or options are given beside one, which has its own.
    """
    options = options or SourceOptions()
    specs: list[StreamSpec] = []
    for typed in sources:
        source = expand_environment(typed)
        if source.lower().endswith(".toml") and is_path(source):
            if labels_from is not None or options != SourceOptions():
                raise InputError(f"options of the streams in {source} stand in it", fix="move them into its tables")
            specs.extend(read_streams(source))
            continue
        name = _name(source)
        taken = {spec.name for spec in specs}
        unique = next(n for n in (name, *(f"{name}-{i}" for i in range(2, len(taken) + 3))) if n not in taken)
        specs.append(StreamSpec(name=unique, source=source, options=options, labels_from=labels_from))
    return tuple(specs)


def _name(source: str) -> str:
    """What is fit for topics, metrics and file names, and still says which source it is."""
    if " ! " in source:
        return "pipeline"
    if source.isdecimal():
        return f"camera{source}"
    scheme = source.partition("://")[0].lower()
    if scheme in ("csi", "synthetic"):
        shown = source.partition("?")[0]  # what stands before an @ is no password there
    elif is_path(source):
        shown = Path(source).resolve().name
    else:
        shown = without_credentials(source).partition("://")[2] or source
    return re.sub(r"[^\w.-]+", "-", shown).strip("-.")[-_LONGEST:] or "stream"
