"""Bounds of what people ask for and of what they give, from ``spec.json``: checked before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterable

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.host import usable_cores
from edgeproof_runtime.system.spec import SPEC

__all__ = ["bound", "require_at_most", "require_duration", "require_parallel", "require_texts"]

_SHOWN = 60


def bound(name: str) -> int:
    """Return a bound of ``spec.json``."""
    found: int = SPEC["bounds"][name]
    return found


def require_at_most(count: int, name: str, what: str) -> None:
    """Refuse a number above a bound.

    Raises:
        InputError: it is; the message begins with ``what``.
    """
    if count > bound(name):
        raise InputError(f"{what}: too many", got=f"{count:,}", expected=f"at most {bound(name):,}")


def require_parallel(count: int | None, what: str) -> None:
    """Check a number of threads, workers or inference lanes against the cores; None is allowed.

    Raises:
        InputError: below 1, or above 8 for each core.
    """
    most = usable_cores() * bound("per_core")
    if count is not None and not 1 <= count <= most:
        raise InputError(f"{what}: out of range", got=count, expected=f"1 to {most}, {bound('per_core')} for each core")


def require_duration(seconds: float | None, what: str) -> None:
    """Check a duration; None is allowed.

    Raises:
        InputError: not above 0, or above ten years.
    """
    if seconds is not None and not 0 < seconds <= bound("duration_s"):
        raise InputError(
            f"{what}: out of range", got=f"{seconds:g} s", expected=f"above 0, at most {bound('duration_s')} s"
        )


def require_texts(texts: Iterable[str], what: str) -> None:
    """Refuse names and labels that are too long to be any.

    Raises:
        InputError: one is; the message shows where it begins.
    """
    most = bound("text_characters")
    for text in texts:
        if len(text) > most:
            raise InputError(
                f"{what}: too long",
                got=f"{len(text)} characters, beginning {text[:_SHOWN]!r}",
                expected=f"at most {most} characters",
            )
