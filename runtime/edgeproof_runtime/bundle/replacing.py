"""Find a bundle whose replacement was interrupted, and lock folders while they are written.

Where the file system cannot exchange two folders at once, an export moves the old bundle aside before the new one takes
its place. A process that was killed in between leaves the only copy in the folder aside.
"""

from __future__ import annotations

import fcntl
import glob
import os
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["ASIDE", "find_bundle", "lock"]

ASIDE = ".old.partial"

_WAIT_S = 2.0
_PAUSE_S = 0.01


def find_bundle(folder: Path) -> Path:
    """Return the folder of a bundle; after an interrupted replacement move the old bundle back first.

    Where it cannot be moved back, as on a read-only file system, the path of the old bundle is returned.
    """
    deadline = time.monotonic() + _WAIT_S
    while not os.path.lexists(folder):
        aside = next(iter(_aside(folder)), None)
        if aside is None:
            return folder
        try:
            held = lock(aside.parent)
        except OSError:
            if time.monotonic() < deadline:
                time.sleep(_PAUSE_S)  # an export is between its two renames
                continue
            held = None
        try:
            with suppress(OSError):
                aside.rename(folder)
                aside.parent.rmdir()
            if not os.path.lexists(folder) and aside.exists():
                return aside
        finally:
            if held is not None:
                os.close(held)
    return folder


def lock(path: Path) -> int | None:
    """Lock a file or a folder for this process without waiting.

    Returns:
        A descriptor, which holds the lock until it is closed; None on a file system without locks.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _aside(folder: Path) -> list[Path]:
    try:
        found = folder.parent.glob(f".{glob.escape(folder.name)}.*{ASIDE}/{glob.escape(folder.name)}/bundle.json")
        return sorted(path.parent for path in found)
    except (OSError, ValueError):  # a name that no file can have
        return []
