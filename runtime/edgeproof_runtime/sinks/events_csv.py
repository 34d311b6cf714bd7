"""Write events as rows of a CSV file."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path

from edgeproof_runtime.live.events import BundleEvent, Event
from edgeproof_runtime.sinks.growing import GrowingFile, Rotation, not_written
from edgeproof_runtime.system.text import csv_cell

__all__ = ["EventsFile"]

_COLUMNS = ("stream", "label", "quantity", "peak", "start", "end", "start_index", "end_index", "frames")
_FILES = ("clip", "snapshot")
_RUN_BEGAN = "run began"


class EventsFile:
    """CSV file with one row per ended event, written row by row; times are UTC, ISO 8601.

    An existing file is appended to. Each run begins with a row whose label is ``run began``, without quantity and
    end. Texts that a spreadsheet would take for a formula begin with an apostrophe.

    Args:
        path: file to append to; a device, FIFO or ``-`` is written as a stream.
        rotation: when the file is set aside and a new one begun.
        files: whether there are columns for the clip and the snapshot of an event.
        bundles: whether there is a column for the sha256 of the manifest of the bundle that predicted it.

    Raises:
        InputError: the file cannot be written, or has other columns.
    """

    def __init__(
        self, path: str | Path, rotation: Rotation | None = None, *, files: bool = False, bundles: bool = False
    ) -> None:
        self._path = Path(path)
        self._files = files
        self._bundles = bundles
        columns = (*_COLUMNS, *(_FILES if files else ()), *(("bundle",) if bundles else ()))
        try:
            self._file = GrowingFile(path, header=",".join(columns), rotation=rotation)
            self._file.write(_row(("", _RUN_BEGAN, "", "", _iso(time.time()), *[""] * (len(columns) - 5))))
        except (OSError, ValueError) as error:
            raise not_written(path, "events", error) from error

    def write(self, event: Event | BundleEvent) -> None:
        """Write an event.

        Raises:
            InputError: the event cannot be written.
        """
        if isinstance(event, BundleEvent) or event.end_unix_s is None:
            return  # its row is written when the event ends
        cells = (
            event.stream,
            event.label,
            event.quantity,
            f"{event.peak:.6g}",
            _iso(event.start_unix_s),
            _iso(event.end_unix_s),
            event.start_index,
            event.end_index,
            event.frames,
            *((event.clip or "", event.snapshot or "") if self._files else ()),
            *((event.bundle,) if self._bundles else ()),
        )
        try:
            self._file.write(_row(cells))
        except OSError as error:
            raise not_written(self._path, "events", error) from error

    def close(self, *, failed: bool = False) -> None:  # noqa: ARG002 - written rows are complete even if the run failed
        """Finish. Safe to call twice.

        Raises:
            InputError: the rest cannot be written, for example on a full disk.
        """
        try:
            self._file.close()
        except OSError as error:
            raise not_written(self._path, "events", error) from error


def _row(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([csv_cell(cell) for cell in cells])
    return text.getvalue()


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, timezone.utc).isoformat(timespec="milliseconds")
