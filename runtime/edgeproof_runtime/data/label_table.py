"""CSV and JSON files of images and labels, for multi-label datasets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgeproof_runtime.data.csv_rows import check_row
from edgeproof_runtime.data.splits import Pick, pick_split, split_of
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import read_text
from edgeproof_runtime.system.regular import is_file, is_folder
from edgeproof_runtime.system.text import some

__all__ = ["EXPECTED", "LabelTable", "LabelledFile", "find_table", "read_label_table", "tables_of"]

EXPECTED = (
    "CSV with the header image,labels (labels separated by ;) or image,CLASS,CLASS,... (0 or 1 each); "
    'or JSON {"FILE": ["label", ...]} or [{"image": "FILE", "labels": ["label", ...]}]'
)
_SUFFIXES = (".csv", ".json")


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One image of a table.

    Attributes:
        image: path relative to the table's folder, with ``/``.
        labels: labels of the image; empty if it shows none of the classes.
        where: file and line or entry, such as ``labels.csv:17``, for error messages.
    """

    image: str
    labels: tuple[str, ...]
    where: str


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The content of a label file.

    Attributes:
        path: the file.
        rows: its images, in order, each once.
        columns: classes with a column in the CSV file; None for the other forms, which list only present labels.
    """

    path: Path
    rows: tuple[LabelledFile, ...]
    columns: tuple[str, ...] | None

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes: the columns in their order, else all labels that occur, sorted."""
        if self.columns is not None:
            return self.columns
        return tuple(sorted({label for row in self.rows for label in row.labels}))

    def targets(self, labels: Sequence[str]) -> list[tuple[int, ...]]:
        """Return the class indices of every image, ascending.

        Args:
            labels: the model's labels, by class index.

        Raises:
            InputError: a label is not in ``labels``, or the file has columns but not for every label.
        """
        index = {label: i for i, label in enumerate(labels)}
        absent = [label for label in labels if self.columns is not None and label not in self.columns]
        if absent:
            raise InputError(
                f"{self.path.name}: no column for a class of the model",
                got=f"no {some(absent, 5)}",
                expected=f"a column for each of {some(labels, 5)}",
                fix="add the column: a class without one is unknown, not absent",
            )
        for row in self.rows:
            unknown = [label for label in row.labels if label not in index]
            if unknown:
                raise InputError(
                    f"{row.where}: unknown label",
                    got=repr(unknown[0]),
                    expected=f"labels of the model, spelled exactly: {some(labels, 5)}",
                    fix="edgeproof inspect BUNDLE lists them",
                )
        unknown_columns = [column for column in self.columns or () if column not in index]
        if unknown_columns:
            raise InputError(
                f"{self.path.name}:1: unknown class column",
                got=some(unknown_columns, 5),
                expected=f"labels of the model, spelled exactly: {some(labels, 5)}",
                fix="edgeproof inspect BUNDLE lists them",
            )
        return [tuple(sorted({index[label] for label in row.labels})) for row in self.rows]

    def files(self) -> list[Path]:
        """Return the image files, in order.

        Raises:
            InputError: an image file is missing.
        """
        root = self.path.parent
        missing = [row for row in self.rows if not (root / row.image).is_file()]
        if missing:
            raise InputError(
                f"{missing[0].where}: image not found",
                got=f"{len(missing)} of {len(self.rows)} missing: {some([row.image for row in missing], 5)}",
                expected=f"paths relative to {root}",
                fix="correct the paths, or copy the images there",
            )
        return [root / row.image for row in self.rows]


def tables_of(folder: Path, split: str) -> list[Path]:
    """Return ``SPLIT.csv`` and ``SPLIT.json`` of a folder, as far as they exist."""
    return [file for suffix in _SUFFIXES if is_file(file := folder / f"{split}{suffix}")]


def find_table(path: Path, split: str | None, prefer: Sequence[str]) -> tuple[Path, Pick | None]:
    """Find the table of a dataset: the file itself, or ``SPLIT.csv`` or ``SPLIT.json`` of a folder.

    Args:
        path: a label file or a folder.
        split: part of the dataset; None means the first of ``prefer``.
        prefer: splits tried in this order.

    Raises:
        InputError: no such file, or both a CSV and a JSON file.
    """
    if path.suffix.lower() in _SUFFIXES:
        if not is_file(path):
            raise InputError(f"{path}: no such file", expected=EXPECTED)
        return path, None
    files = sorted(path.iterdir()) if is_folder(path) else []
    stems = {p.stem: p for p in files if p.suffix.lower() in _SUFFIXES and p.is_file() and split_of(p.stem) is not None}
    pick = pick_split(stems, split, str(path), prefer=prefer) if stems else Pick(split or prefer[0])
    found = tables_of(path, pick.name)
    if len(found) != 1:
        raise InputError(
            f"{path}: label file of split {pick.name} not found",
            got="both a CSV and a JSON file"
            if found
            else "a folder without one"
            if is_folder(path)
            else "no such folder",
            expected=f"{path}/{pick.name}.csv or {pick.name}.json, or the file itself",
        )
    return found[0], pick


def read_label_table(path: Path) -> LabelTable:
    """Read a CSV or JSON file of images and labels.

    CSV has a header whose first column is ``image``. With ``labels`` as the second of two columns, each row lists its
    labels, separated by ``;`` (an empty cell: none). Otherwise every further column is a class, and its cells are 0 or
    1. JSON is an object from file to list of labels, or a list of ``{"image": FILE, "labels": [...]}``. Paths are
    relative to the file's folder.

    Raises:
        InputError: the file cannot be read, or a line or entry is invalid; the message names it.
    """
    text = read_text(path, expected=EXPECTED)
    rows, columns = _from_json(text, path.name) if path.suffix.lower() == ".json" else _from_csv(text, path.name)
    if not rows:
        raise InputError(f"{path}: no images listed", expected=EXPECTED)
    first: dict[str, str] = {}
    for row in rows:
        if row.image in first:
            raise InputError(
                f"{row.where}: image listed twice",
                got=f"{row.image}, first at {first[row.image]}",
                expected="one row or entry per image, with all its labels",
            )
        first[row.image] = row.where
    return LabelTable(path, tuple(rows), columns)


def _from_csv(text: str, name: str) -> tuple[list[LabelledFile], tuple[str, ...] | None]:
    lines = list(_csv_lines(text, name))
    header = lines[0][1] if lines else []
    if len(header) < 2 or header[0].lower() != "image":
        raise InputError(f"{name}:1: header not recognised", got=",".join(header) or "nothing", expected=EXPECTED)
    as_list = len(header) == 2 and header[1].lower() == "labels"
    columns = None if as_list else tuple(header[1:])
    if columns is not None and (len(set(columns)) < len(columns) or "" in columns):
        raise InputError(f"{name}:1: class columns must differ", got=",".join(columns), expected="one column per class")
    rows = []
    for where, cells in lines[1:]:
        check_row(where, cells, header)
        if columns is None:
            labels = tuple(label for part in cells[1].split(";") if (label := part.strip()))
        else:
            wrong = [(column, cell) for column, cell in zip(columns, cells[1:], strict=True) if cell not in ("0", "1")]
            if wrong:
                raise InputError(
                    f"{where}: invalid value in column {wrong[0][0]}", got=repr(wrong[0][1]), expected="0 or 1"
                )
            labels = tuple(column for column, cell in zip(columns, cells[1:], strict=True) if cell == "1")
        rows.append(LabelledFile(_relative(cells[0], where), labels, where))
    return rows, columns


def _csv_lines(text: str, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each row that is not empty, with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    begins = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                yield f"{name}:{begins}", cells
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{name}:{begins}: invalid CSV", got=error) from error


def _from_json(text: str, name: str) -> tuple[list[LabelledFile], None]:
    try:
        # Pairs, because a dict would keep only the last of two equal files.
        raw = json.loads(text, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}:{error.lineno}: invalid JSON", got=error.msg, expected=EXPECTED) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nested too deeply
        raise InputError(f"{name}: invalid JSON", got=error, expected=EXPECTED) from error
    if isinstance(raw, _Pairs):
        return [_entry(image, labels, f"{name}, {image!r}") for image, labels in raw], None
    if not isinstance(raw, list):
        raise InputError(f"{name}: neither an object nor a list", got=type(raw).__name__, expected=EXPECTED)
    rows = []
    for number, entry in enumerate(raw):
        where = f"{name}, entry {number}"
        fields = dict(entry) if isinstance(entry, _Pairs) else {}
        if set(fields) != {"image", "labels"}:
            raise InputError(
                f"{where}: invalid entry", got=json.dumps(entry)[:80], expected='{"image": "FILE", "labels": [...]}'
            )
        rows.append(_entry(fields["image"], fields["labels"], where))
    return rows, None


class _Pairs(list[tuple[str, Any]]):
    """Keys and values of a JSON object, in order."""


def _entry(image: Any, labels: Any, where: str) -> LabelledFile:
    if not isinstance(image, str) or isinstance(labels, _Pairs) or not isinstance(labels, list):
        raise InputError(f"{where}: invalid entry", got=f"{image!r}: {labels!r}"[:80], expected="a list of labels")
    wrong = [label for label in labels if not isinstance(label, str) or not label.strip()]
    if wrong:
        raise InputError(f"{where}: invalid label", got=repr(wrong[0])[:80], expected="a string that is not empty")
    return LabelledFile(_relative(image, where), tuple(label.strip() for label in labels), where)


def _relative(image: str, where: str) -> str:
    path = PurePosixPath(image.strip().replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise InputError(
            f"{where}: invalid image path", got=repr(image), expected="a path below the folder of the label file"
        )
    return path.as_posix()
