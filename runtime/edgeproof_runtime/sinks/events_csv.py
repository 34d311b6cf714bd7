"""Events as rows of a CSV file."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import Event

__all__ = ["EventsFile"]

_COLUMNS = ("stream", "label", "quantity", "peak", "start", "end", "start_index", "end_index", "frames")


class EventsFile:
    """One row per event that has ended, flushed row by row; times are UTC, ISO 8601.

    Args:
        path: the file; an existing one is replaced.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            self._file = self._path.open("w", encoding="utf-8", newline="", buffering=1)
            self._rows = csv.writer(self._file)
            self._rows.writerow(_COLUMNS)
        except OSError as error:
            raise InputError(f"cannot write events to {path}", got=error.strerror) from error

    def write(self, event: Event) -> None:
        """Take an event.

        Raises:
            InputError: it cannot be written.
        """
        if event.end_unix_s is None:
            return  # its row comes when it is over
        try:
            self._rows.writerow(
                (
                    event.stream,
                    event.label,
                    event.quantity,
                    f"{event.peak:.6g}",
                    _iso(event.start_unix_s),
                    _iso(event.end_unix_s),
                    event.start_index,
                    event.end_index,
                    event.frames,
                )
            )
        except OSError as error:
            raise InputError(f"cannot write events to {self._path}", got=error.strerror) from error

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - every row is whole, whatever happened after it
        """Finish. Safe to call twice.

        Raises:
            InputError: what a full disk did not take cannot be written now either.
        """
        try:
            self._file.close()
        except OSError as error:
            raise InputError(f"cannot write events to {self._path}", got=error.strerror) from error


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
