"""Label images with a bundle: a row per image, on this machine or on a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeproof.library.evidence import settings_of
from edgeproof.library.inputs import open_bundle
from edgeproof.library.progress import Progress, no_progress
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.system.redact import redact_address
from edgeproof_runtime.tasks.registry import head_of
from edgeproof_runtime.verify.golden import frame_gates, output_gate

__all__ = ["LabelReport", "label"]

SHARD = 2048
_TABLE = 256  # images that a worker takes at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport(Report):
    """Report of `label`, with typed results that the JSON document does not hold.

    Attributes:
        labels: number of images of each label, the most frequent first.
        out: folder of the labels.
        place: where they were computed.
        notes: the ``warnings`` about the images.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    out: Path
    place: str
    notes: Sequence[str] = ()


@bounded
def label(
    bundle: str | Path | Bundle,
    data: str | Path,
    out: str | Path,
    *,
    on: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    batch: int = 1,
    exif: bool = False,
    shard: int = SHARD,
    progress: Progress | None = None,
) -> LabelReport:
    """Label images with a bundle, and write a row per image into Parquet files.

    Every worker replays the bundle's golden cases before its first image. Files that are there already are kept, so
    that the same call goes on after an interruption.

    Args:
        bundle: path of a bundle, or an opened one. On a cluster every worker must be able to read the path.
        data: a folder of images, a Parquet file or a folder of them with a column of encoded images, or an address of
            fsspec of one of these, such as ``s3://bucket/folder``.
        out: folder that gets ``part-000000.parquet`` and so on.
        on: None for this process; ``ray`` for a Ray cluster, a local one unless ``RAY_ADDRESS`` names another;
            ``ray://HOST[:PORT]`` for a cluster's client port.
        engine: engine name, or ``auto`` for the fastest that passes the golden cases on this machine.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``auto``.
        threads: CPU threads of each worker's engine; None means 1.
        workers: number of workers; None fills the cores.
        batch: images per inference.
        exif: turn images by their EXIF orientation, as `run` does and `evaluate` does not.
        shard: images per Parquet file.
        progress: called with (phase, done, total).

    Returns:
        A report whose ``passed`` is False if this machine misses the golden cases; then nothing was labelled.

    Raises:
        BundleError: the bundle is damaged, or another on a worker.
        GateError: a worker misses the golden cases.
        InputError: no images; ``out`` holds something else; a file cannot be written; a store or cluster is gone.
        UnavailableError: the engine, Ray or pyarrow is not available.
    """
    from edgeproof.scale.images import list_images
    from edgeproof.scale.labels import LabelFolder
    from edgeproof.scale.pools import check_place, opened_pool

    check_place(on)
    if batch < 1 or shard < 1:
        raise InputError("batch and shard: must be at least 1", got=f"{batch}, {shard}")
    if "://" in str(out):
        raise InputError("--out: must be a folder of this machine", got=redact_address(str(out)))
    host, tell = host_facts(), progress or no_progress
    opened = open_bundle(bundle)
    head_of(opened)
    folder = LabelFolder(out)
    earlier = folder.recorded() or {}
    if engine == "auto" and precision in ("auto", earlier.get("precision")) and "engine" in earlier:
        engine, precision = str(earlier["engine"]).split()[0], str(earlier["precision"])
    tell("listing the images", 0, 1)
    images = list_images(str(data))
    tell("listing the images", 1, 1)
    tell("replaying the golden cases", 0, 1)
    slots = max(batch, opened.batch.min)
    cases = load_golden(opened)
    with load_engine(
        opened, engine, precision, max_batch=slots, threads=threads or 1, judged=True, progress=progress
    ) as loaded:
        info = loaded.describe()
        gates = [*frame_gates(opened, cases), output_gate(opened, loaded, cases, batch=opened.batch.min)]
        model = loaded.artifact.digests.get(loaded.artifact.path)
    tell("replaying the golden cases", 1, 1)
    passed = all(gate.passed for gate in gates)
    given = {
        "bundle": str(opened.path),
        "engine": info.name,
        "precision": info.precision,
        "batch": batch,
        "exif": exif,
        "digest": opened.manifest_sha256,
        "trust": None if opened.signed is None else str(opened.signed.trust.absolute()),
    }
    record = {
        "bundle": opened.name,
        "manifest_sha256": opened.manifest_sha256,
        "model_sha256": model,
        "engine": f"{info.name} {info.version}",
        "precision": info.precision,
        "exif": exif,
        "batch": batch,
        "data": redact_address(str(data)),
        "fingerprint": images.fingerprint(),
        "images": len(images),
        "shard": shard,
    }
    place, done, rate = "", 0, None
    if passed:
        folder.compare(record)
        tell("starting workers", 0, 1)
        with opened_pool(on, engine=info.name, threads=threads, workers=workers) as pool:
            tell("starting workers", 1, 1)
            shards = folder.begin(record)
            kept = len(images) - sum(map(len, shards))
            tables = [
                images.table(begin, min(begin + _TABLE, one.stop))
                for one in shards
                for begin in range(one.start, one.stop, _TABLE)
            ]
            place, phase = pool.place, f"labelling on {pool.place}"
            clock = _Clock()
            tell(phase, kept, len(images))
            for table in pool.run(given, tables) if tables else ():
                done += folder.add(table)
                clock.tick(done)
                tell(phase, kept + done, len(images))
            rate = clock.rate()
    return LabelReport(
        kind="label",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(
            opened,
            engine=info.name,
            precision=info.precision,
            data=redact_address(str(data)),
            out=str(out),
            on=on,
            workers=pool.workers if passed else None,
            threads=threads or 1,
            batch=batch,
            exif=exif or None,
            shard=shard,
        ),
        counts={
            "frames_in": len(images),
            "frames_classified": sum(folder.labels.values()),
            "frames_failed": folder.failed,
            "frames_labelled_earlier": len(images) - done if passed else 0,
        },
        throughput_fps=rate,
        gates=gates,
        engines=[
            EngineRow(
                info.name, info.version, None, passed, chosen=True, precision=info.precision, threads=info.threads
            )
        ],
        warnings=[*images.notes, *host_warnings(host)],
        notes=images.notes,
        labels=dict(folder.labels.most_common()),
        out=Path(out),
        place=place,
    )


class _Clock:
    """Measures the rate from the first results on: workers that start are no part of it."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._last = (0.0, 0)

    def tick(self, done: int) -> None:
        """Note that so many images are done."""
        self._last = (time.monotonic(), done)
        self._first = self._first or self._last

    def rate(self) -> float | None:
        """Return images per second between the first results and the last; None if they came at once."""
        if self._first is None or self._last[1] == self._first[1]:
            return None
        return (self._last[1] - self._first[1]) / (self._last[0] - self._first[0])
