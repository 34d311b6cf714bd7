"""`edgeproof optimize`: add precisions to a bundle within an accuracy budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgeproof.cli._paths import Reads, Writes
from edgeproof.cli._shared import (
    BundlePath,
    ClassIds,
    ClassOrder,
    Exif,
    HtmlFile,
    JsonFile,
    On,
    Split,
    Threads,
    err,
    out,
    print_evidence_problem,
    print_gates,
    print_skipped,
    progress_bar,
    write_reports,
)
from edgeproof.library.optimize import optimize as optimize_bundle

if TYPE_CHECKING:
    from edgeproof_export.optimize import Outcome

__all__ = ["optimize"]


def optimize(
    bundle: BundlePath,
    data: Annotated[
        str,
        typer.Option(help="Labelled images: a dataset as for evaluate.", metavar="DATA", show_default=False),
        Reads(),
    ],
    precision: Annotated[
        str, typer.Option(help="Precisions to add: fp16, int8 or both.", metavar="P[,P]")
    ] = "fp16,int8",
    max_drop: Annotated[
        float,
        typer.Option(help="Accuracy budget: largest drop of top-1, mAP or AUROC (0..1).", min=0.0, max=1.0),
    ] = 0.01,
    calibration: Annotated[
        str | None,
        typer.Option(help="Calibrate on these images instead of a part of --data.", metavar="DATA"),
        Reads(),
    ] = None,
    calibration_split: Annotated[
        str | None, typer.Option(help="Split of --calibration (default: train, else val).", metavar="SPLIT")
    ] = None,
    calibration_pictures: Annotated[int, typer.Option(help="Most calibration images.", min=1, metavar="N")] = 300,
    split: Split = None,
    class_ids: ClassIds = None,
    class_order: ClassOrder = None,
    exif: Exif = False,
    engine: Annotated[
        str | None, typer.Option(help="Validate and time on openvino or onnxruntime (default: the first available).")
    ] = None,
    threads: Threads = None,
    on: On = None,
    workers: Annotated[
        int | None, typer.Option(help="Workers of --on (default: as many as its cores allow).", min=1)
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Keep finished steps in this folder (default: edgeproof's cache, until all are done).", metavar="DIR"
        ),
        Writes("folder"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Permit fewer than 50 calibration images.")] = False,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Add fp16 and int8 models to a bundle within an accuracy budget.

    A part of the images calibrates; the others validate each model against fp32, image by image. If int8 drops more
    than --max-drop, the most sensitive layers return to fp32 until the budget holds or int8 is not faster than fp32.
    A model that misses the budget is not added and the report says why; the exit code is still 0.

    int8 is built twice: for CPUs, and symmetric for TensorRT. Ctrl-C leaves the bundle unchanged; the same command
    continues where it was stopped.

    --on computes the scores of each model on a Ray cluster, whose machines must be like this one. Quantisation, ranking
    of layers and timing stay here.

    Examples:

      edgeproof optimize model.edge --data photographs/val

      edgeproof optimize model.edge --data cifar10.npz --calibration cifar10.npz --max-drop 0.002 --report optimize.html

      edgeproof optimize model.edge --data photographs/val --on ray
    """
    with progress_bar() as tell:
        optimized = optimize_bundle(
            bundle,
            data,
            precision=precision,
            max_drop=max_drop,
            calibration=calibration,
            calibration_split=calibration_split,
            calibration_images=calibration_pictures,
            split=split,
            class_ids=class_ids,
            class_order=class_order,
            exif=exif,
            engine=engine,
            threads=threads,
            on=on,
            workers=workers,
            work=work,
            force=force,
            progress=tell,
        )
    _print(optimized.outcome)
    for note in optimized.notes:
        err.print(f"note: {note}")
    print_skipped(optimized.skipped)
    print_evidence_problem(optimized.evidence_problem)
    write_reports(optimized.report, json_file, html_file)


def _print(outcome: Outcome) -> None:
    out.print(f"fp32: {outcome.fp32_summary}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("model", outcome.budget.metric, "drop, points", "95 % interval", "p", "speed", "layers in fp32", ""):
        table.add_column(column, overflow="fold")
    for one in outcome.found.values():
        for point in one.points:
            low, high = point.paired.drop_ci95
            timed = "not timed" if point.speed is None else f"{point.speed.speedup.estimate:.2f}x {point.speed.engine}"
            table.add_row(
                f"{point.model} ({point.recipe})",
                f"{point.paired.candidate:.2%}",
                f"{100 * point.paired.drop:+.2f}",
                f"{100 * low:+.2f} to {100 * high:+.2f}",
                f"{point.paired.p_value:.2g}",
                timed,
                str(len(point.restored)),
                "added" if point.chosen else "",
            )
    if outcome.found:
        out.print(table)
    for layer in outcome.kept:
        out.print(f"fp16: {layer.layer} ({layer.operator}) stays fp32: {layer.reason}")
    print_gates(outcome.gates())
    for note in outcome.notes():
        err.print(f"note: {note}")
    models = ", ".join(outcome.bundle.models.values())
    out.print(f"{outcome.bundle.path}: {models}")
