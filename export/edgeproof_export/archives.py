"""Read zip archives of models strictly: every reader must see the same entries, none larger than the file."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, BinaryIO

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import parse_document

__all__ = ["Archive", "ArchiveError", "opened", "require_small_directory"]

_MOST_ENTRIES = 50_000
_MOST_JSON_BYTES = 32 << 20
_MOST_DIRECTORY = 16 << 20
_TAIL = 22 + 0xFFFF + 20  # end record with its comment, and the locator of Zip64 before it
_IN_ZIP64 = 0xFFFFFFFF
_ENCRYPTED = 0x1


class ArchiveError(ValueError):
    """An archive that readers may take differently, or that is too large."""


class Archive:
    """An archive of stored (not compressed) entries.

    Attributes:
        sizes: bytes of each entry.
    """

    def __init__(self, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> None:
        self._archive = archive
        self._entries = entries
        self.sizes: dict[str, int] = {name: entry.file_size for name, entry in entries.items()}

    def read(self, name: str, most: int = _MOST_JSON_BYTES) -> bytes:
        """Read an entry.

        Raises:
            ArchiveError: it is missing, larger than ``most`` bytes, or damaged.
        """
        with self.stream(name) as stream:
            if self.sizes[name] > most:
                raise ArchiveError(f"{name}: {self.sizes[name]} bytes, more than {most}")
            return stream.read()

    def document(self, name: str) -> Any:
        """Read a JSON document.

        Raises:
            ArchiveError: it is missing, too large, or not JSON of the strict dialect.
        """
        try:
            return parse_document(self.read(name), name, max_bytes=_MOST_JSON_BYTES)
        except InputError as error:
            raise ArchiveError(f"{error.what}: {error.got}") from error

    @contextmanager
    def stream(self, name: str) -> Iterator[IO[bytes]]:
        """Open an entry.

        Raises:
            ArchiveError: it is missing or damaged.
        """
        if name not in self._entries:
            raise ArchiveError(f"{name}: missing")
        try:
            with self._archive.open(self._entries[name]) as stream:
                yield stream
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise ArchiveError(f"{name}: {error}") from error


@contextmanager
def opened(file: BinaryIO, *, compressed: bool = False) -> Iterator[Archive]:
    """Open an archive.

    Args:
        file: the file, open for reading.
        compressed: allow compressed entries.

    Raises:
        ArchiveError: not an archive, or one that another reader may read differently.
    """
    require_small_directory(file)
    size = file.seek(0, 2)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise ArchiveError(str(error)) from error
    with archive:
        entries = archive.infolist()
        if len(entries) > _MOST_ENTRIES:
            raise ArchiveError(f"{len(entries)} entries, more than {_MOST_ENTRIES}")
        found: dict[str, zipfile.ZipInfo] = {}
        folded = set()
        for entry in entries:
            _require_plain(entry, compressed)
            if entry.filename.lower() in folded:
                raise ArchiveError(f"entry {entry.filename!r} twice")
            folded.add(entry.filename.lower())
            found[entry.filename] = entry
        if sum(entry.compress_size for entry in entries) > size:
            raise ArchiveError("entries that overlap")
        yield Archive(archive, found)


def require_small_directory(file: BinaryIO) -> None:
    """Require a list of entries that is small: `zipfile` builds an object for each before anything can be asked.

    Raises:
        ArchiveError: it is too large.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        return  # not an archive, which `zipfile` says
    (length,) = struct.unpack_from("<L", tail, end + 12)
    locator = tail.rfind(b"PK\6\7", 0, end)
    if length == _IN_ZIP64 and 0 <= locator <= len(tail) - 20:
        (offset,) = struct.unpack_from("<Q", tail, locator + 8)
        if offset <= size - 56:
            file.seek(offset)
            (length,) = struct.unpack_from("<Q", file.read(56), 40)
    if length > _MOST_DIRECTORY:
        raise ArchiveError(f"a list of entries of {length} bytes, more than {_MOST_DIRECTORY}")


def _require_plain(entry: zipfile.ZipInfo, compressed: bool) -> None:
    name = entry.filename
    if name != entry.orig_filename or "\\" in name or name.startswith("/") or ".." in name.split("/"):
        raise ArchiveError(f"entry with the name {entry.orig_filename!r}")
    if entry.flag_bits & _ENCRYPTED:
        raise ArchiveError(f"encrypted entry {name!r}")
    stored = entry.compress_type == zipfile.ZIP_STORED
    if (stored or not compressed) and (not stored or entry.file_size != entry.compress_size):
        raise ArchiveError(f"compressed entry {name!r}")
