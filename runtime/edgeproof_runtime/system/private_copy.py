"""Content that stays: what was hashed is what an engine reads, whatever becomes of the file meanwhile."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.regular import open_regular

__all__ = ["PrivateCopy", "private_copy", "private_copy_of"]

_PIECE = 1 << 18  # stays in the CPU's cache while it is read, hashed and written
_DESCRIPTORS = Path("/proc/self/fd")
_BREAK_TIME = Path("/proc/sys/fs/lease-break-time")  # seconds that the kernel gives the holder of a lease
_ADD_SEALS, _ALL_SEALS = 1033, 0b1111  # linux/fcntl.h: no further seals, no shrinking, growing or writing


@dataclass(frozen=True, slots=True)
class PrivateCopy:
    """Bytes that no other process can change.

    Attributes:
        path: where a library that takes only paths finds them, in this process and its children.
        content: the bytes, mapped.
        sha256: their hash, in hexadecimal.
    """

    path: str
    content: mmap.mmap
    sha256: str


@contextmanager
def private_copy(path: Path, max_bytes: int) -> Iterator[PrivateCopy]:
    """Open a regular file once, hash it, and keep its content from changing until the block ends.

    A read lease keeps writers of the file itself waiting, at no cost (fcntl(2), "Leases"). Where the file system has
    none, the file is another user's or a process has it open for writing, it is copied: into sealed memory
    (``memfd_create``), or into a private temporary folder where there is none.

    Raises:
        OSError: the file cannot be read, is empty, is not a regular file, or is larger than ``max_bytes``.
        InputError: a writer waited longer than the kernel lets it, and may have changed the file.
    """
    with ExitStack() as held:
        file = held.enter_context(open_regular(path, max_bytes))
        begin = time.monotonic()
        leased = _lease(file.fileno())
        target, name = (file.fileno(), _path_of(file.fileno())) if leased else held.enter_context(_target())
        digest = hashlib.sha256()
        piece = memoryview(bytearray(_PIECE))
        while count := file.readinto(piece):
            digest.update(piece[:count])
            if not leased:
                _write(target, piece[:count])
        if not leased:
            _seal(target)
        with _mapped(target) as content:
            yield PrivateCopy(name, content, digest.hexdigest())
        if leased and time.monotonic() - begin > _break_time_s() and not _has_lease(file.fileno()):
            raise InputError(f"{path}: changed while it was read", fix="try again when nothing writes it")


@contextmanager
def private_copy_of(content: bytes) -> Iterator[PrivateCopy]:
    """As `private_copy`, of bytes."""
    with _target() as (target, name):
        _write(target, memoryview(content))
        _seal(target)
        with _mapped(target) as view:
            yield PrivateCopy(name, view, hashlib.sha256(content).hexdigest())


@contextmanager
def _target() -> Iterator[tuple[int, str]]:
    """Yield a descriptor to write to, and a path to read from."""
    if hasattr(os, "memfd_create") and _DESCRIPTORS.is_dir():
        descriptor = os.memfd_create("edgeproof", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            yield descriptor, _path_of(descriptor)
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory(prefix="edgeproof-") as folder:
        path = Path(folder) / "content"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor, str(path)
        finally:
            os.close(descriptor)


def _write(target: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(target, piece) :]


def _path_of(descriptor: int) -> str:
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _lease(descriptor: int) -> bool:
    """Take a read lease on an open file; False where there is none to have."""
    if not _DESCRIPTORS.is_dir():
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # ignored by default; SIGIO would end the process
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, 0)  # no signal at all: writers wait for the block to end
    except OSError:
        return False
    return True


def _has_lease(descriptor: int) -> bool:
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def _break_time_s() -> float:
    try:
        return float(_BREAK_TIME.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0.0


def _seal(target: int) -> None:
    try:
        fcntl.fcntl(target, _ADD_SEALS, _ALL_SEALS)
    except OSError:
        os.fchmod(target, 0o400)  # a temporary file has no seals


@contextmanager
def _mapped(target: int) -> Iterator[mmap.mmap]:
    if os.fstat(target).st_size == 0:
        raise OSError(errno.ENODATA, "an empty file")
    view = mmap.mmap(target, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    try:
        yield view
    finally:
        view.close()
