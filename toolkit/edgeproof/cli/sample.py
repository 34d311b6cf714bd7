"""`edgeproof sample`: pictures from a generator's bundle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from edgeproof.cli._generation import coverage_table, distance_line
from edgeproof.cli._shared import (
    BundlePath,
    EngineName,
    HtmlFile,
    JsonFile,
    Precision,
    Threads,
    check_outputs,
    check_report_possible,
    count,
    err,
    fail_on,
    out,
    print_gates,
    progress_bar,
    settings_of,
    write_reports,
)
from edgeproof.generation import Distances, classify_pictures
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.system.files import write_atomically
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.tasks.generate import contact_sheet
from edgeproof_runtime.verify.golden import frame_gates, output_gate
from edgeproof_runtime.verify.sampling import sample_pictures

__all__ = ["sample"]

_MOST_SHOWN = 12


def sample(
    bundle: BundlePath,
    number: Annotated[int, typer.Option("--n", help="Pictures.", min=1, metavar="N")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed means the same pictures, on every engine.", min=0)] = 0,
    grid: Annotated[Path | None, typer.Option(help="Write all pictures side by side.", metavar="FILE.png")] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Write each picture as a PNG into this folder.", metavar="DIR")
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(help="A classifier's bundle: which classes it sees, and how sure.", metavar="BUNDLE")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Training pictures (a folder or an .npz), for the nearest neighbours.", metavar="DATA"),
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="With --judge: fail below this mean confidence (0..1).", min=0, max=1)
    ] = None,
    min_per_class: Annotated[
        int | None, typer.Option(help="With --judge: fail if a class has fewer pictures.", min=1, metavar="N")
    ] = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Draw pictures with a generator's bundle, after its golden cases were replayed.

    A picture depends on the seed and its number alone: drawn one by one or in batches, by any engine, it is the same
    to within rounding. Exits 1 if a gate fails.

    Examples:

      edgeproof sample gan.edge --n 64 --grid out.png --seed 0

      edgeproof sample gan.edge --n 1000 --judge lenet.edge --data mnist.npz --min-confidence 0.8 --min-per-class 30
    """
    check_report_possible(html_file)
    check_outputs(grid, json_file, html_file, inputs=(data, judge))
    if (min_confidence is not None or min_per_class is not None) and judge is None:
        raise InputError("a classifier judges confidence and classes", fix="add --judge BUNDLE")
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder", fix="choose another --out")
    if grid is not None and grid.suffix.lower() != ".png":
        raise InputError(f"no picture can be written to {grid}", expected="a name that ends in .png")
    host = host_facts()
    opened = Bundle.open(bundle)
    latent = opened.latent
    judging = None if judge is None else Bundle.open(judge)
    cases = load_golden(opened)
    batch = min(latent.batch.max, number)
    with (
        progress_bar() as tell,
        load_engine(opened, engine, precision, max_batch=batch, threads=threads, progress=tell) as loaded,
    ):
        info = loaded.describe()
        gates = [*frame_gates(opened, cases), output_gate(opened, loaded, cases)]
        parity = gates[-1]
        pictures = []
        for picture in sample_pictures(opened, loaded, seed=seed, count=number, batch=batch):
            pictures.append(picture)
            tell(f"drawing on {info.name}", len(pictures), number)
        coverage = distances = None
        if judging is not None:
            coverage = classify_pictures(pictures, judging, lambda done, total: tell("judging", done, total))
        if data is not None:
            known = _training_pictures(data, pictures[0].shape)
            distances = Distances.between(
                np.stack(pictures), known, tell=lambda done, total: tell("nearest neighbours", done, total)
            )
    if coverage is not None:
        out.print(coverage_table(coverage))
        if min_confidence is not None:
            measured = {"mean_confidence": coverage.mean_confidence}
            gates.append(
                Gate.judge("confidence", "the judge's", measured, at_least={"mean_confidence": min_confidence})
            )
        if min_per_class is not None:
            label, fewest = coverage.rarest
            gates.append(
                Gate.judge(
                    "coverage",
                    f"pictures of the rarest class, {label}",
                    {"fewest": float(fewest)},
                    at_least={"fewest": float(min_per_class)},
                )
            )
    if distances is not None:
        out.print(distance_line(distances))
    print_gates(gates)
    _write(pictures, grid, folder)
    report = Report(
        kind="sample",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(
            opened, engine=info.name, precision=info.precision, seed=seed, threads=info.threads, data=data
        ),
        counts={"pictures": number},
        generation={"coverage": coverage, "nearest": distances},
        gates=gates,
        engines=[EngineRow(info.name, info.version, None, parity.passed, chosen=True)],
        samples=[Thumbnail.of(f"number {i}", p, f"seed {seed}") for i, p in enumerate(pictures[:_MOST_SHOWN])],
        warnings=host_warnings(host),
    )
    write_reports(report, json_file, html_file)
    fail_on(gates, f"{opened.name}, seed {seed}")
    out.print(f"{count(number, 'picture')} of seed {seed} on {info.name} {info.version}, {info.precision}")


def _training_pictures(data: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Training pictures as the generator's: of its size and channels."""
    path = Path(data)
    images = ImageList.open(path / "train" if (path / "train").is_dir() else path, split="train")
    frames = []
    for picture in images:
        frame = picture.frame
        if frame.ndim == 3 and len(shape) == 2:
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        if frame.shape[:2] != shape[:2]:
            size = (shape[1], shape[0])
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        if frame.ndim != len(shape):
            raise InputError(f"{picture.name} has other channels than the generated pictures", got=frame.shape)
        frames.append(frame)
    if not frames:
        raise InputError(f"not one picture of {data} could be read")
    return np.stack(frames)


def _write(pictures: list[NDArray[np.uint8]], grid: Path | None, folder: Path | None) -> None:
    if grid is not None:
        _write_png(contact_sheet(pictures, math.ceil(math.sqrt(len(pictures)))), grid)
        err.print(f"wrote {grid}")
    if folder is not None:
        width = len(str(len(pictures) - 1))
        for index, picture in enumerate(pictures):
            _write_png(picture, folder / f"{index:0{width}}.png")
        err.print(f"wrote {count(len(pictures), 'picture')} into {folder}")


def _write_png(picture: NDArray[np.uint8], path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} is no PNG's name", expected="NAME.png")
    _, png = cv2.imencode(".png", picture)
    write_atomically(path, png.tobytes())
