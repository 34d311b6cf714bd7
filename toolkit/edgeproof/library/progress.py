"""How the functions of the library report progress."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "no_progress"]

Progress = Callable[[str, int, int], None]
"""Called with (phase, done, total) again and again; a phase is over when done equals total."""


def no_progress(_phase: str, _done: int, _total: int) -> None:
    """Ignore progress."""
