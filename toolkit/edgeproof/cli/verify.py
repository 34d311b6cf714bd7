"""`edgeproof verify`: replays the golden cases on the engines of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproof.cli._shared import (
    BundlePath,
    HtmlFile,
    JsonFile,
    bundle_name,
    check_outputs,
    check_report_possible,
    err,
    fail_on,
    out,
    print_gates,
    write_reports,
)
from edgeproof.library.verify import verify as verify_bundle
from edgeproof_runtime.errors import UnavailableError

__all__ = ["verify"]


def verify(
    bundle: BundlePath,
    engine: Annotated[
        str, typer.Option(help="One or several engines (a,b), or 'all' that can run here.", metavar="E[,E]")
    ] = "all",
    precision: Annotated[
        str, typer.Option(help="fp32, fp16 or int8, or 'all' that the bundle has.", metavar="P")
    ] = "all",
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Replay the bundle's golden cases on this machine.

    Checks every file's hash, then that each golden frame becomes the very tensor it became at the export, that
    the labels still name PyTorch's answers, that compiled engines come from the bundle's own models, and that each
    engine answers as PyTorch did in each precision. Exits 1 if one does not.

    Examples:

      edgeproof verify model.edge

      edgeproof verify model.edge --engine openvino --json verify.json
    """
    check_report_possible(html_file)
    check_outputs(json_file, html_file)
    try:
        report = verify_bundle(bundle, engine=engine, precision=precision)
    except UnavailableError as error:
        for note in getattr(error, "__notes__", ()):
            err.print(note, style="yellow")
        raise
    for row in report.engines:
        if row.passed is None:
            err.print(f"{row.name} {row.precision} was left out: {row.reason}", style="yellow")
    print_gates(report.gates)
    write_reports(report, json_file, html_file)
    name, gates = bundle_name(report), report.gates
    fail_on(gates, f"{name} on this machine")
    out.print(f"{name} is verified on {report.settings['engine']}: {len(gates)} of {len(gates)} gates passed")
