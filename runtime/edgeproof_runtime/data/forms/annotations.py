"""CSV, TSV, JSON, JSON lines and text files that list images and one label each."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from edgeproof_runtime.data.csv_rows import check_row
from edgeproof_runtime.data.forms.coco import is_coco, read_coco
from edgeproof_runtime.data.forms.record import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    Found,
    ReadError,
    Reading,
    below,
    column_named,
    image_file,
    image_root,
    moved,
    require_few,
)
from edgeproof_runtime.data.images import looks_like_image
from edgeproof_runtime.data.splits import pick_split, split_of
from edgeproof_runtime.data.store import FileStore
from edgeproof_runtime.system.documents import read_text

__all__ = ["lists_images", "read_annotations"]

_EXPECTED = (
    "columns of image (path, file, filename, image) and label (class, target), paths relative to the file; "
    "or lines 'PATH LABEL'"
)

_DELIMITERS = (",", ";", "\t", "|")  # the first wins a draw
_SPLIT_COLUMNS = ("split", "subset", "set", "partition")
_TRUE, _FALSE = ("1", "1.0", "true", "yes", "y", "t"), ("0", "0.0", "false", "no", "n", "f")
# Splits of true and false, such as fastai's `is_valid`.
_FLAG_COLUMNS = {
    **dict.fromkeys(("is_train", "is_training"), ("train", "test")),
    **dict.fromkeys(("is_val", "is_valid", "is_validation"), ("val", "train")),
    **dict.fromkeys(("is_test", "is_testing"), ("test", "train")),
}
# Consulted where no column has a name of LABEL_COLUMNS, without underscores.
_INDEX_COLUMNS = ("classid", "labelid", "classindex", "labelindex", "categoryid", "targetid")
_ROW_NUMBERS = ("", "unnamed: 0", "index", "id")
_LOOKED_AT = 20  # rows that show whether a column holds images
_COLUMNS_LOOKED_AT = 100  # the first ones, where no name tells which column holds images
_COLUMNS_FIX = "name the columns image and label"

_Values = Callable[[str], Sequence[Any]]


class _Columns(NamedTuple):
    """Names of the columns, and how the labels were found if not by name."""

    image: str
    label: str | None
    split: str | None
    note: str = ""


class _Row(NamedTuple):
    """One image of a file: its path, label, place in the file, and split if the file has such a column."""

    image: str
    label: str | int | None
    where: str
    split: str | None = None


def read_annotations(files: Sequence[Path], reading: Reading) -> Found:
    """Read annotation files; without a column of labels the images are unlabelled.

    Raises:
        InputError: a file cannot be read, a row is invalid, or an image is missing.
    """
    if len(files) == 1 and files[0].suffix.lower() == ".json":
        raw = _parsed(files[0])
        if is_coco(raw):
            return read_coco(files[0], raw, reading.exif)
    told: list[str] = []
    rows = [row for file in files for row in _rows(file, reading.known, told)]
    if not rows:
        raise ReadError(f"{files[0]}: no images listed", expected=_EXPECTED)
    require_few(len(rows), str(files[0]))
    split: str | None = None
    notes: tuple[str, ...] = tuple(dict.fromkeys(told))
    if all(row.split is not None for row in rows):
        pick = pick_split({row.split or "": 0 for row in rows}, reading.split, str(files[0]), prefer=reading.prefer)
        split, notes = pick.name, (*pick.notes, *notes)
        rows = [row for row in rows if row.split == split]
    root = image_root(files[0], rows[0].image)
    first: dict[str, str] = {}
    for row in rows:
        if row.image in first:
            raise ReadError(
                f"{row.where}: image listed twice",
                got=f"{row.image}, first at {first[row.image]}",
                expected="a row for each image",
                fix="remove one of the rows",
            )
        first[row.image] = row.where
    found = [image_file(root, row.image) for row in rows]
    missing = [row for row, file in zip(rows, found, strict=True) if file is None]
    if missing:
        raise ReadError(
            f"{missing[0].where}: image not found",
            got=f"{len(missing)} of {len(rows)} missing, such as {missing[0].image}",
            expected=f"paths relative to {root}",
            fix="correct the paths, or copy the images there",
        )
    store = FileStore(root, [root / file for file in found if file is not None], exif=reading.exif)
    unlabelled = [row.where for row in rows if row.label is None]
    if len(unlabelled) == len(rows):
        return Found(store, split=split, notes=notes)
    if unlabelled:
        raise ReadError(f"{unlabelled[0]}: no label", got=f"{len(unlabelled)} of {len(rows)} images without one")
    labels = [row.label for row in rows if row.label is not None]
    return Found(store, _uniform(labels, set(reading.known)), split=split, notes=notes)


def _uniform(labels: Sequence[str | int], known: AbstractSet[str]) -> Sequence[str] | Sequence[int]:
    """Return numbers if all labels are, else names; ``known`` are names of the model's classes."""
    texts = [str(label) for label in labels]
    if known.isdisjoint(texts):
        texts = [text.removesuffix(".0") for text in texts]  # pandas writes 7 as 7.0 in a column with an empty cell
    # "007" is a name, because 7 is not how it is written.
    if all(
        isinstance(label, int) or re.fullmatch(r"0|[1-9][0-9]{0,8}", text)
        for label, text in zip(labels, texts, strict=True)
    ):
        return [int(text) for text in texts]
    return [str(label) for label in labels]


def _rows(path: Path, known: Sequence[str], told: list[str]) -> list[_Row]:
    """Return the rows of a file; ``told`` receives notes."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _from_objects(_listed(_parsed(path), path), path, known, told)
    text = _text(path)
    if suffix in (".jsonl", ".ndjson"):
        return _from_objects(_json_lines(text, path.name), path, known, told)
    text = _without_comments(text)
    delimiter = "\t" if suffix == ".tsv" else ","
    if suffix == ".txt":
        separator = _separator(text, path)
        if separator is None:
            return _from_text(text, path, known, told)
        delimiter = separator
    return _from_table(text, path, delimiter, known, told)


def _without_comments(text: str) -> str:
    """Empty the lines at the head of a table that begin with ``#`` and have one cell; line numbers stay."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if line.strip() and (not line.startswith("#") or any(delimiter in line for delimiter in _DELIMITERS)):
            break
        lines[number] = ""
    return "\n".join(lines)


def lists_images(path: Path) -> bool:
    """Return whether the first line of a text file names an image and something else, as ``val_annotations.txt``."""
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline(4096)
    except (OSError, UnicodeDecodeError):
        return False
    cells = re.split(r"[,\t ]", first.strip())
    return len(cells) > 1 and _names_an_image(path, cells[0])


def _separator(text: str, path: Path) -> str | None:
    """Return what separates the columns of a text file whose lines begin with an image; None for ``PATH LABEL``."""
    lines = [line.strip() for line in text.splitlines() if line.strip()][:_LOOKED_AT]
    for separator in (",", "\t", " "):
        cells = [re.split(separator + "+", line) if separator == " " else line.split(separator) for line in lines]
        columns = {len(row) for row in cells}
        enough = len(columns) == 1 and columns.pop() > (1 if separator == "," else 2)
        if enough and all(_names_an_image(path, row[0], whole=False) for row in cells):
            return separator
    return None


def _text(path: Path) -> str:
    return read_text(path, expected=_EXPECTED)


def _parsed(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{path.name}: invalid JSON", got=error, expected=_EXPECTED) from error


def _json_lines(text: str, name: str) -> list[tuple[str, Any]]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append((f"{name}:{number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise ReadError(f"{name}:{number}: invalid JSON", got=error, expected=_EXPECTED) from error
    return found


def _listed(raw: Any, path: Path) -> list[tuple[str, Any]]:
    name = path.name
    if isinstance(raw, Mapping):
        raw = _records(raw, path)
    if isinstance(raw, Mapping):
        # {"a.jpg": "cat"}
        if raw and all(isinstance(label, str | int) and not isinstance(label, bool) for label in raw.values()):
            return [(f"{name}, {image!r}", {"image": image, "label": label}) for image, label in raw.items()]
        inner = [value for value in raw.values() if isinstance(value, list)]
        if len(inner) == 1:
            raw = inner[0]
    if not isinstance(raw, list):
        raise ReadError(f"{name}: not a list of images", got=type(raw).__name__, expected=_EXPECTED)
    return [(f"{name}, entry {number}", entry) for number, entry in enumerate(raw)]


def _records(raw: Mapping[Any, Any], path: Path) -> Any:
    """Return an object per image, of columns (``{"image": [...], "label": [...]}``) or of classes with their files."""
    values = list(raw.values())
    if len(values) > 1 and all(isinstance(value, Mapping) and value for value in values):  # as pandas writes a table
        rows = list(values[0])
        if all(list(value) == rows for value in values):
            raw = {name: list(value.values()) for name, value in raw.items()}
            values = list(raw.values())
    if len(values) < 2 or not all(isinstance(value, list) and value for value in values):
        return raw
    if len({len(value) for value in values}) == 1 and any(str(name).strip().lower() in IMAGE_COLUMNS for name in raw):
        return [dict(zip(raw, row, strict=True)) for row in zip(*values, strict=True)]
    if all(isinstance(item, str) for value in values for item in value) and _names_an_image(path, values[0][0]):
        return [{"image": image, "label": name} for name, images in raw.items() for image in images]
    return raw


def _from_objects(entries: Sequence[tuple[str, Any]], path: Path, known: Sequence[str], told: list[str]) -> list[_Row]:
    rows: list[_Row] = []
    columns: _Columns | None = None
    for where, entry in entries:
        if not isinstance(entry, Mapping):
            raise ReadError(f"{where}: not an object", got=json.dumps(entry)[:80], expected=_EXPECTED)
        if columns is None:
            columns = _columns(tuple(map(str, entry)), where, _values_of(entries), path, known)
            told += [columns.note] if columns.note else []
        image, label = entry.get(columns.image), None if columns.label is None else entry.get(columns.label)
        if isinstance(label, list) and len(label) == 1:
            label = label[0]
        if not isinstance(image, str) or isinstance(label, bool) or not (label is None or isinstance(label, str | int)):
            raise ReadError(f"{where}: invalid entry", got=json.dumps(entry)[:80], expected="one path and one label")
        split = _split(columns.split, entry.get(columns.split or ""))
        rows.append(_Row(below(moved(image, path.parent, told), where, path.parent), label, where, split))
    return rows


def _values_of(entries: Sequence[tuple[str, Any]]) -> _Values:
    return lambda name: [entry.get(name) for _, entry in entries if isinstance(entry, Mapping)]


def _from_table(text: str, path: Path, delimiter: str, known: Sequence[str], told: list[str]) -> list[_Row]:
    name = path.name
    first, _, rest = text.partition("\n")
    if stated := re.fullmatch(r"sep=(.)\s*", first):  # as Excel writes it
        text, delimiter = f"\n{rest}", stated[1]
    elif delimiter == ",":
        delimiter = max(_DELIMITERS, key=first.count)
    if delimiter == " ":
        text = re.sub(r"[ \t]+", " ", text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        lines = [(f"{name}:{reader.line_num}", [c.strip() for c in row]) for row in reader if any(map(str.strip, row))]
    except csv.Error as error:
        raise ReadError(f"{name}:{reader.line_num}: invalid CSV", got=error) from error
    if not lines:
        return []
    header = lines[0][1]
    named = any(cell.lower() in IMAGE_COLUMNS for cell in header)
    first_cells = enumerate(header[:_COLUMNS_LOOKED_AT])
    images = [at for at, cell in first_cells if _names_an_image(path, cell, whole=named)]
    if len(header) > 1 and len(images) == 1:
        header = [str(number) for number in range(1, len(header) + 1)]
        header[images[0]] = IMAGE_COLUMNS[0]
        if len(header) == 2:
            header[1 - images[0]] = LABEL_COLUMNS[0]
        lines.insert(0, (lines[0][0], header))
    for where, cells in lines[1:]:
        check_row(where, cells, header, delimiter, ReadError)
    place = {name: at for at, name in reversed(list(enumerate(header)))}
    columns = _columns(header, lines[0][0], lambda name: [c[place[name]] for _, c in lines[1:]], path, known)
    told += [columns.note] if columns.note else []
    image, label, split = columns[:3]
    one_hot = _one_hot(header, [cells for _, cells in lines[1:]], {image, split}) if label is None else None
    at, label_at, split_at = (None if name is None else place[name] for name in (image, label, split))
    if at is None:
        return []
    rows: list[_Row] = []
    for number, (where, cells) in enumerate(lines[1:]):
        given = None if label_at is None else cells[label_at] or None
        given = given if one_hot is None else one_hot[number]
        image_path = below(moved(cells[at], path.parent, told), where, path.parent)
        rows.append(_Row(image_path, given, where, None if split_at is None else _split(split, cells[split_at])))
    return rows


def _one_hot(header: Sequence[str], rows: Sequence[Sequence[str]], others: AbstractSet[str | None]) -> list[str] | None:
    """Return the name of the only column with a 1 in each row, if all columns but ``others`` hold 0 and 1 so."""
    at = [place for place, name in enumerate(header) if name not in others]
    if len(at) < 2:
        return None
    found = []
    for cells in rows:
        values = [cells[place].removesuffix(".0") for place in at]
        if values.count("1") != 1 or values.count("0") != len(at) - 1:
            return None
        found.append(header[at[values.index("1")]])
    return found


def _names_an_image(path: Path, cell: str, *, whole: bool = True) -> bool:
    """Return whether a cell of a table names a file of it; ``whole``: with its extension."""
    try:
        image = below(moved(cell, path.parent), path.name, path.parent)
        root = image_root(path, image)
        return (root / image).is_file() if whole else image_file(root, image) is not None
    except (ReadError, OSError, ValueError):
        return False


def _split(column: str | None, value: object) -> str | None:
    """Return the split that a cell names, or that a column of true and false tells."""
    if (splits := _FLAG_COLUMNS.get((column or "").strip().lower())) is not None:
        text = str(value).strip().lower()
        return splits[0] if text in _TRUE else splits[1] if text in _FALSE else None
    return value if isinstance(value, str) and split_of(value) is not None else None


def _columns(names: Sequence[str], where: str, values: _Values, path: Path, known: Sequence[str]) -> _Columns:
    """Return the columns of images, labels and splits: by name, else by what they hold.

    Args:
        names: names of all columns.
        where: file and line, for messages.
        values: function from a name to the values of its column.
        path: the file.
        known: names of the model's classes.
    """
    image = column_named(names, IMAGE_COLUMNS, where, "images")
    if image is None:
        found = [name for name in names[:_COLUMNS_LOOKED_AT] if _are_images(values(name)[:_LOOKED_AT], path)]
        # A first row with a path is not a header: its image is missing.
        if len(found) != 1 or any(looks_like_image(Path(name)) for name in names):
            raise ReadError(
                f"{where}: no column of images",
                got=", ".join(names)[:120],
                expected=_EXPECTED,
                fix="export it from Label Studio as JSON-MIN or CSV" if "annotations" in names else _COLUMNS_FIX,
            )
        image = found[0]
    split = next((name for name in names if name.strip().lower() in (*_SPLIT_COLUMNS, *_FLAG_COLUMNS)), None)
    label = column_named(names, LABEL_COLUMNS, where, "labels")
    if label is not None:
        named = _named_beside(names, label, values, known)
        if named is None:
            return _Columns(image, label, split)
        note = f"dataset: column {named} has the model's labels and is taken; column {label} has numbers."
        return _Columns(image, named, split, note)
    left = [name for name in names if name not in (image, split) and name.strip().lower() not in _ROW_NUMBERS]
    label = next((name for name in left if name.strip().lower().replace("_", "") in _INDEX_COLUMNS), None)
    label = label or _label_column(left, values, known)
    return _Columns(image, label, split, "" if label is None else f"dataset: labels are taken from column {label}.")


def _named_beside(names: Sequence[str], label: str, values: _Values, known: Sequence[str]) -> str | None:
    """Return the only column of the model's labels beside a column of numbers, which may count in another order."""
    if not all(re.fullmatch(r"-?[0-9]+(\.0)?", str(value)) and str(value) not in known for value in values(label)):
        return None
    found = [name for name in names if name != label and set(map(str, values(name))) <= set(known)]
    return found[0] if len(found) == 1 and values(found[0]) else None


def _are_images(cells: Sequence[Any], path: Path) -> bool:
    return bool(cells) and all(isinstance(c, str) and c and _names_an_image(path, c, whole=False) for c in cells)


def _label_column(names: Sequence[str], values: _Values, known: Sequence[str]) -> str | None:
    """Return the only column of names of the model's classes, else the only column at all, if its values repeat."""
    texts = {name: [str(value) for value in values(name)] for name in names}
    named = [name for name, found in texts.items() if found and set(found) <= set(known)]
    if len(named) == 1:
        return named[0]
    return names[0] if len(names) == 1 and len(set(texts[names[0]])) < len(texts[names[0]]) else None


def _from_text(text: str, path: Path, known: Sequence[str], told: list[str]) -> list[_Row]:
    """Read lines ``PATH LABEL`` (the label is the last word), or ``PATH`` in every line.

    Paths alone are labelled by their folders, if all of these are classes of the model.
    """
    lines = [
        (f"{path.name}:{number}", line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    if not any(" " in line or "\t" in line for _, line in lines):
        found = [(below(moved(line, path.parent, told), where, path.parent), where) for where, line in lines]
        folders = [PurePosixPath(image).parent.name for image, _ in found]
        labelled = set(folders) <= set(known)
        told += [f"dataset: {path.name}: labels are taken from the folders of the images."] if labelled else []
        return [
            _Row(image, folder if labelled else None, where)
            for (image, where), folder in zip(found, folders, strict=True)
        ]
    rows: list[_Row] = []
    for where, line in lines:
        parts = line.rsplit("\t" if "\t" in line else None, 1)
        if len(parts) != 2:
            raise ReadError(f"{where}: no label", got=line[:80], expected="PATH LABEL")
        image = below(moved(parts[0], path.parent, told), where, path.parent)
        rows.append(_Row(image, parts[1].strip(), where))
    return rows
