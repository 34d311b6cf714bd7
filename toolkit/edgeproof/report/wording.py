"""Numbers and names as text."""

from __future__ import annotations

import unicodedata
from typing import Any

__all__ = [
    "clean",
    "comparison",
    "count",
    "measure",
    "megabytes",
    "number",
    "percent",
    "plain",
    "plural",
    "quantity",
    "three_digits",
    "words",
]

_UNITS = {
    "bytes": "bytes",
    "mib": "MiB",
    "mhz": "MHz",
    "ms": "ms",
    "s": "s",
    "w": "W",
    "c": "°C",
    "mb": "MB",
    "percent": "%",
    "fps": "fps",
}
_ABBREVIATIONS = {"cpu", "gpu", "os", "sm", "sha256", "l4t", "onnx", "fps", "id"}


def clean(text: object) -> str:
    """Replace control characters and lone surrogates, which HTML does not allow."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs") else c for c in str(text))


def words(key: str) -> str:
    """Format a key: ``frames_in`` as ``Frames in``, abbreviations in capitals."""
    spoken = [w.upper() if w in _ABBREVIATIONS else w for w in key.split("_") if w]
    text = " ".join(spoken) or key
    return text[:1].upper() + text[1:]


def measure(key: str, value: Any) -> tuple[str, str]:
    """Format a key with its unit, and its value: ``("total_bytes", 2**33)`` as ``("Total", "8.59 GB")``."""
    name, _, unit = key.rpartition("_")
    if name and unit in _UNITS and isinstance(value, int | float) and not isinstance(value, bool):
        text = megabytes(value) if unit == "bytes" else f"{number(value)} {_UNITS[unit]}"
        return words(name), text
    return words(key), plain(value)


def plain(value: Any) -> str:
    """Format any JSON value."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return ", ".join(plain(v) for v in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items()) or "none"
    return clean(value)


def count(value: float) -> str:
    """Format 1189 as ``1,189``."""
    return f"{value:,.0f}"


def plural(n: int, noun: str) -> str:
    """Format a number with a noun: ``1 gate``, ``2 gates``."""
    return f"{count(n)} {noun}" if n == 1 else f"{count(n)} {noun}s"


def number(value: float) -> str:
    """Format with four significant digits; as a power of ten only if very small or very large."""
    if value == 0:
        return "0"
    if isinstance(value, int) or float(value).is_integer():
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3e}"
    if 1e-3 <= abs(value) < 1e6:
        return f"{value:,.4g}" if abs(value) < 9999.5 else f"{value:,.0f}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def three_digits(value: float) -> str:
    """Format a time or a rate with three significant digits, zeros included: ``0.0413``, ``6.40``, ``118``."""
    if 0 < value < 0.001:
        return "< 0.001"
    return f"{value:#.3g}".rstrip(".") if 0 < value < 999.5 else f"{value:,.0f}"


def percent(share: float) -> str:
    """Format 0.9173 as ``91.73 %``, with two decimals, as accuracies are published."""
    return f"{100 * share:.2f} %"


def megabytes(size_bytes: float) -> str:
    """Format a size in decimal units: ``18.6 MB``, ``25.3 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 999.5:
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def quantity(name: str, value: float) -> str:
    """Format a gate's figure: shares as percent, a cosine with enough digits to differ from 1."""
    if name.endswith(("_agreement", "_accuracy")) or name in ("top1", "top5"):
        return percent(value)
    return f"{value:.7g}" if name == "cosine" else number(value)


def comparison(name: str, limits: dict[str, float]) -> str:
    """Format the bounds of a gate's figure: ``{"max": 0.001}`` as ``≤ 0.001``."""
    signs = (("min", "≥"), ("max", "≤"))
    return ", ".join(f"{sign} {quantity(name, limits[side])}" for side, sign in signs if side in limits)
