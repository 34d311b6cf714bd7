"""Options for opening a source."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproof_runtime.sources import SourceOptions, parse_crop, parse_resolution

__all__ = [
    "CameraClock",
    "ClassifyUnhealthy",
    "Crop",
    "Every",
    "Fps",
    "HardwareDecode",
    "Health",
    "Loop",
    "Mjpeg",
    "OnMotion",
    "OpenTimeout",
    "RateLimit",
    "ReadTimeout",
    "Resolution",
    "Rotate",
    "options_of",
]

_PANEL = "Source"

Resolution = Annotated[
    str | None,
    typer.Option(help="Request this frame size from the camera.", metavar="WIDTHxHEIGHT", rich_help_panel=_PANEL),
]
Fps = Annotated[float | None, typer.Option(help="Request this frame rate from the camera.", rich_help_panel=_PANEL)]
Mjpeg = Annotated[bool, typer.Option("--mjpeg", help="Request MJPEG from a V4L2 camera.", rich_help_panel=_PANEL)]
Rotate = Annotated[
    int, typer.Option(help="Rotate frames clockwise, degrees: 0, 90, 180 or 270.", rich_help_panel=_PANEL)
]
Crop = Annotated[
    str | None,
    typer.Option(help="Use only this part of the rotated frame.", metavar="X,Y,WIDTH,HEIGHT", rich_help_panel=_PANEL),
]
RateLimit = Annotated[
    float | None,
    typer.Option(
        help="Most frames per second: further frames of a camera are left out; a file is read at this pace.",
        rich_help_panel=_PANEL,
    ),
]
Every = Annotated[
    str | None,
    typer.Option(
        help="Classify one frame each TIME; with --on-motion, while nothing moves (default 10).",
        metavar="TIME",
        rich_help_panel=_PANEL,
    ),
]
OnMotion = Annotated[
    float | None,
    typer.Option(
        help="Classify while at least this share of the frame changes, such as 0.005, and for 2 s after.",
        metavar="SHARE",
        rich_help_panel=_PANEL,
    ),
]
Loop = Annotated[bool, typer.Option("--loop", help="Restart a file or folder at its end.", rich_help_panel=_PANEL)]
HardwareDecode = Annotated[
    bool,
    typer.Option(
        "--hardware-decode",
        help="Decode in hardware (GPU, a Jetson's decoder) if supported; the output says if not.",
        rich_help_panel=_PANEL,
    ),
]
CameraClock = Annotated[
    bool,
    typer.Option(
        "--camera-clock",
        help="Use an RTSP camera's own capture times; requires clocks that agree.",
        rich_help_panel=_PANEL,
    ),
]
OpenTimeout = Annotated[
    str | None,
    typer.Option(
        help="Time limit of a network source until it is open (default 10s).", metavar="TIME", rich_help_panel=_PANEL
    ),
]
ReadTimeout = Annotated[
    str | None,
    typer.Option(
        help="Time limit of a network source for its next data (default 5s).", metavar="TIME", rich_help_panel=_PANEL
    ),
]

Health = Annotated[
    str,
    typer.Option(
        "--health",
        help="Limits of healthy frames: off, or NAME=LIMIT,... of damaged, frozen, change, black, overexposed, "
        "covered, blurred; a limit may be off. Unhealthy frames are left out and counted.",
        metavar="LIMITS",
        rich_help_panel=_PANEL,
    ),
]
ClassifyUnhealthy = Annotated[
    str,
    typer.Option(
        "--classify-unhealthy",
        help="Classify unhealthy frames all the same: all, or causes separated by commas.",
        metavar="CAUSES",
        rich_help_panel=_PANEL,
    ),
]


def options_of(
    *,
    resolution: str | None = None,
    fps: float | None = None,
    mjpeg: bool = False,
    rotate: int = 0,
    crop: str | None = None,
    rate_limit: float | None,
    every_s: float | None,
    on_motion: float | None,
    loop: bool,
    hardware_decode: bool = False,
    camera_clock: bool = False,
    open_timeout_s: float | None,
    read_timeout_s: float | None,
) -> SourceOptions:
    """Collect the options of the command line in one record.

    Raises:
        InputError: an option is invalid.
    """
    usual = SourceOptions()
    return SourceOptions(
        resolution=parse_resolution(resolution) if resolution is not None else None,
        fps=fps,
        mjpeg=mjpeg,
        rotate=rotate,
        crop=parse_crop(crop) if crop is not None else None,
        rate_limit_fps=rate_limit,
        every_s=every_s,
        on_motion=on_motion,
        loop=loop,
        hardware_decode=hardware_decode,
        camera_clock=camera_clock,
        open_timeout_s=usual.open_timeout_s if open_timeout_s is None else open_timeout_s,
        read_timeout_s=usual.read_timeout_s if read_timeout_s is None else read_timeout_s,
    )
