"""Private copies of files: what was hashed is what an engine reads, whatever becomes of the file meanwhile."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeproof_runtime.system.regular import open_regular

__all__ = ["PrivateCopy", "private_copy", "private_copy_of"]

_PIECE = 1 << 18  # stays in the CPU's cache while it is read, hashed and written
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
    """Copy a regular file that is opened once, and hash what was copied. The copy ends with the block.

    It lies in sealed memory (``memfd_create``), or in a private temporary folder where there is none.

    Raises:
        OSError: the file cannot be read, is empty, is not a regular file, or is larger than ``max_bytes``.
    """
    with open_regular(path, max_bytes) as file, _target() as (target, name):
        digest = hashlib.sha256()
        piece = memoryview(bytearray(_PIECE))
        while count := file.readinto(piece):
            digest.update(piece[:count])
            _write(target, piece[:count])
        with _mapped(target) as content:
            yield PrivateCopy(name, content, digest.hexdigest())


@contextmanager
def private_copy_of(content: bytes) -> Iterator[PrivateCopy]:
    """As `private_copy`, of bytes."""
    with _target() as (target, name):
        _write(target, memoryview(content))
        with _mapped(target) as view:
            yield PrivateCopy(name, view, hashlib.sha256(content).hexdigest())


@contextmanager
def _target() -> Iterator[tuple[int, str]]:
    """Yield a descriptor to write to, and a path to read from."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
        descriptor = os.memfd_create("edgeproof", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            yield descriptor, f"/proc/{os.getpid()}/fd/{descriptor}"
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


@contextmanager
def _mapped(target: int) -> Iterator[mmap.mmap]:
    try:
        fcntl.fcntl(target, _ADD_SEALS, _ALL_SEALS)
    except OSError:
        os.fchmod(target, 0o400)  # a temporary file has no seals
    if os.fstat(target).st_size == 0:
        raise OSError(errno.ENODATA, "an empty file")
    view = mmap.mmap(target, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    try:
        yield view
    finally:
        view.close()
