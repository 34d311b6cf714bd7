"""`edgeproof label`: predictions for many images, as Parquet files."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from rich.table import Table

from edgeproof.cli._paths import Reads, Writes
from edgeproof.cli._shared import (
    BundlePath,
    EngineName,
    Exif,
    JsonFile,
    On,
    Precision,
    Trust,
    bundle_name,
    count,
    err,
    fail_on,
    open_trusted,
    out,
    print_gates,
    progress_bar,
    write_reports,
)
from edgeproof.library.label import SHARD
from edgeproof.library.label import label as label_images

__all__ = ["label"]

_SHOWN = 10


def label(
    bundle: BundlePath,
    data: Annotated[
        str,
        typer.Option(
            help="Images: a folder, a Parquet file or a folder of them, or an address such as s3://bucket/folder.",
            metavar="DATA",
            show_default=False,
        ),
        Reads(),
    ],
    folder: Annotated[
        str,
        typer.Option(
            "--out", help="Folder of the labels; an earlier run's is completed.", metavar="FOLDER", show_default=False
        ),
        Writes("folder", ("_labels.json", "part-*.parquet")),
    ],
    on: On = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads of each worker's engine (default 1).", min=1)] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of workers (default: as many as the cores allow).", min=1)
    ] = None,
    batch: Annotated[int, typer.Option(help="Images per inference.", min=1)] = 1,
    exif: Exif = False,
    shard: Annotated[int, typer.Option(help="Images per Parquet file.", min=1)] = SHARD,
    trust: Trust = None,
    json_file: JsonFile = None,
) -> None:
    """Label images: a row each with label, probability, top 5, margin, sha256, engine, bundle and error.

    Every worker replays the bundle's golden cases before its first image. An image that cannot be read is a row with
    an error. The same command completes a folder after an interruption; labels of another bundle, engine or dataset
    are refused.

    --on ray takes the cluster that RAY_ADDRESS names, else it starts one on this machine; --on ray://HOST takes a
    cluster's client port. Workers read bundle and images under the same paths.

    Examples:

      edgeproof label model.edge --data photographs --out labels

      edgeproof label model.edge --data s3://bucket/photographs --on ray://head --out labels

      edgeproof label model.edge --data photographs.parquet --engine onnxruntime --batch 8 --out labels
    """
    with progress_bar() as tell:
        report = label_images(
            open_trusted(bundle, trust),
            data,
            folder,
            on=on,
            engine=engine,
            precision=precision,
            threads=threads,
            workers=workers,
            batch=batch,
            exif=exif,
            shard=shard,
            progress=tell,
        )
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("label", overflow="fold")
    table.add_column("images", justify="right")
    for name, number in islice(report.labels.items(), _SHOWN):
        table.add_row(name, str(number))
    out.print(table)
    if len(report.labels) > _SHOWN:
        out.print(f"and {count(len(report.labels) - _SHOWN, 'label')} more")
    for note in report.notes:
        err.print(f"note: {note}")
    failed, earlier = report.counts["frames_failed"], report.counts["frames_labelled_earlier"]
    if failed:
        err.print(f"{count(failed, 'image')} failed: see the column error", style="yellow")
    if earlier:
        err.print(f"{count(earlier, 'image')} labelled earlier")
    rate = "" if report.throughput_fps is None else f", {report.throughput_fps:.0f} images/s on {report.place}"
    print_gates(report.gates)
    err.print(f"labels {report.out}: {count(report.counts['frames_in'], 'image')}{rate}")
    write_reports(report, json_file, None)
    fail_on(report.gates, f"{bundle_name(report)} on this machine")
