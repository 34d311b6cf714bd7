"""`edgeproof evaluate`: accuracy on a labelled dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeproof.cli._paths import Reads, Writes
from edgeproof.cli._shared import (
    ClassIds,
    ClassOrder,
    EngineName,
    Exif,
    HtmlFile,
    JsonFile,
    On,
    Precision,
    ServerToken,
    ServerUrl,
    Split,
    Threads,
    Trust,
    bundle_name,
    count,
    err,
    fail_on,
    missed_by,
    open_trusted,
    out,
    print_evidence_problem,
    print_gates,
    print_skipped,
    progress_bar,
    write_reports,
)
from edgeproof.cli._tables import evaluations_table, print_sections, print_walk
from edgeproof.library.evaluate import EvaluationReport
from edgeproof.library.evaluate import evaluate as evaluate_bundle
from edgeproof.library.evaluate_all import Evaluations, check_several, one_cluster
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import GateError, InputError
from edgeproof_runtime.system.files import write_json
from edgeproof_runtime.verify.camera_codec import CODECS

__all__ = ["evaluate"]


def evaluate(
    bundles: Annotated[
        list[Path],
        typer.Argument(
            help="Bundle, NAME.edge; several are evaluated on the same data and compared.",
            metavar="BUNDLE",
            show_default=False,
        ),
        Reads(),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="Dataset: class folders (below train, val, test or not), a CSV, TSV, JSON or Parquet file, a "
            "WebDataset tar, a saved Hugging Face dataset, an .npz, or cifar10; for a multi-label model a CSV or JSON "
            "file, a folder with test.csv or test.json, or an .npz.",
            metavar="DATA",
            show_default=False,
        ),
        Reads(),
    ],
    engine: EngineName = "auto",
    precision: Precision = "auto",
    split: Split = None,
    class_ids: ClassIds = None,
    class_order: ClassOrder = None,
    exif: Exif = False,
    batch: Annotated[int, typer.Option(help="Images per inference.", min=1)] = 1,
    limit: Annotated[int | None, typer.Option(help="Use only the first N images.", min=1, metavar="N")] = None,
    min_top1: Annotated[
        float | None, typer.Option(help="Fail if top-1 accuracy is below this (0..1).", min=0.0, max=1.0)
    ] = None,
    min_auroc: Annotated[
        float | None,
        typer.Option(help="Fail if the mean AUROC over kinds of defects is below this (0..1).", min=0.0, max=1.0),
    ] = None,
    min_map: Annotated[
        float | None,
        typer.Option(help="Fail when the mAP of a multi-label model is below this (0..1).", min=0.0, max=1.0),
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option(
            help="Fail if top-1 or mAP drops by more than this from PyTorch's on the same data (0..1).", min=0, max=1
        ),
    ] = 0.01,
    threads: Threads = None,
    hops: Annotated[
        bool, typer.Option("--hops", help="Find the hop that drops accuracy: PyTorch, contract, ONNX, engine, camera.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(
            help="MODEL as for export, for the hops in PyTorch (default: as recorded in the bundle); with --url the "
            "name of the server's model (default: the bundle's).",
            metavar="MODEL",
        ),
        Reads(),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights of --model, as for export.", metavar="FILE"), Reads()
    ] = None,
    camera: Annotated[
        str, typer.Option(help=f"Codec of the last hop: {', '.join(CODECS)}, or none.", metavar="CODEC")
    ] = "mp4v",
    against: Annotated[
        str | None,
        typer.Option(help="Compare with another engine or precision, image by image.", metavar="ENGINE|PRECISION"),
    ] = None,
    unknown: Annotated[
        str | None,
        typer.Option(
            help="Images of none of the classes: choose by which score, below which limit, run says unknown.",
            metavar="DATA",
        ),
        Reads(),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Write a row per image: path, ground truth, prediction, figures; .csv, .jsonl or .parquet.",
            metavar="FILE",
        ),
        Writes("table"),
    ] = None,
    on: On = None,
    workers: Annotated[
        int | None, typer.Option(help="Workers of --on (default: as many as its cores allow).", min=1)
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence/--no-evidence", help="Store the report in the bundle's evidence.")
    ] = True,
    trust: Trust = None,
    url: ServerUrl = None,
    token: ServerToken = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure a bundle's accuracy on a labelled dataset: top-1, top-5, precision, recall, F1, confusions.

    Replays the golden cases first, then runs every image through the bundle's preprocessing and the engine.
    If the bundle was exported with the same data, top-1 is compared with PyTorch's. Exits 1 if a gate fails.

    For a bundle that finds defects: AUROC of every folder against the folder good. For a multi-label model: mAP, AP
    of each label, precision, recall and F1.

    --hops runs the same images along the whole chain, from PyTorch with its training transforms to the engine
    behind a camera codec, and names the hop that drops accuracy.

    --unknown takes images of none of the classes. Every second image of both datasets chooses the rule for
    run --unknown that keeps 95 % of --data; the others measure it.

    --url evaluates the model of a server (Triton, edgeproof serve, KServe), with the server's preprocessing where it
    takes images.

    Several bundles are evaluated one after another with the same options; a table compares them. --json then writes
    one document with all reports. Exits 1 if a gate of any of them fails.

    Examples:

      edgeproof evaluate model.edge --data photographs/val

      edgeproof evaluate model.edge --data cifar10.npz --engine openvino --min-top1 0.91

      edgeproof evaluate model.edge --data photographs/val --hops --weights best.pth --report hops.html

      edgeproof evaluate model.edge --data photographs/val --predictions images.csv

      edgeproof evaluate model.edge --data photographs/val --on ray://head

      edgeproof evaluate old.edge new.edge --data photographs/val --json both.json

      edgeproof evaluate model.edge --data photographs/val --precision int8 --against fp32

      edgeproof evaluate model.edge --data photographs/val --url http://localhost:8000 --model model
    """
    options: dict[str, Any] = {
        "engine": engine,
        "precision": precision,
        "split": split,
        "class_ids": class_ids,
        "class_order": class_order,
        "exif": exif,
        "batch": batch,
        "limit": limit,
        "min_top1": min_top1,
        "min_auroc": min_auroc,
        "min_map": min_map,
        "max_drop": max_drop,
        "threads": threads,
        "hops": hops,
        "model": model,
        "weights": weights,
        "camera": camera,
        "against": against,
        "unknown": unknown,
        "predictions": predictions,
        "on": on,
        "workers": workers,
        "evidence": evidence,
        "url": url,
        "token": token if url is not None else None,
    }
    if len(bundles) > 1:
        _evaluate_several([open_trusted(bundle, trust) for bundle in bundles], data, options, json_file, html_file)
        return
    with progress_bar() as tell:
        report = evaluate_bundle(open_trusted(bundles[0], trust), data, **options, progress=tell)
    _print(report)
    if predictions is not None:
        err.print(f"predictions {predictions}")
    write_reports(report, json_file, html_file)
    print_evidence_problem(report.evidence_problem)
    fail_on(report.gates, f"{bundle_name(report)} on {data}")


def _print(report: EvaluationReport, of: str = "") -> None:
    title = f"{of}{report.engine.name} {report.engine.version}, {report.engine.precision}"
    print_sections(report.sections, "images", title=title)
    if report.walk is not None:
        print_walk(report.walk)
    for note in report.notes:
        err.print(f"note: {note}")
    print_skipped(report.skipped)
    print_gates(report.gates)


def _evaluate_several(
    bundles: list[Bundle], data: str, options: dict[str, Any], json_file: Path | None, html_file: Path | None
) -> None:
    """Evaluate bundles one after another, and compare them.

    Raises:
        GateError: a gate of any of them failed.
    """
    if html_file is not None:
        raise InputError(
            "--report: requires one bundle",
            got=f"{len(bundles)} bundles",
            fix="--json for all of them, or run evaluate once with each",
        )
    check_several(bundles, options)
    names, reports = [str(bundle.path) for bundle in bundles], []
    with one_cluster(options["on"]):
        for name, bundle in zip(names, bundles, strict=True):
            err.print(f"evaluating {name}")
            with progress_bar(f"{name}: ") as tell:
                report = evaluate_bundle(bundle, data, **options, progress=tell)
            _print(report, f"{name}: ")
            write_reports(report, None, None)
            print_evidence_problem(report.evidence_problem)
            reports.append(report)
    found = Evaluations(data=data, bundles=names, reports=reports)
    out.print(evaluations_table(found))
    if json_file is not None:
        write_json(json_file, found.to_json())
        err.print(f"report {json_file}")
    failed = {name: gates for name, gates in found.failed.items() if gates}
    if failed:
        raise GateError(
            f"{count(len(failed), 'bundle')} of {len(names)} failed gates on {data}",
            got="; ".join(f"{name}: {missed_by(gates)}" for name, gates in failed.items()),
        )
