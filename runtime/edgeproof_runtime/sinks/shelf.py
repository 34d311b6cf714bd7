"""Name, keep and remove recordings: files named by their start, of which the oldest ones are removed."""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.units import bytes_of, seconds_of

__all__ = ["Keep", "Segment", "Shelf", "file_stem"]

_STAMP = "%Y%m%dT%H%M%SZ"
_SMALLEST = 10**6
_PRUNE_EVERY_S = 10.0
_DETAIL = 40
_NAMED = re.compile(r"\.(\d{8}T\d{6}Z)(?=(?:\..+)?(?:-\d+)?\.[^.]+\Z)", re.DOTALL)


def file_stem(stream: str) -> str:
    """Return a stream's name in file names: ``belt+left`` for the region ``belt/left``, which no stream is called."""
    return stream.replace("/", "+")


@dataclass(frozen=True, slots=True)
class _Bounds:
    """A time and a size; None: no bound."""

    _OPTION: ClassVar[str]

    seconds: float | None = None
    max_bytes: int | None = None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self | None:
        """Parse times such as ``10m`` or ``7d`` and sizes such as ``500MB``; None without any.

        Raises:
            InputError: neither, or too little.
        """
        seconds: float | None = None
        size: int | None = None
        for text in texts:
            as_size, as_time = bytes_of(text), seconds_of(text)
            if as_size is not None and as_size >= _SMALLEST:
                size = as_size
            elif as_time is not None and as_time >= 1:
                seconds = as_time
            else:
                raise InputError(
                    f"{cls._OPTION}: not a time or size",
                    got=text,
                    expected="a time of at least a second, such as 10m or 7d, or a size of at least 1MB, such as 500MB",
                )
        return cls(seconds, size) if texts else None


class Segment(_Bounds):
    """When a recording goes on in a new file: after a time, or before a size; None: never."""

    __slots__ = ()
    _OPTION = "--segment"


class Keep(_Bounds):
    """Which recordings are kept: none older than a time, all together no larger than a size; None: all."""

    __slots__ = ()
    _OPTION = "--keep"


class Shelf:
    """Folder of recordings ``STEM.TIME.SUFFIX`` or ``STEM.TIME.DETAIL.SUFFIX``; safe to use from several threads.

    The time is that of the start (UTC). A name is always later than the ones before it, also when the clock is set
    back. Only files with such names are ever removed.

    Args:
        folder: folder of the files.
        keep: which files are kept; None: all.
    """

    def __init__(self, folder: Path, keep: Keep | None = None) -> None:
        self.folder = folder
        self._keep = keep
        self._lock = threading.Lock()
        self._pruning = threading.Lock()  # a new file must not wait for the disk
        self._newest: dict[tuple[str, str], str] = {}
        # Names of this run's files: events of weeks are many.
        self._written: set[str] = set()  # now
        self._ended_s: dict[str, float] = {}  # where their age counts
        self._pruned_s = float("-inf")

    def register(self, stem: str, suffix: str) -> None:
        """Take the recordings of earlier runs with such names into account."""
        with self._lock:
            if (stem, suffix) not in self._newest:
                known = {(stem, suffix)}
                earlier = (stamp for name in self._names() if (stamp := _stamp_of(name, known)))
                self._newest[stem, suffix] = max(earlier, default="")

    def take(self, stem: str, suffix: str, detail: str = "") -> Path:
        """Return the path of a new file; it does not exist yet."""
        self.register(stem, suffix)
        with self._lock:
            newest = self._newest[stem, suffix]
            stamp = datetime.now(timezone.utc).strftime(_STAMP)
            if detail:
                stamp = max(stamp, newest)
            elif stamp <= newest:
                stamp = _next(newest)
            part = f".{_file_part(detail)}" if detail else ""
            number, path = 1, self.folder / f"{stem}.{stamp}{part}{suffix}"
            while os.path.lexists(path) or path.name in self._written:
                number += 1
                if detail:
                    path = self.folder / f"{stem}.{stamp}{part}-{number}{suffix}"
                else:
                    stamp = _next(stamp)
                    path = self.folder / f"{stem}.{stamp}{suffix}"
            self._newest[stem, suffix] = stamp
            self._written.add(path.name)
            return path

    def finished(self, path: Path) -> None:
        """Note that a file is complete, and remove old ones."""
        with self._lock:
            self._written.discard(path.name)
            if self._keep is not None and self._keep.seconds is not None and path.exists():
                self._ended_s[path.name] = time.monotonic()
        self.prune()

    def look(self) -> None:
        """Remove old files if the last time was a while ago."""
        if time.monotonic() - self._pruned_s >= _PRUNE_EVERY_S:
            self.prune()

    def prune(self) -> None:
        """Remove the files that are too old or too many; never one that is being written."""
        self._pruned_s = time.monotonic()
        if self._keep is None:
            return
        with self._pruning:
            found = sorted(self._recordings())
            with self._lock:  # after the listing: a file is noted before it exists
                written, ended_s = set(self._written), self._ended_s
            total = sum(size for _, _, size in found)
            for _, name, size in found:
                if name in written:
                    continue
                path = self.folder / name
                too_old = self._keep.seconds is not None and _age_s(path, ended_s.get(name)) > self._keep.seconds
                too_many = self._keep.max_bytes is not None and total > self._keep.max_bytes
                if too_old or too_many:
                    with suppress(OSError):
                        path.unlink()
                        total -= size
                    with self._lock:
                        self._ended_s.pop(name, None)

    def _recordings(self) -> Iterator[tuple[str, str, int]]:
        """Yield time, name and bytes of each recording."""
        with self._lock:
            known = set(self._newest)
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                stamp = _stamp_of(entry.name, known)
                if stamp is None:
                    continue
                with suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(facts.st_mode):
                        yield stamp, entry.name, facts.st_size

    def _names(self) -> list[str]:
        try:
            return [path.name for path in self.folder.iterdir()]
        except OSError:
            return []


def _stamp_of(name: str, known: Collection[tuple[str, str]]) -> str | None:
    """Return the time in the name of a recording of one of these stems and suffixes, else None."""
    suffix = Path(name).suffix
    found = _NAMED.finditer(name)
    return next((one[1] for one in found if (name[: one.start()], suffix) in known), None)


def _age_s(path: Path, ended_s: float | None) -> float:
    if ended_s is not None:  # monotonic: the clock may be set meanwhile
        return time.monotonic() - ended_s
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _next(stamp: str) -> str:
    try:
        at = datetime.strptime(f"{stamp}+0000", f"{_STAMP}%z")
        return (at + timedelta(seconds=1)).strftime(_STAMP)
    except (ValueError, OverflowError):  # of another program: 20269999T999999Z
        return datetime.now(timezone.utc).strftime(_STAMP)


def _file_part(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_" else "_" for c in text)
    return kept.encode("utf-8", "ignore")[:_DETAIL].decode("utf-8", "ignore").strip("_") or "event"
