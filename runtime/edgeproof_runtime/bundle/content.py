"""Content of a bundle's files: opened once, and checked against the size and sha256 that are listed."""

from __future__ import annotations

import hashlib
import os
from io import BufferedReader, FileIO
from pathlib import Path

from edgeproof_runtime.bundle.manifest import FileEntry
from edgeproof_runtime.errors import BundleError
from edgeproof_runtime.system.regular import open_regular, real_path
from edgeproof_runtime.system.spec import SPEC

__all__ = ["check_listed", "check_present", "digest_of", "read_listed", "sha256_of"]

_FIX = "copy the whole folder again, or export the bundle again"
_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_MAX_READ_BYTES: int = SPEC["bounds"]["tensor_bytes"] + _HEADER_BYTES
_MAX_BYTES: int = SPEC["bounds"]["compiled_bytes"]


def read_listed(root: Path, name: str, entry: FileEntry) -> bytes:
    """Read a file of a bundle once, and check the bytes that were read.

    Args:
        root: the bundle's folder.
        name: path of the file in it.
        entry: expected size and sha256.

    Raises:
        BundleError: the file is missing, leads outside, is not a regular file, was modified, or is larger than
            a tensor may be.
    """
    with _opened(root, name, entry, _MAX_READ_BYTES) as file:
        content = file.readall()
    _check(root / name, len(content), hashlib.sha256(content).hexdigest(), entry)
    return content


def check_listed(root: Path, name: str, entry: FileEntry) -> None:
    """Check a file of a bundle without keeping its content in memory.

    Raises:
        BundleError: the file is missing, leads outside, is not a regular file, or was modified.
    """
    with _opened(root, name, entry, _MAX_BYTES) as file:
        digest = _sha256(file)
        size = file.tell()
    _check(root / name, size, digest, entry)


def check_present(root: Path, name: str, entry: FileEntry) -> None:
    """Check presence and size of a file whose content is checked when an engine reads it.

    Raises:
        BundleError: the file is missing, leads outside, is not a regular file, or has another size.
    """
    path = _inside(root, name)
    if not path.is_file():
        raise _missing(root, name)
    _check(path, path.stat().st_size, entry.sha256, entry)


def digest_of(root: Path, name: str) -> str:
    """Compute the sha256 of a regular file of a bundle.

    Raises:
        BundleError: the file is missing, leads outside, is not a regular file, or is larger than any may be.
    """
    with _open(root, name, _MAX_BYTES) as file:
        return _sha256(file)


def sha256_of(path: Path) -> str:
    """Compute the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return _sha256(file)


def _sha256(file: BufferedReader | FileIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _inside(root: Path, name: str) -> Path:
    path = root / name
    if not real_path(path).is_relative_to(real_path(root)):
        raise BundleError(
            f"{name}: leads outside the bundle", got=real_path(path), expected=f"inside {real_path(root)}"
        )
    return path


def _missing(root: Path, name: str) -> BundleError:
    return BundleError(f"{root}: file missing", got=f"no {name}", fix="copy the whole folder again")


def _open(root: Path, name: str, max_bytes: int) -> FileIO:
    path = _inside(root, name)
    try:
        return open_regular(path, max_bytes)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(root, name) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read", got=error, fix="copy the whole folder again") from error


def _opened(root: Path, name: str, entry: FileEntry, max_bytes: int) -> FileIO:
    file = _open(root, name, max_bytes)
    size = os.fstat(file.fileno()).st_size
    if size != entry.size_bytes:
        file.close()
        _check(root / name, size, entry.sha256, entry)
    return file


def _check(path: Path, size: int, digest: str, entry: FileEntry) -> None:
    if size != entry.size_bytes:
        raise BundleError(f"{path}: modified", got=f"{size} bytes", expected=f"{entry.size_bytes} bytes", fix=_FIX)
    if digest != entry.sha256:
        raise BundleError(f"{path}: modified", got=f"sha256 {digest}", expected=f"sha256 {entry.sha256}", fix=_FIX)
