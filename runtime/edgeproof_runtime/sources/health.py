"""Which frames of a stream count as unhealthy, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgeproof_runtime._native import HealthMonitor
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self

__all__ = ["OF_WHOLE_FRAME", "FrameHealth", "HealthOptions"]

FrameHealth = Literal["damaged", "frozen", "black", "overexposed", "covered", "blurred"]
"""What is wrong with a frame. The native core (`frame_health.h`) defines the measures, and the order of the causes."""

OF_WHOLE_FRAME = ("damaged", "frozen", "change")
"""Limits by which a whole frame is judged; the others are measured in each part that is classified."""

_EXPECTED = "false, or a table of limits by cause"
_MEASURED_OFF = "black=off,overexposed=off,covered=off,blurred=off"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthOptions:
    """Limits of healthy frames, for live sources and videos.

    Attributes:
        limits: ``NAME=LIMIT`` separated by commas, or ``off``; names that are not given have the default of spec.json.
        classify: causes, separated by commas, or ``all``: frames that are classified all the same.

    Raises:
        InputError: an unknown name, or a limit out of range.
    """

    limits: str = ""
    classify: str = ""

    def __post_init__(self) -> None:
        self.monitor()

    def monitor(self) -> HealthMonitor:
        """Return a monitor for one stream."""
        return HealthMonitor(self.limits, self.classify)

    def of_whole_frame(self) -> Self:
        """Return the limits that need the whole frame: whether it is damaged or frozen."""
        return replace(self, limits=_joined(self.limits, _MEASURED_OFF))

    def of_part(self, own: HealthOptions) -> Self:
        """Return the limits of a part of the frame: what is measured in it, by its own limits where it has them."""
        limits = _joined(self.limits, own.limits, "damaged=off,frozen=off")
        return replace(self, limits=limits, classify=own.classify or self.classify)

    @classmethod
    def of_damage_only(cls) -> Self:
        """Return options that leave out damaged frames only."""
        return cls(limits=_joined("frozen=off", _MEASURED_OFF))

    @classmethod
    def parse(cls, value: Any, where: str) -> Self:
        """Parse the ``health`` of a table in ``streams.toml``.

        Args:
            value: false, or a mapping of limits by name; ``classify`` is ``"all"`` or an array of causes.
            where: name of the place in error messages.

        Raises:
            InputError: an unknown name or an invalid value; the message names both.
        """
        if value is False:
            return cls(limits="off")
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: health is invalid", got=repr(value), expected=_EXPECTED)
        rest = dict(value)
        classify = rest.pop("classify", "")
        if isinstance(classify, list):
            classify = ",".join(map(str, classify))
        if not isinstance(classify, str):
            raise InputError(f"{where}: health.classify is invalid", got=repr(classify), expected='"all" or [causes]')
        try:
            return cls(limits=",".join(f"{name}={_limit(limit)}" for name, limit in rest.items()), classify=classify)
        except InputError as error:
            raise InputError(f"{where}: {error.what}", got=error.got, expected=error.expected) from error


def _joined(*limits: str) -> str:
    """Return limits of which later ones count; ``off`` can only stand alone, so that it is written out."""
    parts: list[str] = []
    for text in limits:
        parts = [f"damaged=off,frozen=off,{_MEASURED_OFF}"] if text == "off" else [*parts, *([text] if text else ())]
    return ",".join(parts)


def _limit(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
