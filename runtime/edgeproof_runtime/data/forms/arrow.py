"""Parquet files, and datasets that Hugging Face's ``save_to_disk`` wrote (Arrow). Requires pyarrow."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from edgeproof_runtime.data.forms.record import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    Found,
    ReadError,
    Reading,
    below,
    column_named,
    require_few,
)
from edgeproof_runtime.data.store import EncodedStore
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.documents import parse_document, read_document

__all__ = ["read_arrow", "read_parquet"]

_LARGEST_GROUP = 4 << 30


class _Chunks(EncodedStore):
    """Images in chunks of rows (a row group, a record batch), of which one at a time is in memory."""

    def __init__(
        self,
        rows: Sequence[int],
        load: Callable[[int], Any],
        root: Path,
        prefix: str,
        *,
        exif: bool,
    ) -> None:
        ends = list(accumulate(rows))
        super().__init__([f"{prefix}[{index}]" for index in range(ends[-1] if ends else 0)], exif=exif)
        self._starts = [0, *ends]
        self._load = load
        self._root = root
        self._lock = threading.Lock()
        self._chunk: tuple[int, Any] | None = None

    def content(self, index: int) -> bytes:
        number = bisect_right(self._starts, index) - 1
        with self._lock:
            if self._chunk is None or self._chunk[0] != number:
                self._chunk = (number, self._load(number))
            column = self._chunk[1]
        value = column[index - self._starts[number]].as_py()
        data = value.get("bytes") if isinstance(value, Mapping) else value
        if isinstance(data, bytes):
            return data
        path = value.get("path") if isinstance(value, Mapping) else value
        if not isinstance(path, str):
            raise OSError("no image in this row")
        try:
            return (self._root / below(path, self._names[index])).read_bytes()
        except ReadError as error:  # of one row, not of the file
            raise OSError(f"path {error.got} is not below the file's folder") from error


def read_parquet(files: Sequence[Path], reading: Reading) -> Found:
    """Read Parquet files with a column of images (bytes, or ``{bytes, path}``) and a column of labels.

    Raises:
        InputError: a file is damaged, or its columns are not recognised.
        UnavailableError: pyarrow is not installed.
    """
    pa = _pyarrow()
    import pyarrow.parquet as pq

    try:
        opened = [pq.ParquetFile(file, memory_map=True) for file in files]
        groups = [(number, group) for number, one in enumerate(opened) for group in range(one.num_row_groups)]
        sizes = [opened[number].metadata.row_group(group).num_rows for number, group in groups]
        require_few(sum(sizes), str(files[0]))
        schema = opened[0].schema_arrow
        image, label, names = _columns(schema, files[0])
        labels = None if label is None else [v for one in opened for v in one.read(columns=[label])[label].to_pylist()]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ReadError(f"{files[0]}: cannot be read", got=_line(error), expected="a Parquet file") from error

    def load(position: int) -> Any:
        number, group = groups[position]
        size = opened[number].metadata.row_group(group).total_byte_size
        if size > _LARGEST_GROUP:
            raise OSError(f"a row group of {size / 2**30:.1f} GiB; write the file with smaller row groups")
        try:
            return opened[number].read_row_group(group, columns=[image]).column(0)
        except pa.ArrowException as error:
            raise OSError(_line(error)) from error

    store = _Chunks(sizes, load, files[0].parent, files[0].stem, exif=reading.exif)
    return _found(store, labels, names, files[0])


def read_arrow(files: Sequence[Path], reading: Reading) -> Found:
    """Read the Arrow files of a dataset saved with ``save_to_disk``; they are mapped, not loaded.

    Raises:
        InputError: a file is damaged, or its columns are not recognised.
        UnavailableError: pyarrow is not installed.
    """
    pa = _pyarrow()
    try:
        tables = [_mapped(pa, file) for file in files]
        schema = tables[0].schema
        image, label, names = _columns(schema, files[0])
        labels = None if label is None else [value for table in tables for value in table[label].to_pylist()]
        columns = [table[image] for table in tables]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ReadError(f"{files[0]}: cannot be read", got=_line(error), expected="an Arrow file") from error
    require_few(sum(map(len, columns)), str(files[0]))
    store = _Chunks(
        [len(column) for column in columns],
        lambda number: columns[number],
        files[0].parent,
        files[0].stem,
        exif=reading.exif,
    )
    return _found(store, labels, names, files[0])


def _mapped(pa: Any, file: Path) -> Any:
    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_file(source).read_all()


def _found(store: _Chunks, labels: Sequence[Any] | None, names: tuple[str, ...] | None, where: Path) -> Found:
    if not len(store):
        raise ReadError(f"{where}: no rows")
    # Hugging Face writes -1 where a test set has no labels.
    if labels is None or all(label is None or label == -1 for label in labels):
        return Found(store)
    labels = [label[0] if isinstance(label, list) and len(label) == 1 else label for label in labels]
    # `type`, because bool is a subclass of int.
    wrong = next((number for number, label in enumerate(labels) if type(label) not in (int, str)), None)
    if wrong is not None:
        got = repr(labels[wrong])[:80]
        fix = "leave the images without a label out" if labels[wrong] is None else None
        raise ReadError(f"{where}: row {wrong}: not a label", got=got, expected="an integer or text", fix=fix)
    if all(isinstance(label, int) for label in labels):
        return Found(store, [int(label) for label in labels], names)
    return Found(store, [str(label) for label in labels])


def _columns(schema: Any, where: Path) -> tuple[str, str | None, tuple[str, ...] | None]:
    """Return the columns of images and of labels, and the class names of the latter if stored."""
    features = _features(schema, where)
    typed = {kind: [name for name, f in features.items() if f.get("_type") == kind] for kind in ("Image", "ClassLabel")}
    columns = list(schema.names)
    images, classes = typed["Image"], typed["ClassLabel"]
    image = images[0] if len(images) == 1 else column_named(images or columns, IMAGE_COLUMNS, str(where), "images")
    if image is None:
        raise ReadError(
            f"{where}: no column of images", got=", ".join(columns)[:120], expected=f"one named {IMAGE_COLUMNS[0]}"
        )
    label = classes[0] if len(classes) == 1 else column_named(classes or columns, LABEL_COLUMNS, str(where), "labels")
    names = None if label is None else features.get(label, {}).get("names")
    return image, label, tuple(map(str, names)) if isinstance(names, list) else None


def _features(schema: Any, where: Path) -> dict[str, Any]:
    """Return Hugging Face's description of the columns, from the file or from ``dataset_info.json`` beside it."""
    raw = (schema.metadata or {}).get(b"huggingface")
    beside = where.parent / "dataset_info.json"
    try:
        found: Any = parse_document(raw, where)["info"]["features"] if raw else {}
        if not found and beside.is_file():
            found = read_document(beside)["features"]
    except (InputError, KeyError, TypeError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise UnavailableError(
            "Parquet and Arrow datasets: require pyarrow, which is not installed", fix='pip install "edgeproof[data]"'
        ) from error
    return pyarrow


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
