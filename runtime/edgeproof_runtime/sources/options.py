"""Options for opening a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.text import whole_number

__all__ = ["SourceOptions", "parse_crop", "parse_resolution"]

_MAX_SIDE = 1 << 16
_SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """Options of one source; opening a source refuses options that its kind does not support.

    Attributes:
        resolution: (width, height) in pixels to request from a camera.
        fps: frames per second to request from a camera.
        mjpeg: request MJPEG from a V4L2 camera; most USB cameras need it for full rate above 640x480.
        rotate: clockwise rotation, degrees: 0, 90, 180 or 270.
        crop: (x, y, width, height) in pixels of the rotated frame.
        rate_limit_fps: most frames per second; a live source leaves out and counts others, a file is read at this pace.
        every_s: seconds between classified frames; with ``on_motion``, between those without motion (default 10).
        on_motion: share of the frame that must change for it to be classified, 0..1.
        loop: restart at the end; for files and images.
        hardware_decode: decode video in hardware if FFmpeg supports it; `Source.notes` reports the result.
        decode_threads: FFmpeg's decoder threads; None means 1 for streams (each further one delays a frame), all for
            files.
        camera_clock: use an RTSP camera's capture times (RTCP sender reports); requires clocks set by NTP or PTP.
        open_timeout_s: time limit for the response of a network source, seconds.
        read_timeout_s: time limit for its next frame, seconds.

    Raises:
        InputError: a value is invalid.
    """

    resolution: tuple[int, int] | None = None
    fps: float | None = None
    mjpeg: bool = False
    rotate: int = 0
    crop: tuple[int, int, int, int] | None = None
    rate_limit_fps: float | None = None
    every_s: float | None = None
    on_motion: float | None = None
    loop: bool = False
    hardware_decode: bool = False
    decode_threads: int | None = None
    camera_clock: bool = False
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if self.resolution is not None and not all(0 < side < _MAX_SIDE for side in self.resolution):
            raise InputError(
                "resolution: invalid", got="x".join(map(str, self.resolution)), expected="1280x720 or similar"
            )
        if self.rotate not in (0, 90, 180, 270):
            raise InputError("rotate: unsupported angle", got=self.rotate, expected="0, 90, 180 or 270")
        if self.crop is not None and not (min(self.crop[:2]) >= 0 and min(self.crop[2:]) > 0):
            raise InputError(
                "crop: contains no pixel",
                got=",".join(map(str, self.crop)),
                expected="x,y,width,height, such as 0,0,64,64",
            )
        for name in ("fps", "rate_limit_fps", "every_s", "open_timeout_s", "read_timeout_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 100_000:
                raise InputError(f"{name}: out of range", got=value, expected="a number above 0")
        if self.on_motion is not None and not 0 < self.on_motion <= 1:
            raise InputError("on_motion: out of range", got=self.on_motion, expected="a share, above 0 to 1")
        if self.decode_threads is not None and not 1 <= self.decode_threads <= 64:
            raise InputError("decode_threads: out of range", got=self.decode_threads, expected="1 to 64")

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Parse options from a file.

        Args:
            values: values by option; ``resolution`` as ``"1280x720"``, ``crop`` as ``"x,y,width,height"``.
            where: name of the place in error messages.

        Raises:
            InputError: an unknown option, or an invalid value; the message names both.
        """
        known = [f.name for f in fields(cls)]
        parsed: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise InputError(f"{where}: unknown option", got=name, expected=", ".join(known))
            try:
                parsed[name] = _PARSERS[name](value)
            except (TypeError, ValueError) as error:
                raise InputError(f"{where}: {name} is invalid", got=repr(value), expected=str(error)) from error
            except InputError as error:
                raise InputError(f"{where}: {error.what}", got=error.got, expected=error.expected) from error
        try:
            return cls(**parsed)
        except InputError as error:
            raise InputError(f"{where}: {error.what}", got=error.got, expected=error.expected) from error

    def refuse(self, kind: str, *names: str) -> None:
        """Refuse options that a kind of source does not support.

        Raises:
            InputError: one of them is set.
        """
        asked = [f.name for f in fields(self) if f.name in names and getattr(self, f.name) != f.default]
        if asked:
            raise InputError(f"{kind}: does not support {', '.join(asked)}", fix=f"leave {asked[0]} out")


def parse_resolution(text: str) -> tuple[int, int]:
    """Parse ``1280x720`` into (width, height).

    Raises:
        InputError: invalid text.
    """
    width, _, height = text.lower().partition("x")
    sides = whole_number(width), whole_number(height)
    if sides[0] is None or sides[1] is None:
        raise InputError("resolution: invalid", got=text[:_SHOWN], expected="1280x720 or similar")
    return sides[0], sides[1]


def parse_crop(text: str) -> tuple[int, int, int, int]:
    """Parse ``x,y,width,height`` in pixels.

    Raises:
        InputError: invalid text.
    """
    numbers = [number for part in text.split(",") if (number := whole_number(part.strip())) is not None]
    if len(numbers) != 4 or text.count(",") != 3:
        raise InputError("crop: invalid", got=text[:_SHOWN], expected="x,y,width,height, such as 0,0,640,480")
    x, y, width, height = numbers
    return x, y, width, height


def _text(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError("a string")
        return parse(value)

    return checked


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("an integer")
    return value


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "resolution": _text(parse_resolution),
    "fps": _number,
    "mjpeg": _flag,
    "rotate": _integer,
    "crop": _text(parse_crop),
    "rate_limit_fps": _number,
    "every_s": _number,
    "on_motion": _number,
    "loop": _flag,
    "hardware_decode": _flag,
    "decode_threads": _integer,
    "camera_clock": _flag,
    "open_timeout_s": _number,
    "read_timeout_s": _number,
}
