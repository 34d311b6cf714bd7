"""`edgeproof verify`: replay the golden cases on the engines of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproof.cli._shared import (
    BundlePath,
    HtmlFile,
    JsonFile,
    ServerToken,
    ServerUrl,
    Trust,
    bundle_name,
    err,
    fail_on,
    open_trusted,
    out,
    print_gates,
    progress_bar,
    write_reports,
)
from edgeproof.cli._tables import print_drift
from edgeproof.library.verify import verify as verify_bundle
from edgeproof_runtime.errors import UnavailableError

__all__ = ["verify"]


def verify(
    bundle: BundlePath,
    engine: Annotated[
        str, typer.Option(help="One or several engines (a,b), or 'all' available on this machine.", metavar="E[,E]")
    ] = "all",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8, or 'all' in the bundle.", metavar="P")] = "all",
    layers: Annotated[
        bool, typer.Option("--layers", help="Also name the first layer whose numbers move from the exported model's.")
    ] = False,
    trust: Trust = None,
    url: ServerUrl = None,
    model: Annotated[
        str | None, typer.Option(help="Model of the server at --url (default: the bundle's name).", metavar="M")
    ] = None,
    token: ServerToken = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Replay the bundle's golden cases on this machine, or on a server.

    Checks every file's hash; that preprocessing turns each golden frame into the same tensor as at the export; that
    the labels still name PyTorch's predictions; that compiled engines were built from the bundle's models; and that
    each engine's outputs agree with PyTorch's in each precision. Exits 1 if a check fails.

    --layers compares intermediate values with those of the exported model on ONNX Runtime without graph optimisation.

    --url sends golden frames and tensors to a server (edgeproof serve, Triton, KServe), and names the hop that
    differs: server preprocessing or server network.

    Examples:

      edgeproof verify model.edge

      edgeproof verify model.edge --engine openvino --json verify.json

      edgeproof verify model.edge --precision int8 --layers --report layers.html

      edgeproof verify model.edge --url http://localhost:8000 --model model
    """
    try:
        with progress_bar() as tell:
            report = verify_bundle(
                open_trusted(bundle, trust),
                engine=engine,
                precision=precision,
                layers=layers,
                url=url,
                model=model,
                token=token if url is not None else None,
                progress=tell,
            )
    except UnavailableError as error:
        for note in getattr(error, "__notes__", ()):
            err.print(note, style="yellow")
        raise
    for row in report.engines:
        if row.reason is not None:
            gated = any(gate.name == f"parity {row.name} {row.precision}" for gate in report.gates)
            verdict = "failed" if gated else "left out"
            err.print(f"{row.name} {row.precision}: {verdict}: {row.reason}", style="yellow")
    print_gates(report.gates)
    if report.layers is not None:
        print_drift(report.layers["drift"])
        for note in report.warnings:
            if "layers not compared" in note:
                err.print(f"note: {note}")
    for note in report.warnings if url is not None else ():
        err.print(f"note: {note}")
    write_reports(report, json_file, html_file)
    name, gates = bundle_name(report), report.gates
    fail_on(gates, f"{name} on {'this machine' if url is None else url}")
    out.print(f"{name}: verified on {report.settings['engine']}, {len(gates)} of {len(gates)} gates passed")
