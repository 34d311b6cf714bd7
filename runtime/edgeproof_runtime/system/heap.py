"""How long the C library keeps the memory of freed blocks, where it is glibc."""

from __future__ import annotations

import ctypes
import functools
import sys

__all__ = ["give_back", "keep_freed"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt
_LARGEST_BLOCK = 31 << 20  # glibc takes at most 32 MiB
_LITTLE = 1 << 20


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    try:
        library.malloc_trim.argtypes = [ctypes.c_size_t]
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except AttributeError:
        return None
    return library


def keep_freed() -> None:
    """Keep the memory of freed blocks of up to 31 MiB.

    Otherwise the pages of every frame are given back and cleared anew, which takes as long as its conversion.
    """
    glibc = _glibc()
    if glibc is not None:
        glibc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        glibc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_BLOCK)


def give_back() -> None:
    """Give free pages of all heaps back, and the end of each heap with the next large block that is freed in it.

    The latter until `keep_freed` is called. glibc has a heap per thread, and a new thread may get another one than the
    thread that ended: each of them would keep the most that it ever held.
    """
    glibc = _glibc()
    if glibc is not None:
        glibc.mallopt(_TRIM_THRESHOLD, _LITTLE)
        glibc.malloc_trim(0)
