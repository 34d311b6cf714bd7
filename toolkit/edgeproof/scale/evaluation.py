"""The model's outputs for a dataset, computed by workers: in the dataset's order, as one machine computes them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof.scale.pools import Pool
from edgeproof.scale.predictor import outputs_in
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import LabelledImages
from edgeproof_runtime.data.store import Traits
from edgeproof_runtime.engines import EngineInfo
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.latency import LatencyRecorder

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["outputs_on", "require_files"]

_TABLE = 256


@dataclass(frozen=True, slots=True)
class _FarSample:
    """A sample that a worker read; its frame is read again where it is shown."""

    index: int
    name: str
    target: Any
    data: LabelledImages[Any]

    @property
    def frame(self) -> NDArray[Any]:
        ((_, picture),) = self.data.images.indexed([self.index])
        return picture.frame


def require_files(data: LabelledImages[Any], path: str | Path) -> None:
    """Check that workers can read the images of a dataset by themselves.

    Raises:
        InputError: they are not files, or pyarrow is missing.
    """
    if data.images.files is None:
        raise InputError(
            f"{path}: images in an archive",
            expected="image files, such as class folders or a CSV of paths, for --on",
            fix="leave --on out",
        )


def outputs_on(
    pool: Pool,
    bundle: Bundle,
    info: EngineInfo,
    data: LabelledImages[Any],
    recorder: LatencyRecorder,
    *,
    batch: int,
    limit: int | None,
    exif: bool,
) -> Iterator[tuple[list[Any], tuple[Tensor, ...]]]:
    """Yield readable samples in groups with the engine's outputs, as `edgeproof_runtime.verify.evaluate` does.

    Args:
        pool: workers.
        bundle: the bundle, which every worker can read.
        info: engine and precision of the workers.
        data: a dataset of files; it is told of damaged images.
        recorder: gets the workers' times.
        batch: samples per inference.
        limit: stop after this many readable samples.
        exif: turn images by their EXIF orientation.

    Raises:
        EdgeproofError: as for `edgeproof.scale.pools.Pool.run`; `InputError` also if no image could be read.
    """
    given = {
        "bundle": str(bundle.path),
        "engine": info.name,
        "precision": info.precision,
        "batch": batch,
        "exif": exif,
        "digest": bundle.manifest_sha256,
        "trust": None if bundle.signed is None else str(bundle.signed.trust.absolute()),
        "raw": True,
    }
    taken = 0
    group: list[tuple[_FarSample, tuple[Tensor, ...]]] = []
    for row in _rows_in_order(pool, given, data, batch, limit):
        recorder.add("preprocess", row["preprocess_ms"])
        recorder.add("inference", row["inference_ms"])
        index = row["index"]
        sample = _FarSample(index, row["path"], data.targets[index], data)
        group.append((sample, outputs_in(row)))
        taken += 1
        if len(group) == batch:
            yield _grouped(group)
            group = []
    if group:
        yield _grouped(group)
    if not taken:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in data.skipped[:3])
        raise InputError("dataset: no image could be read", got=reasons or "no images")


def _grouped(group: list[tuple[_FarSample, tuple[Tensor, ...]]]) -> tuple[list[Any], tuple[Tensor, ...]]:
    outputs = zip(*(outputs for _, outputs in group), strict=True)
    return [sample for sample, _ in group], tuple(np.concatenate(each) for each in outputs)


def _rows_in_order(
    pool: Pool, given: Mapping[str, Any], data: LabelledImages[Any], batch: int, limit: int | None
) -> Iterator[dict[str, Any]]:
    """Yield the rows of readable images; damaged ones beyond the limit are made up for, as on one machine."""
    position, left = 0, len(data) if limit is None else limit
    size = max(batch, _TABLE // batch * batch)  # whole batches, as on one machine
    while left > 0 and position < len(data):
        end = min(position + left, len(data))
        tables = [_table(data, begin, min(begin + size, end)) for begin in range(position, end, size)]
        waiting: dict[int, dict[str, Any]] = {}
        for table in pool.run(given, tables):
            waiting |= {row["index"]: row for row in table.to_pylist()}
            while position in waiting:
                row = waiting.pop(position)
                data.images.note(position, Traits.of_number(row["traits"]), row["error"])
                position += 1
                if row["error"] is None:
                    left -= 1
                    yield row


def _table(data: LabelledImages[Any], begin: int, end: int) -> pa.Table:
    import pyarrow as pa

    files = data.images.files or ()
    return pa.table(
        {
            "index": pa.array(range(begin, end), pa.int64()),
            "path": pa.array([data.images.name(index) for index in range(begin, end)], pa.string()),
            "location": pa.array([os.fsencode(files[index].absolute()) for index in range(begin, end)], pa.binary()),
        }
    )
