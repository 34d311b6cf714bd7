"""Write events as rows of a CSV file."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import Event

__all__ = ["EventsFile"]

_COLUMNS = ("stream", "label", "quantity", "peak", "start", "end", "start_index", "end_index", "frames")


class EventsFile:
    """CSV file with one row per ended event, flushed row by row; times are UTC, ISO 8601.

    Args:
        path: file to write; an existing one is replaced.

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
            raise InputError(f"{path}: cannot write events", got=error.strerror) from error

    def write(self, event: Event) -> None:
        """Write an event.

        Raises:
            InputError: the event cannot be written.
        """
        if event.end_unix_s is None:
            return  # its row is written when the event ends
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
            raise InputError(f"{self._path}: cannot write events", got=error.strerror) from error

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - written rows are complete even if the run failed
        """Finish. Safe to call twice.

        Raises:
            InputError: the rest cannot be written, for example on a full disk.
        """
        try:
            self._file.close()
        except OSError as error:
            raise InputError(f"{self._path}: cannot write events", got=error.strerror) from error


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
