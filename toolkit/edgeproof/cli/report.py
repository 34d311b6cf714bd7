"""`edgeproof report`: convert a JSON report into an HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Marked, Reads, Writes, check_paths
from edgeproof.cli._shared import err
from edgeproof_runtime.evidence.read import read_report

__all__ = ["report"]


def report(
    file: Annotated[
        Path,
        typer.Argument(help="Report written with --json by edgeproof or edgeproof-run.", metavar="FILE.json"),
        Reads(),
    ],
    page: Annotated[
        Path | None,
        typer.Option("--out", help="Page to write (default: beside the report).", metavar="FILE.html"),
        Writes("page"),
    ] = None,
) -> None:
    """Convert a report written with --json, such as by a device without Python, into one HTML page.

    Examples:

      edgeproof report run.json

      edgeproof report run.json --out run-on-the-device.html
    """
    if page is None:
        page = file.with_suffix(".html")
        marks = (Marked("file", "FILE.json", Reads()), Marked("page", "--out", Writes("page")))
        check_paths(marks, {"file": file, "page": page})
    document = read_report(file)
    # Importing matplotlib takes a second; an unreadable report does not need it.
    from edgeproof.report import write_html

    write_html(document, page)
    err.print(f"report {page}")
