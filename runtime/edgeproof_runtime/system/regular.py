"""Reading of regular files: opened once, and never waited for."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["read_regular"]


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Read a whole regular file, opened once and without waiting.

    Raises:
        OSError: it cannot be read, is larger than ``max_bytes``, or is a FIFO, device or folder, which are not opened.
    """
    _require_regular(path.stat(), path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)  # what is open may be another file than was looked at
        _require_regular(found, path)
        if found.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"{found.st_size} bytes, at most {max_bytes} are read", str(path))
        whole = file.read()
    if len(whole) != found.st_size:
        raise OSError(errno.EIO, "changed while it was read", str(path))
    return whole


def _require_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
