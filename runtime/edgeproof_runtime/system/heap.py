"""Memory of a program that runs for weeks: how glibc keeps it, and what Python's garbage collector looks at.

Nothing is done with another C library than glibc.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["give_back", "keep_freed", "settled", "share"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt
_COLLECT_EVERY_S = 60.0
_LARGEST_BLOCK = 31 << 20  # glibc takes at most 32 MiB


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc, else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    try:
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


def share() -> None:
    """Let all threads that start from now on take memory from one heap.

    Otherwise they have up to eight heaps per core. Each keeps the most that it ever held, and a reconnected camera's
    thread may get another one than before: a process that runs for weeks would grow for hours.
    """
    glibc = _glibc()
    if glibc is not None:
        glibc.mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Collect what is left of a model that was closed, and give its pages back, which takes some milliseconds."""
    gc.collect()
    glibc = _glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


@contextmanager
def settled() -> Iterator[None]:
    """Let the garbage collector leave out what exists now, until the end, and collect all that came since every minute.

    Libraries, a model and its labels are tens of thousands of objects. Otherwise a full collection looks at them all,
    which stops every thread, and comes the more rarely the more of them there are; until then cycles wait, and Python
    keeps up to 2000 freed tuples of each size, between blocks that others need.
    """
    over = threading.Event()

    def collect() -> None:
        while not over.wait(_COLLECT_EVERY_S):
            gc.collect()

    gc.collect()
    gc.freeze()
    collecting = threading.Thread(target=collect, name="edgeproof-collect", daemon=True)
    collecting.start()
    try:
        yield
    finally:
        over.set()
        collecting.join()
        gc.unfreeze()
