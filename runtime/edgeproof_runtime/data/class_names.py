"""Lists of class names in files: plain text, numbered lines, CSV, TSV, JSON such as ``id2label``, Python's lists."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeproof_runtime.data.class_order import natural_key
from edgeproof_runtime.data.splits import split_folders, subfolders
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.bounds import require_texts
from edgeproof_runtime.system.documents import parse_document, read_text
from edgeproof_runtime.system.regular import is_folder
from edgeproof_runtime.system.text import some

__all__ = ["names_of", "read_class_names"]

_NUMBERED = re.compile(r"(\d{1,9})\s*[\s:,;=]\s*(\S.*)")
_INDEX_HEADERS = frozenset({"index", "id", "idx", "class_id", "class_index", "label_id", "class", "number", "target"})
_NAME_HEADERS = frozenset({"label", "name", "class_name", "classname", "labels", "class", "category", "title"})
_CONFIGURATIONS = (".yaml", ".yml", ".toml", ".pbtxt", ".xml")
_MOST_LITERAL = 1 << 20  # characters
_JSON_KEYS = ("id2label", "label2id", "labels", "classes", "names", "class_names", "class_to_idx")


def read_class_names(path: Path, what: str, classes: int | None = None) -> tuple[str, ...]:
    """Read one name per class, in class order.

    Forms: text with one name per line; lines ``0 cat`` or ``0: cat``, if every line is numbered (from 0 or 1); CSV or
    TSV with the columns index and label, with or without a header; JSON as a list, ``{"0": "cat"}``, ``{"cat": 0}``, a
    ``config.json`` of Hugging Face (``id2label``), Keras' ``{"0": ["n01440764", "tench"]}``, or the categories of a
    COCO file in the order of their ids; a list or mapping as Python prints it. Quotes around every line do not
    belong to the names. A folder of class folders, or of splits of them, names its classes in torchvision's and timm's
    order, where these two agree.

    Args:
        path: the file, or the folder.
        what: what is named: ``labels`` or ``class ids``.
        classes: number of classes; None allows any.

    Raises:
        InputError: the file cannot be read, does not name every class once, or names another number of classes; the
            folder has no class folders, or their order is not clear.
    """
    expected = f"{what}, one per line, a CSV or JSON file of index and label, or a folder of class folders"
    if is_folder(path):
        names = _from_folders(path, what, expected)
        return _require_count(names, path, "class folders", classes, "the folder must hold every class, and no other")
    text = read_text(path, expected=expected)
    suffix = path.suffix.lower()
    if suffix in _CONFIGURATIONS:
        raise InputError(
            f"{path}: not a list of names",
            got=f"a {suffix} file",
            expected=expected,
            fix="write the names into a text file, one per line",
        )
    if suffix == ".json" or (text.lstrip()[:1] in ("{", "[") and suffix not in (".csv", ".tsv")):
        names, unit = _from_json(text, path, what), "classes"
    elif suffix in (".csv", ".tsv"):
        names, unit = _from_columns(text, path, "\t" if suffix == ".tsv" else ""), "rows"
    else:
        names, unit = _from_lines(text, path, expected), "lines"
    require_texts(names, f"{path}: a name")
    return _require_count(
        names, path, unit, classes, "line number = class index; check that the file belongs to this model"
    )


def _require_count(names: tuple[str, ...], path: Path, unit: str, classes: int | None, fix: str) -> tuple[str, ...]:
    if classes is not None and len(names) != classes:
        raise InputError(
            f"{path}: does not fit the model",
            got=f"{len(names)} {unit}",
            expected=f"{classes}, one per output of the model",
            fix=fix,
        )
    return names


def _from_folders(root: Path, what: str, expected: str) -> tuple[str, ...]:
    places = split_folders(root).values() or (root,)
    names = sorted({folder.name for place in places for folder in subfolders(place)})
    if not names:
        raise InputError(f"{root}: no class folders", got="a folder without them", expected=expected)
    if names != sorted(names, key=natural_key):
        raise InputError(
            f"{root}: the order of the classes is not clear, their names sort in another order as text than as numbers",
            got=some(names),
            expected=f"{what} in the order of the model's outputs",
            fix="write the names into a text file, one per line",
        )
    return tuple(names)


def _from_lines(text: str, path: Path, expected: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines or not all(lines):
        got = f"line {lines.index('') + 1} is empty" if lines else "an empty file"
        fix = "remove the empty lines" if lines else None
        raise InputError(f"{path}: does not name every class", got=got, expected=expected, fix=fix)
    if all(len(line) > 2 and line[0] == line[-1] == lines[0][0] for line in lines) and lines[0][0] in "\"'":
        lines = [line[1:-1] for line in lines]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    pairs = [(int(found.group(1)), found.group(2)) for found in numbered if found is not None]
    # Only if the numbers are exactly the class indices, or those from 1: "3 series" may be a name.
    indices = sorted(index for index, _ in pairs)
    first = indices[0] if indices else 0
    if len(pairs) == len(lines) and indices == list(range(first, first + len(lines))) and first <= (len(lines) > 1):
        return tuple(name for _, name in sorted(pairs))
    return tuple(lines)


def _from_columns(text: str, path: Path, delimiter: str) -> tuple[str, ...]:
    first = text.split("\n", 1)[0]
    # A file of one column may have names with commas.
    separator = delimiter or max((",", ";", "\t"), key=first.count)
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise InputError(f"{path}: invalid CSV", got=error) from error
    if not rows:
        raise InputError(f"{path}: does not name every class", got="an empty file")
    width = len(rows[0])
    ragged = next((number for number, row in enumerate(rows, 1) if len(row) != width), None)
    if ragged is not None:
        raise InputError(
            f"{path}: row {ragged} has another number of columns",
            got=separator.join(rows[ragged - 1])[:80],
            expected=f"{width} columns",
            fix="quote a name that contains the separator",
        )
    header = [cell.lower() for cell in rows[0]]
    if width == 1:
        body = rows[1:] if header[0] in _NAME_HEADERS else rows
        return tuple(row[0] for row in body)
    numbers = [i for i in range(width) if all(_is_index(row[i]) for row in rows[1:])]
    has_header = bool(numbers) and not any(_is_index(rows[0][i]) for i in numbers) and len(rows) > 1
    body = rows[1:] if has_header else rows
    index = [i for i in numbers if sorted(int(row[i]) for row in body if _is_index(row[i])) == list(range(len(body)))]
    named = [i for i in range(width) if i not in index]
    if has_header and len(index) > 1:
        index = [i for i in index if header[i] in _INDEX_HEADERS] or index
    if has_header and len(named) > 1:
        named = [i for i in named if header[i] in _NAME_HEADERS] or named
    if len(index) != 1 or len(named) != 1:
        raise InputError(
            f"{path}: columns not recognised",
            got=separator.join(rows[0])[:80],
            expected="a column of class indices 0, 1, 2, ... and a column of names, such as index,label",
        )
    return tuple(row[named[0]] for row in sorted(body, key=lambda row: int(row[index[0]])))


def _is_index(text: str) -> bool:
    return text.isdecimal() and len(text) < 10


def _from_json(text: str, path: Path, what: str) -> tuple[str, ...]:
    raw = _literal(text) if path.suffix.lower() != ".json" else None
    if raw is None:
        raw = parse_document(text.encode(), path)
    if isinstance(raw, dict):
        listed = raw.get("categories")  # COCO numbers them by id, from 1 and with gaps
        if isinstance(listed, list) and all(isinstance(c, dict) and type(c.get("id")) is int for c in listed):
            raw = [category.get("name") for category in sorted(listed, key=lambda category: category["id"])]
    if isinstance(raw, dict):
        inner = next((raw[key] for key in _JSON_KEYS if isinstance(raw.get(key), dict | list)), None)
        raw = raw if inner is None else inner
    names = names_of(raw, pick=0 if what == "class ids" else 1)
    if names is None:
        raise InputError(
            f"{path}: classes not recognised",
            got=json.dumps(raw, default=repr, skipkeys=True)[:80],  # a Python literal may hold more than JSON
            expected='["cat", "dog"], {"0": "cat", "1": "dog"}, {"cat": 0, "dog": 1} or {"id2label": {...}}',
            fix="name every class index once, from 0",
        )
    return names


def _literal(text: str) -> Any:
    """Return a list or mapping as Python prints it; None if it is JSON or damaged."""
    if len(text) > _MOST_LITERAL:
        return None
    try:
        json.loads(text)
    except ValueError:
        try:
            raw = ast.literal_eval(text)
            repr(raw)  # a number of thousands of digits fails
            return {str(key): value for key, value in raw.items()} if isinstance(raw, dict) else raw
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
    except RecursionError:
        pass
    return None


def names_of(raw: Any, pick: int) -> tuple[str, ...] | None:
    """Return one name per class, in class order, of a parsed list or mapping; None if it is neither.

    Args:
        raw: ``["cat", "dog"]``, ``{"0": "cat"}``, ``{"cat": 0}``, or pairs instead of names.
        pick: which of a pair is the name.
    """
    if isinstance(raw, list):
        return _texts(raw, pick)
    if not isinstance(raw, dict) or not raw:
        return None
    by_index: Mapping[Any, Any] = raw
    if all(isinstance(value, str) and _is_index(value) for value in raw.values()) and not all(map(_is_index, raw)):
        raw = {key: int(value) for key, value in raw.items()}  # label2id with ids as text
    if all(type(value) is int for value in raw.values()):
        if len(set(raw.values())) < len(raw):
            return None
        by_index = {value: key for key, value in raw.items()}
    elif not all(_is_index(key) for key in raw):
        return None
    pairs = sorted((int(key), value) for key, value in by_index.items())
    if [index for index, _ in pairs] != list(range(len(pairs))):
        return None
    return _texts([value for _, value in pairs], pick)


def _texts(values: Sequence[Any], pick: int) -> tuple[str, ...] | None:
    """Return the names; of pairs such as ``["n01440764", "tench"]`` the id or the label."""
    if values and all(isinstance(v, list) and len(v) == 2 and all(isinstance(t, str) for t in v) for v in values):
        values = [value[pick] for value in values]
    if not values or not all(isinstance(value, str) and value.strip() for value in values):
        return None
    return tuple(value.strip() for value in values)
