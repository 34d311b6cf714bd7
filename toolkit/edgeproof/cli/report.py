"""`edgeproof report`: convert JSON reports into an HTML page, Markdown or a badge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Marked, Reads, Writes, check_paths
from edgeproof.cli._shared import err
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.read import read_report
from edgeproof_runtime.system.files import write_atomically

__all__ = ["report"]


def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Report written with --json by edgeproof or edgeproof-run. Several are shown side by side.",
            metavar="FILE.json...",
        ),
        Reads(),
    ],
    page: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Page to write (default: beside the report, unless --markdown or --badge is given).",
            metavar="FILE.html",
        ),
        Writes("page"),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="Write a summary for a pull request; - is stdout.", metavar="FILE.md"),
        Writes("file"),
    ] = None,
    badge: Annotated[
        Path | None,
        typer.Option("--badge", help="Write the verdict of one report as an SVG badge.", metavar="FILE.svg"),
        Writes("file"),
    ] = None,
) -> None:
    """Convert reports written with --json, such as by a device without Python, into one HTML page, Markdown or a badge.

    Examples:

      edgeproof report run.json

      edgeproof report run.json --out run-on-the-device.html

      edgeproof report raspberry.json jetson.json laptop.json --out devices.html

      edgeproof report evaluate.json --markdown summary.md --badge edgeproof.svg
    """
    if badge is not None and len(files) > 1:
        raise InputError("--badge: requires one report", got=f"{len(files)} reports")
    if page is None and markdown is None and badge is None:
        if len(files) > 1:
            raise InputError(
                "report: several reports need a name", got="no --out", fix="--out FILE.html, or --markdown FILE.md"
            )
        page = files[0].with_suffix(".html")
        marks = (Marked("files", "FILE.json", Reads()), Marked("page", "--out", Writes("page")))
        check_paths(marks, {"files": files, "page": page})
    documents = [read_report(file) for file in files]
    # Importing matplotlib takes a second; an unreadable report does not need it.
    from edgeproof.report import summary, write_html, write_side_by_side

    if page is not None:
        if len(documents) == 1:
            write_html(documents[0], page)
        else:
            write_side_by_side(documents, page)
        err.print(f"report {page}")
    if markdown is not None:
        write_atomically(markdown, summary.markdown(documents).encode())
        err.print(f"summary {markdown}")
    if badge is not None:
        write_atomically(badge, summary.badge(documents[0]).encode())
        err.print(f"badge {badge}")
