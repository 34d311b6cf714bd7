"""`edgeproof optimize`: adds precisions to a bundle, within an accuracy budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgeproof.cli._shared import (
    BundlePath,
    HtmlFile,
    JsonFile,
    Threads,
    check_outputs,
    check_report_possible,
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
        typer.Option(help="Labelled pictures: class folders, an .npz, or cifar10.", metavar="DATA", show_default=False),
    ],
    precision: Annotated[str, typer.Option(help="What to add: fp16, int8 or both.", metavar="P[,P]")] = "fp16,int8",
    max_drop: Annotated[
        float, typer.Option(help="Budget: top-1 or mAP that may be lost against fp32 (0..1).", min=0.0, max=1.0)
    ] = 0.01,
    calibration: Annotated[
        str | None,
        typer.Option(help="Calibrate on these pictures instead of a part of --data.", metavar="DATA"),
    ] = None,
    calibration_split: Annotated[str, typer.Option(help="Which part of --calibration, as --split.")] = "train",
    calibration_pictures: Annotated[int, typer.Option(help="At most so many calibrate.", min=1, metavar="N")] = 300,
    split: Annotated[str, typer.Option(help="x_SPLIT of an .npz, or a subfolder of that name.")] = "test",
    class_ids: Annotated[
        Path | None,
        typer.Option(help="File of folder names; line number = class index. Else from the bundle.", metavar="FILE"),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Judge and time on openvino or onnxruntime; else the first that is here.")
    ] = None,
    threads: Threads = None,
    work: Annotated[
        Path | None,
        typer.Option(help="Keep finished steps here; else in edgeproof's cache until all is done.", metavar="DIR"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Calibrate on fewer than 50 pictures.")] = False,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Add fp16 and int8 models to a bundle, as far as an accuracy budget allows.

    A part of the pictures calibrates, the others judge, picture by picture against fp32. Where int8 loses more than
    --max-drop, the layers that cost most go back to fp32, until the budget holds or int8 is no faster. What does not
    hold the budget is not added, and the report says why; that is no failure, so the exit code is 0.

    int8 is made twice: for CPUs, and symmetric for TensorRT. Ctrl-C leaves the bundle as it was; the same command
    goes on where it was stopped.

    Examples:

      edgeproof optimize model.edge --data photographs/val

      edgeproof optimize model.edge --data cifar10.npz --calibration cifar10.npz --max-drop 0.002 --report optimize.html
    """
    check_report_possible(html_file)
    check_outputs(json_file, html_file, inputs=(data, calibration, class_ids))
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
            engine=engine,
            threads=threads,
            work=work,
            force=force,
            progress=tell,
        )
    _print(optimized.outcome)
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
            timed = (
                "not timed here" if point.speed is None else f"{point.speed.speedup.estimate:.2f}x {point.speed.engine}"
            )
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
    models = ", ".join(outcome.bundle.manifest.models.values())
    out.print(f"{outcome.bundle.path}: {models}")
