"""`edgeproof sample`: generate images with a generator's bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Reads, Writes
from edgeproof.cli._shared import (
    BundlePath,
    EngineName,
    HtmlFile,
    JsonFile,
    Precision,
    Threads,
    bundle_name,
    count,
    err,
    fail_on,
    out,
    print_gates,
    progress_bar,
    write_reports,
)
from edgeproof.cli._tables import coverage_table, distance_line
from edgeproof.library.sample import sample as sample_images

__all__ = ["sample"]


def sample(
    bundle: BundlePath,
    number: Annotated[int, typer.Option("--n", help="Number of images.", min=1, metavar="N")] = 64,
    seed: Annotated[int, typer.Option(help="Seed; the same seed gives the same images on every engine.", min=0)] = 0,
    grid: Annotated[
        Path | None, typer.Option(help="Write all images as one grid.", metavar="FILE.png"), Writes("image")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Write each image as a PNG into this folder.", metavar="DIR"),
        Writes("folder", owns=("*.png",)),
    ] = None,
    judge: Annotated[
        Path | None,
        typer.Option(help="Classifier bundle that measures class coverage and confidence.", metavar="BUNDLE"),
        Reads(),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Training images (a folder or an .npz), for the nearest neighbours.", metavar="DATA"),
        Reads(),
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="With --judge: fail if the mean confidence is below this (0..1).", min=0, max=1)
    ] = None,
    min_per_class: Annotated[
        int | None, typer.Option(help="With --judge: fail if a class has fewer images.", min=1, metavar="N")
    ] = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Generate images with a generator's bundle after replaying its golden cases.

    An image depends on the seed and its number only: singly or in batches, on any engine, it is the same within
    rounding. Exits 1 if a gate fails.

    Examples:

      edgeproof sample gan.edge --n 64 --grid out.png --seed 0

      edgeproof sample gan.edge --n 1000 --judge lenet.edge --data mnist.npz --min-confidence 0.8 --min-per-class 30
    """
    with progress_bar() as tell:
        sampled = sample_images(
            bundle,
            number=number,
            seed=seed,
            grid=grid,
            folder=folder,
            judge=judge,
            data=data,
            min_confidence=min_confidence,
            min_per_class=min_per_class,
            engine=engine,
            precision=precision,
            threads=threads,
            progress=tell,
        )
    report = sampled.report
    if sampled.coverage is not None:
        out.print(coverage_table(sampled.coverage))
    if sampled.distances is not None:
        out.print(distance_line(sampled.distances))
    print_gates(report.gates)
    if grid is not None:
        err.print(f"wrote {grid}")
    if folder is not None:
        err.print(f"wrote {count(number, 'image')} into {folder}")
    write_reports(report, json_file, html_file)
    fail_on(report.gates, f"{bundle_name(report)}, seed {seed}")
    info = report.engines[0]
    out.print(f"{count(number, 'image')} of seed {seed} on {info.name} {info.version}, {report.settings['precision']}")
