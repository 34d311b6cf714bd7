"""Progress callbacks of the library's functions."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "no_progress"]

Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total); a phase is complete when done equals total."""


def no_progress(_phase: str, _done: int, _total: int) -> None:
    """Ignore progress."""
