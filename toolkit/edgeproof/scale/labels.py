"""A folder of labels: Parquet files of a fixed number of images each, and a record of what made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import read_document
from edgeproof_runtime.system.files import write_atomically, write_json

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RECORD", "LabelFolder"]

RECORD = "_labels.json"  # readers of Parquet folders leave out names that begin with an underscore
_SCHEMA = "edgeproof.labels/1"
_WORDS = {
    "manifest_sha256": "bundle",
    "model_sha256": "model",
    "engine": "engine",
    "precision": "precision",
    "exif": "--exif",
    "batch": "--batch",
    "fingerprint": "dataset",
    "images": "number of images",
    "shard": "--shard",
}


class LabelFolder:
    """A folder that gets a Parquet file for every ``shard`` images, each whole or not at all.

    Args:
        folder: the folder; it may be new, empty, or of an earlier run with the same bundle, engine and images.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.labels: Counter[str] = Counter()
        self.failed = 0
        self._images = self._shard = 0
        self._open: dict[int, list[pa.Table]] = {}
        self._columns: tuple[str, ...] = ()

    def recorded(self) -> dict[str, Any] | None:
        """Return the record of an earlier run; None if the folder is new or empty.

        Raises:
            InputError: the folder holds something else.
        """
        if not self.folder.exists():
            return None
        if not (self.folder / RECORD).is_file():
            others = [path.name for path in self.folder.iterdir() if not path.name.endswith(".partial")]
            if others:
                raise InputError(
                    f"{self.folder}: holds no labels of edgeproof",
                    got=f"{len(others)} files, such as {sorted(others)[0]}",
                    expected="a new or empty folder, or one of an earlier run",
                    fix="choose another --out",
                )
            return None
        found = read_document(self.folder / RECORD)
        if not isinstance(found, dict) or found.get("schema") != _SCHEMA:
            raise InputError(
                f"{self.folder / RECORD}: not a record of labels", expected=_SCHEMA, fix="choose another --out"
            )
        return found

    def compare(self, record: Mapping[str, Any]) -> None:
        """Compare what will make the labels with the record that is there.

        Args:
            record: every key of the record but ``schema``.

        Raises:
            InputError: the folder holds labels of another bundle, engine, dataset or shard size.
        """
        earlier = self.recorded()
        for key, word in _WORDS.items() if earlier is not None else ():
            if earlier is not None and earlier.get(key) != record[key]:
                raise InputError(
                    f"{self.folder}: holds labels of another {word}"
                    if not word.startswith("--")
                    else f"{self.folder}: holds labels that were made with another {word}",
                    got=record[key],
                    expected=earlier.get(key),
                    fix="choose another --out, or remove the folder",
                )

    def begin(self, record: Mapping[str, Any]) -> list[range]:
        """Write the record, unless it is there; return the images that have no labels yet, a range for each shard.

        Args:
            record: as for `compare`.

        Raises:
            InputError: as for `compare`; or the record cannot be written.
        """
        self.compare(record)
        self._images, self._shard = record["images"], record["shard"]
        if self.recorded() is None:
            write_json(self.folder / RECORD, {"schema": _SCHEMA, **record})
        return [shard for number, shard in enumerate(self._shards()) if not self._take_whole(number, shard)]

    def add(self, table: pa.Table) -> int:
        """Take predicted images of one shard, in any order; write the shard when it is whole.

        Args:
            table: rows of `edgeproof.scale.Predictor` with their ``index``.

        Returns:
            Number of images taken.

        Raises:
            InputError: the shard cannot be written; earlier ones remain.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if not table.num_rows:
            return 0
        number = table["index"][0].as_py() // self._shard
        parts = self._open.setdefault(number, [])
        parts.append(table)
        if sum(part.num_rows for part in parts) == len(self._range(number)):
            whole = pa.concat_tables(self._open.pop(number)).sort_by("index")
            if pc.count_distinct(whole["index"]).as_py() != whole.num_rows:
                raise RuntimeError(f"shard {number}: an image twice")
            self._write(number, whole)
            self._count(whole)
        return int(table.num_rows)

    def rows(self) -> Iterator[pa.Table]:
        """Yield the tables of all shards in the order of the images."""
        import pyarrow.parquet as pq

        for number, _ in enumerate(self._shards()):
            yield pq.read_table(self._file(number), partitioning=None)

    def _write(self, number: int, table: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        made = pa.BufferOutputStream()
        pq.write_table(table, made, compression="zstd")
        write_atomically(self._file(number), bytes(made.getvalue()))

    def _take_whole(self, number: int, shard: range) -> bool:
        """Return whether a shard is there and whole; count its rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self._file(number)
        if not file.is_file():
            return False
        try:
            table = pq.read_table(file, columns=["index", "label", "error"], partitioning=None)
        except (pa.ArrowException, OSError):
            return False
        if table.num_rows != len(shard) or table["index"][0].as_py() != shard.start:
            return False
        self._count(table)
        return True

    def _count(self, table: pa.Table) -> None:
        import pyarrow.compute as pc

        for one in pc.value_counts(table["label"].drop_null()).to_pylist():
            self.labels[one["values"]] += one["counts"]
        self.failed += table.num_rows - table["error"].null_count

    def _shards(self) -> Sequence[range]:
        return [self._range(number) for number in range(-(-self._images // self._shard))]

    def _range(self, number: int) -> range:
        return range(number * self._shard, min((number + 1) * self._shard, self._images))

    def _file(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.parquet"
