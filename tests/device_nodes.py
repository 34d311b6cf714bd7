"""Device nodes, a FIFO and links in a folder of a test: no test may write to the machine's own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

__all__ = ["make_nodes"]


def make_nodes(folder: Path) -> Path:
    """Make ``null``, ``full``, ``fifo``, ``link`` to null, ``link-to-file`` to a new file, ``stdout`` as in /dev.

    Skips where it may not.
    """
    folder.mkdir()
    try:
        for name, minor in (("null", 3), ("full", 7)):
            os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            (folder / name).open("wb").close()
    except OSError:
        pytest.skip("device nodes cannot be made here")
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to("null")
    (folder / "stdout").symlink_to("/proc/self/fd/1")
    (folder / "link-to-file").symlink_to("new.txt")
    return folder
