"""Content of a bundle's files: opened once, and checked against the size and sha256 that are listed."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path

from edgeproof_runtime.bundle.manifest import FileEntry
from edgeproof_runtime.errors import BundleError
from edgeproof_runtime.system.regular import real_path

__all__ = ["check_listed", "read_listed", "sha256_of"]

_FIX = "copy the whole folder again, or export the bundle again"


def read_listed(root: Path, name: str, entry: FileEntry) -> bytes:
    """Read a file of a bundle once, and check the bytes that were read.

    Args:
        root: the bundle's folder.
        name: path of the file in it.
        entry: expected size and sha256.

    Raises:
        BundleError: the file is missing, leads outside, is not a regular file, or was modified.
    """
    with _opened(root, name, entry) as file:
        content = file.read(entry.size_bytes + 1)
    _check(root / name, len(content), hashlib.sha256(content).hexdigest(), entry)
    return content


def check_listed(root: Path, name: str, entry: FileEntry) -> None:
    """Check a file of a bundle without keeping its content in memory.

    Raises:
        BundleError: as for `read_listed`.
    """
    with _opened(root, name, entry) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    _check(root / name, size, digest, entry)


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _opened(root: Path, name: str, entry: FileEntry) -> io.BufferedReader:
    path = root / name
    if not real_path(path).is_relative_to(real_path(root)):
        raise BundleError(
            f"{name}: leads outside the bundle", got=real_path(path), expected=f"inside {real_path(root)}"
        )
    try:
        file = _regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"{root}: file missing", got=f"no {name}", fix="copy the whole folder again") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read", got=error, fix="copy the whole folder again") from error
    size = os.fstat(file.fileno()).st_size
    if size != entry.size_bytes:
        file.close()
        raise BundleError(f"{path}: modified", got=f"{size} bytes", expected=f"{entry.size_bytes} bytes", fix=_FIX)
    return file


def _regular(path: Path) -> io.BufferedReader:
    """Open a regular file; nothing that would block, such as a FIFO, is waited for."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("not a regular file")
    return file


def _check(path: Path, size: int, digest: str, entry: FileEntry) -> None:
    if size != entry.size_bytes:
        raise BundleError(f"{path}: modified", got=f"{size} bytes", expected=f"{entry.size_bytes} bytes", fix=_FIX)
    if digest != entry.sha256:
        raise BundleError(f"{path}: modified", got=f"sha256 {digest}", expected=f"sha256 {entry.sha256}", fix=_FIX)
