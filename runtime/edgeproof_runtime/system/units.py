"""Parse durations and sizes as people write them."""

from __future__ import annotations

import math
import re

__all__ = ["bytes_of", "seconds_of"]

_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def seconds_of(text: str) -> float | None:
    """Return the seconds of ``8h``, ``1h30m``, ``90s``, ``250ms`` or ``90``; None if it is no duration above 0.

    ``tests/golden/durations.json`` holds C++ to the same.
    """
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhd]?)", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return seconds if "".join(number + unit for number, unit in parts) == text and 0 < seconds < math.inf else None


def bytes_of(text: str) -> int | None:
    """Return the bytes of ``100MB`` or ``1GiB``; None if it is no size."""
    found = re.fullmatch(r"(\d{1,12})\s*([kKMG]i?B)", text)
    return int(found[1]) * _BYTES[found[2].upper()] if found is not None else None
