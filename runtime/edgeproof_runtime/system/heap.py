"""Give memory that the C library holds for freed blocks back to the system."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import cast

__all__ = ["give_back"]


@functools.cache
def _trim() -> Callable[[int], int] | None:
    """Return glibc's ``malloc_trim``; None for another C library."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return cast("Callable[[int], int]", trim)


def give_back() -> None:
    """Give free pages of all heaps back, from any thread; does nothing without glibc.

    glibc has a heap per thread, and a new thread may get another heap than the one that ended. Without this, each of
    them keeps the frames that it once held.
    """
    trim = _trim()
    if trim is not None:
        trim(0)
