"""`edgeproof tune`: measure the engines of this machine once, and remember the fastest."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproof.cli._shared import (
    BundlePath,
    HtmlFile,
    JsonFile,
    Threads,
    bundle_name,
    err,
    out,
    print_engines,
    progress_bar,
    write_reports,
)
from edgeproof.library.tune import tune as tune_bundle

__all__ = ["tune"]


def tune(
    bundle: BundlePath,
    engine: Annotated[str, typer.Option(help="One engine, or 'auto' for all of this machine.", metavar="E")] = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, fp16 or int8, or 'auto' for all in the bundle.", metavar="P")
    ] = "auto",
    threads: Threads = None,
    again: Annotated[bool, typer.Option("--again", help="Measure although a choice is remembered.")] = False,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure which engine, precision and number of threads is the fastest on this machine.

    Loads every candidate, leaves out those that miss the golden cases, and times the others in interleaved rounds. The
    fastest is remembered in the user's cache: every command and Classifier with --engine auto takes it from then on.

    Examples:

      edgeproof tune model.edge

      edgeproof tune model.edge --again --json tune.json
    """
    with progress_bar() as progress:
        report = tune_bundle(
            bundle, engine=engine, precision=precision, threads=threads, again=again, progress=progress
        )
    print_engines(report.engines)
    for warning in report.warnings:
        err.print(warning, style="yellow")
    write_reports(report, json_file, html_file)
    best = report.engines[0]
    of_threads = "" if best.threads is None else f", {best.threads} threads"
    out.print(
        f"{bundle_name(report)}: auto takes {best.name} {best.precision}{of_threads} on this machine: "
        f"{best.median_ms:.2f} ms, measured {report.settings['measured_at']}"
    )
