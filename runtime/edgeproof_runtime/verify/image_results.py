"""Results of an evaluation by image, as CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import is_stream, write_atomically
from edgeproof_runtime.system.text import csv_cell, encodable, json_line

__all__ = ["ImageResults"]

_FORMATS = ("csv", "jsonl", "parquet")


class ImageResults:
    """Table with a row per evaluated image, written as a whole by `write`.

    Texts are UTF-8 without NUL; bytes of file names that are not UTF-8 are escaped. A number that is not finite is
    empty in CSV and null elsewhere. In CSV no text begins as a formula does (`edgeproof_runtime.system.text.csv_cell`).

    Args:
        path: file to replace; its suffix names the format. ``-``, devices and FIFOs without one get JSON lines.

    Raises:
        InputError: the suffix is of another format.
        UnavailableError: Parquet is wanted and pyarrow is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path: Path = Path(path)
        self._format = self.path.suffix.lower().removeprefix(".")
        if self._format not in _FORMATS and is_stream(path):
            self._format = "jsonl"
        if self._format not in _FORMATS:
            raise InputError("--predictions: unknown format", got=path, expected="FILE.csv, FILE.jsonl or FILE.parquet")
        if self._format == "parquet" and find_spec("pyarrow") is None:
            raise UnavailableError(
                "--predictions: Parquet requires pyarrow, which is not installed",
                fix='pip install "edgeproof[data]", or use FILE.csv',
            )
        self._columns: dict[str, Any] = {}

    def add(self, row: Mapping[str, str | float | bool | None]) -> None:
        """Add an image; every row has the same keys in the same order, and values of the same types."""
        if not self._columns:
            # Plain doubles: an object for each of a thousand scores of an image would take four times the memory.
            self._columns = {key: [] if isinstance(value, str | bool) else array("d") for key, value in row.items()}
        for key, value in row.items():
            column = self._columns[key]
            if isinstance(column, array):
                column.append(math.nan if value is None else float(value))
            else:
                column.append(_plain(value) if isinstance(value, str) else value)

    def write(self) -> None:
        """Write the file.

        Raises:
            InputError: it cannot be written; an earlier file is as it was.
        """
        made = {"csv": self._csv, "jsonl": self._lines, "parquet": self._parquet}[self._format]()
        write_atomically(self.path, made)

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        for row in zip(*self._columns.values(), strict=True):
            yield tuple(None if isinstance(value, float) and not math.isfinite(value) else value for value in row)

    def _csv(self) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([csv_cell(_plain(key)) for key in self._columns])
        for row in self._rows():
            writer.writerow([str(cell).lower() if isinstance(cell, bool) else csv_cell(cell) for cell in row])
        return text.getvalue().encode()

    def _lines(self) -> bytes:
        keys = [_plain(key) for key in self._columns]
        return "".join(json_line(dict(zip(keys, row, strict=True))) for row in self._rows()).encode()

    def _parquet(self) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {}
        for key, values in self._columns.items():
            if isinstance(values, array):
                finite = [value if math.isfinite(value) else None for value in values]
                columns[_plain(key)] = pa.array(finite, pa.float64())
            else:
                columns[_plain(key)] = pa.array(values)
        made = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), made)
        return bytes(made.getvalue())


def _plain(text: str) -> str:
    return encodable(text.replace("\0", r"\x00"))
