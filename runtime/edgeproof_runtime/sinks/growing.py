"""Text files that grow over many runs: appended to, rotated, and followed when another program rotates them."""

from __future__ import annotations

import errno
import io
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgeproof_runtime import _native
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.files import is_stream, open_stream, write_all
from edgeproof_runtime.system.units import bytes_of

__all__ = ["GrowingFile", "Rotation", "free_name", "not_written", "place_new"]

_LARGEST = 1 << 50
_SECONDS_OF_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is set aside and a new one begun; nothing is deleted.

    Attributes:
        max_bytes: most bytes of a file; None: any size.
        daily: whether each day (UTC) has its own file.
    """

    max_bytes: int | None = None
    daily: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``day`` or a size such as ``100MB`` or ``1GiB``.

        Raises:
            InputError: neither.
        """
        if text == "day":
            return cls(daily=True)
        size = bytes_of(text) or 0
        if not 1000 <= size <= _LARGEST:
            raise InputError("--rotate-files: not a size or day", got=text, expected="day, or a size such as 100MB")
        return cls(max_bytes=size)


class GrowingFile:
    """Append lines to a file, one write each: runs one after another or at once lose nothing.

    A file that was moved, removed or emptied by another program (logrotate) is begun anew under its name. A device,
    FIFO or ``-`` (standard output) is written as a stream.

    Args:
        path: file to append to; made if missing.
        header: first line of the file, without its end; "" for none.
        rotation: when the file is set aside as ``NAME.TIME.SUFFIX``; None: never.

    Raises:
        InputError: the file begins with another header.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | Path, *, header: str = "", rotation: Rotation | None = None) -> None:
        self.path: Path = Path(path)
        self._header = header
        self._rotation = rotation or Rotation()
        self._stream = is_stream(self.path)
        self._day = 0
        self._broken = False
        self._file = self._open()
        if self._stream and header:
            try:
                self._put(header)
            except BaseException:
                self._file.close()
                raise

    def write(self, line: str) -> None:
        """Append a line.

        Raises:
            OSError: it cannot be written.
        """
        if not self._stream:
            self._follow(len(line) + 1)
        self._broken = True
        self._put(line)
        self._broken = False

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def _put(self, line: str) -> None:
        write_all(self._file, line.encode("utf-8", "backslashreplace") + b"\n")

    def _open(self) -> io.RawIOBase:
        if self._stream:
            return open_stream(self.path)
        file = io.FileIO(self.path, "a+")
        try:
            self._begin(file)
        except BaseException:
            file.close()
            raise
        return file

    def _begin(self, file: io.FileIO) -> None:
        facts = os.fstat(file.fileno())
        self._day = int(facts.st_mtime if facts.st_size else time.time()) // _SECONDS_OF_DAY
        header = self._header.encode()
        if not facts.st_size:
            if header:
                file.write(header + b"\n")
            return
        file.seek(0)
        first = file.readline(len(header) + 2)
        if header and first.rstrip(b"\r\n") != header:
            raise InputError(
                f"{self.path}: begins with other columns",
                got=first[:80].decode("utf-8", "replace").strip(),
                expected=self._header,
                fix="name another file",
            )
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":  # a run was killed, or the power failed, within a line
            file.write(b"\n")

    def _follow(self, more: int) -> None:
        if self._file.closed:  # opening failed the last time, such as on a full disk
            self._file = self._open()
            return
        own = os.fstat(self._file.fileno())
        try:
            found: os.stat_result | None = self.path.stat()
        except FileNotFoundError:
            found = None
        # After a failed write, such as on a full disk, a part of a line may be there: opening ends it.
        if self._broken or found is None or not os.path.samestat(found, own) or (self._header and not found.st_size):
            self._reopen()
            return
        rotation, today = self._rotation, int(time.time()) // _SECONDS_OF_DAY
        full = rotation.max_bytes is not None and found.st_size + more > rotation.max_bytes
        if (full and found.st_size > len(self._header) + 1) or (
            rotation.daily and _native.is_new_day(self._day, today)
        ):
            real = Path(os.path.realpath(self.path))
            place_new(real, real.with_name(f"{real.stem}.{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}{real.suffix}"))
            self._reopen()

    def _reopen(self) -> None:
        self._file.close()
        self._file = self._open()


def not_written(path: str | Path, what: str, error: OSError | ValueError) -> InputError:
    """Return the error of a file of ``what`` that could not be opened or appended to."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return InputError(
        f"{path}: cannot write {what}",
        got=getattr(error, "strerror", None) or error,
        fix="free space on the disk; what comes after that is written" if full else None,
    )


def free_name(path: Path) -> Path:
    """Return the path, or the first of ``NAME-2.SUFFIX``, ``NAME-3.SUFFIX``, ... that does not exist."""
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def place_new(file: Path, path: Path) -> Path:
    """Rename a file to a path that does not exist yet, numbered as by `free_name`; return the new name.

    Raises:
        OSError: it cannot be renamed.
    """
    while True:
        free = free_name(path)
        with suppress(FileExistsError):  # taken by another process meanwhile
            try:
                os.link(file, free)
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                file.rename(free)
            else:
                file.unlink()
            return free
