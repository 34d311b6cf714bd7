"""Places and limits that a program may find itself in: a full disk, no file left to open, a working folder that is gone.

Each is made by a process for itself, before the program runs in it. Mounts are private to the process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

__all__ = ["MOUNTS", "PLACES", "can_mount"]

_NEW_MOUNTS = 0x20000  # sched.h
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18  # sys/mount.h


def _mount(target: str, source: str = "none", kind: str = "tmpfs", flags: int = 0, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode()) != 0:
        raise OSError(ctypes.get_errno(), "mount", target)


def _private() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _mount("/", flags=_RECURSIVE | _PRIVATE)


def _full(folder: str) -> Callable[[], None]:
    def make() -> None:
        _private()
        _mount(folder, options="size=8k,mode=777")
        with Path(folder, "fill").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass

    return make


def _read_only() -> None:
    _private()
    here = str(Path.cwd())
    _mount(here, here, flags=_BIND)
    _mount(here, here, flags=_BIND | _REMOUNT | _READ_ONLY)
    os.chdir(here)


def _hidden(target: str) -> Callable[[], None]:
    def make() -> None:
        _private()
        _mount(target)

    return make


def _without_users() -> None:
    _private()
    _mount("/etc/passwd", os.devnull, flags=_BIND)


def _gone() -> None:
    gone = Path("home/gone").absolute()
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()


def _limited(name: int, limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(name, (limit, limit))


def _closed(*descriptors: int) -> Callable[[], None]:
    return lambda: [os.close(descriptor) for descriptor in descriptors] and None


def _full_messages() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 2)
    os.close(full)


MOUNTS: dict[str, Callable[[], None]] = {
    "outputs on a full disk": _full("out"),
    "TMPDIR full": _full("tmp"),
    "HOME full": _full("home"),
    "all read-only": _read_only,
    "without /sys": _hidden("/sys"),
    "without users": _without_users,
}
"""Places that need a mount."""

PLACES: dict[str, Callable[[], None]] = {
    **MOUNTS,
    "working folder gone": _gone,
    "32 open files": _limited(resource.RLIMIT_NOFILE, 32),
    "files of 4 kB": _limited(resource.RLIMIT_FSIZE, 4096),
    "no more processes": _limited(resource.RLIMIT_NPROC, 1),
    "stdin closed": _closed(0),
    "stderr closed": _closed(2),
    "stderr full": _full_messages,
    "all streams closed": _closed(0, 1, 2),
    "umask 777": lambda: os.umask(0o777) and None,
}
"""All places."""


@cache
def can_mount() -> bool:
    """Return whether this user may mount."""
    tool = shutil.which("unshare")
    return tool is not None and subprocess.run([tool, "-m", "true"], check=False, capture_output=True).returncode == 0
