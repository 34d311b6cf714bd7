"""List the images to label: below a folder, below an address, or in Parquet files."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgeproof.scale.fetching import file_system, is_address, patiently
from edgeproof_runtime.data.forms.record import IMAGE_COLUMNS, column_named
from edgeproof_runtime.data.images import looks_like_image, natural_order, own_files
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.bounds import require_at_most
from edgeproof_runtime.system.redact import redact_address
from edgeproof_runtime.system.spec import SPEC
from edgeproof_runtime.system.text import encodable, some

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Listing", "list_images"]

_SUFFIXES = tuple(SPEC["sources"]["image_suffixes"])
_EXPECTED = "a folder of images, an address such as s3://bucket/folder, or Parquet files with a column of images"


@dataclass(frozen=True, slots=True)
class Listing:
    """Images in a fixed order.

    Attributes:
        names: name of each image in the results.
        sizes: size of each in bytes; of a row of a Parquet file, that of its row group.
        locations: file or address of each.
        rows: Parquet only: row group, row in it, and column of each.
        others: files that are not images.
        notes: sentences for people.
    """

    names: Sequence[str]
    sizes: Sequence[int]
    locations: Sequence[str]
    rows: Sequence[tuple[int, int, str]] | None = None
    others: int = 0
    notes: Sequence[str] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.names)

    def fingerprint(self) -> str:
        """Return SHA-256 (hex) over names and sizes in order; contents are not read."""
        total = hashlib.sha256()
        for name, size in zip(self.names, self.sizes, strict=True):
            total.update(f"{name}\0{size}\0".encode())
        return total.hexdigest()

    def table(self, begin: int, end: int) -> pa.Table:
        """Return images as a table of `edgeproof.scale.Predictor`, with their ``index``."""
        import pyarrow as pa

        columns: dict[str, Any] = {
            "index": pa.array(range(begin, end), pa.int64()),
            "path": pa.array(self.names[begin:end], pa.string()),
            # Bytes: names of files need not be UTF-8.
            "location": pa.array([os.fsencode(one) for one in self.locations[begin:end]], pa.binary()),
        }
        if self.rows is not None:
            groups, rows, names = zip(*self.rows[begin:end], strict=True)
            columns |= {"group": pa.array(groups), "row": pa.array(rows), "column": pa.array(names)}
        return pa.table(columns)


def list_images(data: str) -> Listing:
    """List the images of a folder, of an address or of Parquet files.

    Args:
        data: ``FOLDER``, ``FILE.parquet``, a folder of Parquet files, or an address of fsspec of one of these.

    Raises:
        InputError: no images, too many, or the address cannot be listed.
        UnavailableError: a package for the address or for Parquet is not installed.
    """
    _require_pyarrow()
    files = _of_address(data) if is_address(data) else _of_folder(data)
    tables = [one for one in files if one[0].lower().endswith(".parquet")]
    images = [one for one in files if not one[0].lower().endswith(".parquet")]
    if not is_address(data):
        images = [one for one in images if looks_like_image(Path(one[2]))]
    else:
        images = [one for one in images if one[0].lower().endswith(_SUFFIXES)]
    if tables and images:
        raise InputError(
            f"{redact_address(data)}: images and Parquet files",
            got=f"{len(images)} images, {len(tables)} .parquet",
            expected="one of them",
        )
    others = len(files) - len(tables) - len(images)
    if not tables and not images:
        endings = Counter(PurePosixPath(name).suffix.lower() or "no extension" for name, _, _ in files)
        kinds = f" ({some([ending for ending, _ in endings.most_common()])})" if files else ""
        raise InputError(
            f"{redact_address(data)}: no images", got=f"{len(files)} other files{kinds}", expected=_EXPECTED
        )
    if tables:
        found = _rows_of(tables, others)
    else:
        found = Listing([one[0] for one in images], [one[1] for one in images], [one[2] for one in images])
    require_at_most(len(found), "dataset_images", f"{redact_address(data)}: images")
    repeated = len(found) - len(set(found.names))
    notes = [f"{others} files are not images, and were left out."] if others else []
    if repeated:
        notes.append(f"{repeated} images have the name of another one: index tells them apart.")
    return Listing(found.names, found.sizes, found.locations, found.rows, others, notes)


def _of_folder(data: str) -> list[tuple[str, int, str]]:
    """Return (name, size, path) of the files below a folder, or of one file, in the order of `find_images`."""
    root = Path(data)
    if root.is_file():
        return [(root.name, root.stat().st_size, str(root.absolute()))]
    if not root.is_dir():
        raise InputError(f"{data}: not found", expected=_EXPECTED)
    absolute = root.absolute()
    found = [(path.relative_to(absolute), path) for path in own_files(absolute)]
    found.sort(key=lambda one: natural_order(one[0]))
    return [(encodable(name.as_posix()), _size(path), os.fspath(path)) for name, path in found]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # reading it says why


def _of_address(data: str) -> list[tuple[str, int, str]]:
    system, root = file_system(data)
    shown = redact_address(data)
    try:
        found: dict[str, Any] = patiently(lambda: system.find(root, detail=True), shown)
    except OSError as error:
        raise InputError(f"{shown}: cannot be listed", got=error, expected=_EXPECTED) from error
    except InputError:
        raise
    except Exception as error:  # of the store's own package
        got = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(f"{shown}: cannot be listed", got=got, expected=_EXPECTED) from error
    base = root.rstrip("/")
    listed = []
    for path, facts in found.items():
        name = path[len(base) :].lstrip("/") if path.startswith(base) and path != base else PurePosixPath(path).name
        if any(part.startswith(".") for part in PurePosixPath(name).parts):
            continue
        listed.append((name, int(facts.get("size") or 0), system.unstrip_protocol(path)))
    listed.sort(key=lambda one: natural_order(Path(one[0])))
    return listed


def _rows_of(tables: Sequence[tuple[str, int, str]], others: int) -> Listing:
    names: list[str] = []
    sizes: list[int] = []
    locations: list[str] = []
    rows: list[tuple[int, int, str]] = []
    for name, _, location in tables:
        for label, size, place in _rows_in(name, location):
            names.append(label)
            sizes.append(size)
            locations.append(location)
            rows.append(place)
        require_at_most(len(names), "dataset_images", f"{name}: images")
    if not names:
        raise InputError(f"{tables[0][0]}: no rows")
    return Listing(names, sizes, locations, rows, others)


def _rows_in(name: str, location: str) -> Iterator[tuple[str, int, tuple[int, int, str]]]:
    """Yield name, size of the row group and place of each row of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if is_address(location):
            system, path = file_system(location)
            source: Any = patiently(lambda: system.open(path, "rb"), location)
        else:
            source = location
        with pq.ParquetFile(source) as file:
            schema = file.schema_arrow
            column = _column_of_bytes(schema, name)
            paths = _column_of_paths(schema, column)
            for group in range(file.num_row_groups):
                facts = file.metadata.row_group(group)
                labels = (
                    [None] * facts.num_rows
                    if paths is None
                    else file.read_row_group(group, columns=[paths]).column(0).to_pylist()
                )
                for row, label in enumerate(labels):
                    text = label.get("path") if isinstance(label, dict) else label
                    shown = f"{name}[{group}][{row}]" if text is None else encodable(str(text).replace("\0", r"\x00"))
                    yield shown, facts.total_byte_size, (group, row, column)
    except (pa.ArrowException, OSError) as error:
        got = " ".join(str(error).split())[:200]
        raise InputError(f"{name}: cannot be read", got=got, expected="a Parquet file") from error


def _column_of_bytes(schema: Any, where: str) -> str:
    """Return the column of encoded images: binary, or a struct with ``bytes`` as Hugging Face writes it."""
    import pyarrow as pa

    def holds_bytes(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(one.name == "bytes" and holds_bytes(one.type) for one in kind)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    found = [one.name for one in schema if holds_bytes(one.type)]
    named = found[0] if len(found) == 1 else column_named(found, ("bytes", "content", *IMAGE_COLUMNS), where, "images")
    if named is None:
        raise InputError(
            f"{where}: no column of encoded images",
            got=", ".join(f"{one.name} {one.type}" for one in schema)[:200],
            expected="a binary column named bytes, content or image",
        )
    return named


def _column_of_paths(schema: Any, images: str) -> str | None:
    import pyarrow as pa

    for wish in ("path", "file_name", "filename", "file", "name", "id"):
        if wish in schema.names and pa.types.is_string(schema.field(wish).type):
            return wish
    kind = schema.field(images).type
    if pa.types.is_struct(kind) and any(one.name == "path" for one in kind):
        return f"{images}.path"
    return None


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "label: requires pyarrow, which is not installed", fix='pip install "edgeproof[data]"'
        ) from error
