"""How a source is to be opened, beyond its address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from edgeproof_runtime.errors import InputError

__all__ = ["SourceOptions", "parse_crop", "parse_resolution"]

_MAX_SIDE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What is asked of one source. What a kind of source cannot be asked is refused when it is opened.

    Attributes:
        resolution: (width, height) in pixels, asked of a camera.
        fps: frames per second, asked of a camera.
        mjpeg: ask a V4L2 camera for MJPEG, which most USB cameras need above 640x480 at full rate.
        rotate: degrees clockwise: 0, 90, 180 or 270.
        crop: (x, y, width, height) in pixels of the rotated frame.
        rate_limit_fps: at most so many frames per second: of a live source the others are left out and counted,
            anything else is read at this pace.
        loop: begin again at the end; for files and pictures.
        hardware_decode: decode video on the GPU or video unit where FFmpeg can; `Source.notes` says if it did.
        decode_threads: of FFmpeg's decoder; None takes 1 for streams, because each further one holds a frame back,
            and one per core for files.
        camera_clock: take an RTSP camera's own time of capture, from its RTCP sender reports, in place of the arrival.
            Right as far as its clock and this machine's agree: both must be set by NTP or PTP.
        open_timeout_s: for a network source to answer.
        read_timeout_s: for its next frame.

    Raises:
        InputError: a value makes no sense.
    """

    resolution: tuple[int, int] | None = None
    fps: float | None = None
    mjpeg: bool = False
    rotate: int = 0
    crop: tuple[int, int, int, int] | None = None
    rate_limit_fps: float | None = None
    loop: bool = False
    hardware_decode: bool = False
    decode_threads: int | None = None
    camera_clock: bool = False
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0

    def __post_init__(self) -> None:
        if self.resolution is not None and not all(0 < side < _MAX_SIDE for side in self.resolution):
            raise InputError("no such resolution", got="x".join(map(str, self.resolution)), expected="such as 1280x720")
        if self.rotate not in (0, 90, 180, 270):
            raise InputError("cannot rotate by this angle", got=self.rotate, expected="0, 90, 180 or 270")
        if self.crop is not None and not (min(self.crop[:2]) >= 0 and min(self.crop[2:]) > 0):
            raise InputError(
                "the crop holds no pixel",
                got=",".join(map(str, self.crop)),
                expected="x,y,width,height, such as 0,0,64,64",
            )
        for name in ("fps", "rate_limit_fps", "open_timeout_s", "read_timeout_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 100_000:
                raise InputError(f"{name} makes no sense", got=value, expected="a number above 0")
        if self.decode_threads is not None and not 1 <= self.decode_threads <= 64:
            raise InputError("decode_threads makes no sense", got=self.decode_threads, expected="1 to 64")

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Options from a file a person wrote.

        Args:
            values: option -> value; ``resolution`` as ``"1280x720"``, ``crop`` as ``"x,y,width,height"``.
            where: what to call the place in an error.

        Raises:
            InputError: an unknown option, or a value that makes no sense; the message names both.
        """
        known = [f.name for f in fields(cls)]
        parsed: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise InputError(f"{where} has an unknown option", got=name, expected=", ".join(known))
            try:
                parsed[name] = _PARSERS[name](value)
            except (TypeError, ValueError) as error:
                raise InputError(f"{where}: {name} makes no sense", got=repr(value), expected=str(error)) from error
            except InputError as error:
                raise InputError(f"{where}: {error.what}", got=error.got, expected=error.expected) from error
        try:
            return cls(**parsed)
        except InputError as error:
            raise InputError(f"{where}: {error.what}", got=error.got, expected=error.expected) from error

    def refuse(self, kind: str, *names: str) -> None:
        """Refuse options that a kind of source cannot be asked.

        Raises:
            InputError: one of them was asked for.
        """
        asked = [f.name for f in fields(self) if f.name in names and getattr(self, f.name) != f.default]
        if asked:
            raise InputError(f"{kind} cannot be asked for {', '.join(asked)}", fix=f"leave {asked[0]} out")


def parse_resolution(text: str) -> tuple[int, int]:
    """``1280x720`` as (width, height).

    Raises:
        InputError: it is none.
    """
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError("no such resolution", got=text, expected="such as 1280x720")
    return int(width), int(height)


def parse_crop(text: str) -> tuple[int, int, int, int]:
    """``x,y,width,height`` in pixels.

    Raises:
        InputError: it is none.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        raise InputError("no such crop", got=text, expected="x,y,width,height, such as 0,0,640,480")
    x, y, width, height = map(int, parts)
    return x, y, width, height


def _text(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError("a text")
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
        raise TypeError("a whole number")
    return value


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "resolution": _text(parse_resolution),
    "fps": _number,
    "mjpeg": _flag,
    "rotate": _integer,
    "crop": _text(parse_crop),
    "rate_limit_fps": _number,
    "loop": _flag,
    "hardware_decode": _flag,
    "decode_threads": _integer,
    "camera_clock": _flag,
    "open_timeout_s": _number,
    "read_timeout_s": _number,
}
