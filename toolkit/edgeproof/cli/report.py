"""`edgeproof report`: a report's JSON as a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._shared import check_outputs, check_report_possible, err
from edgeproof_runtime.evidence.read import read_report

__all__ = ["report"]


def report(
    file: Annotated[
        Path,
        typer.Argument(help="A report that --json of any command, or of edgeproof-run, wrote.", metavar="FILE.json"),
    ],
    page: Annotated[
        Path | None, typer.Option("--out", help="The page; else it lies beside the report.", metavar="FILE.html")
    ] = None,
) -> None:
    """Show a report written with --json as one HTML page, such as that of a device that has no Python.

    Examples:

      edgeproof report run.json

      edgeproof report run.json --out run-on-the-device.html
    """
    page = page or file.with_suffix(".html")
    check_report_possible(page)
    check_outputs(page, inputs=(file,))
    document = read_report(file)
    # matplotlib takes a second to import, which a report that cannot be read does not need.
    from edgeproof.report import write_html

    write_html(document, page)
    err.print(f"report {page}")
