"""Writing of files and streams, and documents in the cache folder."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import read_document
from edgeproof_runtime.system.text import json_text

__all__ = [
    "cache_folder",
    "is_standard_output",
    "is_stream",
    "open_stream",
    "read_cached",
    "write_all",
    "write_atomically",
    "write_cached",
    "write_json",
]

_DESCRIPTOR = re.compile(r"/(?:dev|proc/(?P<process>self|thread-self|\d+))/fd/(?P<descriptor>\d+)")
_MAX_LINKS = 40  # as in Linux
_FIFO_WAIT_S, _FIFO_POLL_S = 10.0, 0.05


def cache_folder() -> Path:
    """Return ``$EDGEPROOF_CACHE``, or ``edgeproof`` in the user's cache folder.

    A user without a home folder, or with a relative one, gets a private one until the process ends.
    """
    if "EDGEPROOF_CACHE" in os.environ:
        return Path(os.environ["EDGEPROOF_CACHE"])
    caches = Path(os.environ.get("XDG_CACHE_HOME", ""))  # the XDG specification: relative paths are ignored
    if not caches.is_absolute():
        with suppress(RuntimeError):  # no HOME, and a user id that no file lists
            caches = Path.home() / ".cache"
    if caches.is_absolute():
        return caches / "edgeproof"
    folder = _private_folder().name
    os.environ["EDGEPROOF_CACHE"] = folder  # for child processes
    return Path(folder)


@cache
def _private_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edgeproof-cache-", ignore_cleanup_errors=True)


def read_cached(path: Path, schema: str) -> dict[str, Any] | None:
    """Read a JSON document of the cache; None if it is missing, damaged or of another schema."""
    try:
        raw = read_document(path)
    except InputError:
        return None
    return raw if isinstance(raw, dict) and raw.get("schema") == schema else None


def write_cached(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document to the cache. A cache that cannot be written is no error: the work is done again."""
    with suppress(InputError):
        write_atomically(path, json.dumps(document, indent=2).encode())


def write_json(path: str | Path, document: Any) -> None:
    """Write a document as indented JSON with `write_atomically`.

    Raises:
        InputError: ``path`` cannot be written.
    """
    write_atomically(path, f"{json_text(document)}\n".encode())


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file atomically: a reader finds the old content or the new, never a part, even after a power cut.

    Writes a temporary file beside the file, fsyncs it, renames it and fsyncs the folder. A missing folder is created.
    A symbolic link stays; the file that it names is written. A file that is replaced keeps its mode and owner. ``-``
    is standard output; it, devices and FIFOs are written as streams and never replaced.

    Raises:
        InputError: ``path`` cannot be written; no temporary file is left.
    """
    path = Path(path)
    try:
        if is_stream(path):
            with open_stream(path) as stream:
                write_all(stream, content)
        else:
            _replace(path, content)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        full = getattr(error, "errno", None) == errno.ENOSPC
        fix = "free some space" if full else "choose a folder that exists and is writable"
        raise InputError(f"{path}: cannot be written", got=error, fix=fix) from error


def is_stream(path: str | Path) -> bool:
    """Return whether a path names standard output, another descriptor, a device, FIFO or socket."""
    if _descriptor_of(path) is not None:
        return True
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_standard_output(path: str | Path) -> bool:
    """Return whether a path is ``-`` or names the descriptor of standard output, such as ``/dev/stdout``."""
    return _descriptor_of(path) == 1


def open_stream(path: str | Path) -> io.RawIOBase:
    """Open what `is_stream` recognises for writing; closing it leaves standard streams open.

    Raises:
        OSError: it cannot be opened, or no process opens a FIFO for reading within 10 s.
    """
    descriptor = _descriptor_of(path)
    if descriptor == 1:
        return _StandardOutput()
    if descriptor is not None:
        return os.fdopen(os.dup(descriptor), "wb", buffering=0)
    mode = Path(path).stat().st_mode
    if stat.S_ISBLK(mode):
        raise OSError("is a block device, whose content would be overwritten")
    if not stat.S_ISFIFO(mode):
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_NOCTTY), "wb", buffering=0)
    return os.fdopen(_open_fifo(path), "wb", buffering=0)


def write_all(file: io.RawIOBase, content: bytes) -> None:
    """Write everything to an unbuffered file, which may take it in parts.

    Raises:
        OSError: it cannot be written.
    """
    while content:
        content = content[file.write(content) or 0 :]


def _open_fifo(path: str | Path) -> int:
    for _ in range(round(_FIFO_WAIT_S / _FIFO_POLL_S)):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            time.sleep(_FIFO_POLL_S)
        else:
            os.set_blocking(descriptor, True)
            return descriptor
    raise OSError(f"no process has opened this FIFO for reading within {_FIFO_WAIT_S:.0f} s")


class _StandardOutput(io.RawIOBase):
    """Python's standard output in bytes: in order with what was printed, and never closed."""

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        if sys.stdout is None:
            raise OSError("standard output is closed")
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return len(content)


def _descriptor_of(path: str | Path) -> int | None:
    """Return the descriptor of this process that a path names: 1 for ``-``, ``/dev/stdout`` and links to it."""
    place = Path(path)
    if place == Path("-"):
        return 1
    for _ in range(_MAX_LINKS):
        named = _DESCRIPTOR.fullmatch(str(place))
        if named is not None and named["process"] in (None, "self", "thread-self", str(os.getpid())):
            return int(named["descriptor"])
        try:
            place = place.parent / place.readlink()
        except (OSError, ValueError):
            return None
    return None


def _replace(path: Path, content: bytes) -> None:
    path = Path(os.path.realpath(path))
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(OSError):  # only root may give a file away
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
            # mkstemp makes it private, but others read reports
            os.fchmod(file.fileno(), 0o644 if old is None else stat.S_IMODE(old.st_mode) & 0o777)
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
