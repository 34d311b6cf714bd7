"""Ground truth of a clip, frame by frame, read from a CSV or JSON file."""

from __future__ import annotations

import csv
import io
import json
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.bounds import require_texts
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.documents import parse_document, read_text
from edgeproof_runtime.system.text import csv_value

__all__ = ["ClipLabels", "LabelRange", "alternatives"]

_EXPECTED = "rows start,end,label (frames from 0, end exclusive), or one label per frame"


@dataclass(frozen=True, slots=True)
class LabelRange:
    """One label for a range of frames.

    Attributes:
        start: first frame, from 0.
        end: frame after the last.
        label: label of every frame in the range.
        where: file and line or entry, for error messages.
    """

    start: int
    end: int
    label: str
    where: str

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise InputError(
                f"{self.where}: empty range",
                got=f"{self.start} to {self.end}",
                expected="0 <= start < end",
            )
        if not self.label:
            raise InputError(f"{self.where}: empty label", fix="leave frames without a label out of the file")
        require_texts([self.label], f"{self.where}: label")


class ClipLabels:
    """Labels of the frames of a clip; frames outside every range are unlabelled.

    Args:
        ranges: labelled ranges, in any order.

    Raises:
        InputError: ``ranges`` is empty, or two ranges overlap.
    """

    def __init__(self, ranges: Sequence[LabelRange]) -> None:
        if not ranges:
            raise InputError("labels file: no labelled frame", expected=_EXPECTED)
        self._ranges = sorted(ranges, key=lambda r: r.start)
        for before, after in zip(self._ranges, self._ranges[1:], strict=False):
            if after.start < before.end:
                raise InputError(
                    f"{after.where}: frame {after.start} has two labels",
                    got=f"{before.label!r} ({before.where}) and {after.label!r}",
                    expected="ranges that do not overlap; end is exclusive",
                )
        self._starts = [r.start for r in self._ranges]

    @classmethod
    def open(cls, path: str | Path, *, known: Collection[str] | None = None) -> Self:
        """Read a labels file.

        A ``.json`` file holds a list of ``{"start": 0, "end": 30, "label": "cat"}``, or a list with one label or
        null per frame. Any other file is CSV: rows ``start,end,label`` with or without that header, or one label
        per line, an empty line for an unlabelled frame. Alternative labels are written ``tabby|tiger cat``.

        Args:
            path: the file.
            known: the model's labels; None allows any label.

        Raises:
            InputError: the file cannot be read or is invalid; the message names the line or entry.
        """
        path = Path(path)
        text = read_text(path, expected=_EXPECTED)
        ranges = _from_json(text, path.name) if path.suffix.lower() == ".json" else _from_csv(text, path.name)
        for entry in ranges:
            unknown = [label for label in alternatives(entry.label) if known is not None and label not in known]
            if unknown:
                raise InputError(
                    f"{entry.where}: unknown label {unknown[0]!r}",
                    expected="one of the bundle's labels, spelled exactly",
                    fix="list them with: edgeproof inspect BUNDLE",
                )
        return cls(ranges)

    def at(self, index: int) -> str | None:
        """Return the label of the frame at ``index`` (from 0), or None."""
        position = bisect_right(self._starts, index) - 1
        if position < 0 or index >= self._ranges[position].end:
            return None
        return self._ranges[position].label


def alternatives(label: str) -> list[str]:
    """Split a label such as ``tabby|tiger cat`` into the labels that count as correct."""
    return [part.strip() for part in label.split("|")]


def _from_json(text: str, name: str) -> list[LabelRange]:
    entries = parse_document(text.encode(), name, expected=_EXPECTED)
    if not isinstance(entries, list):
        raise InputError(f"{name}: not a list", got=type(entries).__name__, expected=_EXPECTED)
    if all(entry is None or isinstance(entry, str) for entry in entries):
        return [
            LabelRange(i, i + 1, entry, f"{name}, entry {i}") for i, entry in enumerate(entries) if entry is not None
        ]
    return [_range_of(entry, f"{name}, entry {i}") for i, entry in enumerate(entries)]


def _range_of(entry: Any, where: str) -> LabelRange:
    if not isinstance(entry, dict) or set(entry) != {"start", "end", "label"}:
        raise InputError(
            f"{where}: not a range", got=json.dumps(entry)[:80], expected='{"start": 0, "end": 30, "label": "cat"}'
        )
    start, end, label = entry["start"], entry["end"], entry["label"]
    # `type`, because bool is a subclass of int.
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        raise InputError(
            f"{where}: not a range", got=json.dumps(entry)[:80], expected="integers start and end, a text label"
        )
    return LabelRange(start, end, label.strip(), where)


def _from_csv(text: str, name: str) -> list[LabelRange]:
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        rows = [(f"{name}, line {reader.line_num}", [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: invalid CSV", got=error) from error
    if rows and [cell.lower() for cell in rows[0][1]] in (["label"], ["start", "end", "label"]):
        del rows[0]
    filled = [(where, row) for where, row in rows if any(row)]
    columns = {len(row) for _, row in filled}
    if columns == {1}:
        return [LabelRange(i, i + 1, csv_value(row[0]), where) for i, (where, row) in enumerate(rows) if any(row)]
    return [_range_of_row(row, where) for where, row in filled]


def _range_of_row(row: list[str], where: str) -> LabelRange:
    if len(row) != 3:
        raise InputError(
            f"{where}: {len(row)} columns",
            got=",".join(row),
            expected=_EXPECTED,
            fix="quote a label that contains a comma",
        )
    try:
        start, end = int(row[0]), int(row[1])
    except ValueError as error:
        raise InputError(f"{where}: start and end must be frame numbers", got=f"{row[0]!r}, {row[1]!r}") from error
    return LabelRange(start, end, csv_value(row[2]), where)
