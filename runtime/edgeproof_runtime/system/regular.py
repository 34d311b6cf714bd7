"""Reading of regular files: opened once, and never waited for."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

__all__ = ["is_file", "is_folder", "open_regular", "read_regular", "real_path"]


def real_path(path: Path) -> Path:
    """Return where a path leads, through links. A link that leads to itself stays as it is: opening it is the error.

    `Path.resolve` raises RuntimeError for such a link.
    """
    return Path(os.path.realpath(path))


def is_file(path: Path) -> bool:
    """Return whether a path names a regular file; False also for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether a path names a folder; False also for a name that no folder can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def open_regular(path: Path, max_bytes: int) -> FileIO:
    """Open a regular file for reading, without a buffer.

    Raises:
        OSError: it cannot be opened, is larger than ``max_bytes``, or is not a regular file: a FIFO is not opened.
    """
    try:
        before = path.stat()
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    _require_regular(before, path)
    file = FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    try:
        found = os.fstat(file.fileno())  # what is open may be another file than was looked at
        _require_regular(found, path)
        if found.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"{found.st_size} bytes, at most {max_bytes} are read", str(path))
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Read a whole regular file; see `open_regular`.

    Raises:
        OSError: as for `open_regular`; or the file changed while it was read.
    """
    with open_regular(path, max_bytes) as file:
        content = file.readall()
        if len(content) != os.fstat(file.fileno()).st_size:
            raise OSError(errno.EIO, "changed while it was read", str(path))
    return content


def _require_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
