"""`edgeproof verify`: replays the golden cases on the engines of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from edgeproof.cli._shared import (
    BundlePath,
    HtmlFile,
    JsonFile,
    check_outputs,
    check_report_possible,
    err,
    fail_on,
    out,
    print_gates,
    settings_of,
    write_reports,
)
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import candidates, load_engine
from edgeproof_runtime.system.host import host_warnings
from edgeproof_runtime.verify.golden import compiled_gate, frame_gates, output_gate

__all__ = ["verify", "verify_bundle"]


def verify_bundle(
    bundle: Bundle, pairs: Sequence[tuple[str, str]], *, required: bool = True
) -> tuple[list[Gate], list[EngineRow]]:
    """Replay the golden cases on these engines.

    Args:
        bundle: an opened bundle.
        pairs: engine and precision to replay them on.
        required: whether an engine that cannot run the model is an error, or a row with the reason.

    Raises:
        InputError, UnavailableError: a required engine cannot run the model.
    """
    cases = load_golden(bundle)
    compiled = compiled_gate(bundle)
    gates = [*frame_gates(bundle, cases), *([] if compiled is None else [compiled])]
    rows = []
    for name, precision in pairs:
        try:
            with load_engine(bundle, name, precision) as engine:
                gate = output_gate(bundle, engine, cases)
                version = engine.describe().version
        except (InputError, UnavailableError) as error:
            if required:
                raise
            reason = " ".join(str(error).split())
            rows.append(EngineRow(name, None, None, None, reason=reason, precision=precision))
            continue
        gates.append(gate)
        rows.append(EngineRow(name, version, None, gate.passed, precision=precision))
    return gates, rows


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
    host = host_facts()
    opened = Bundle.open(bundle)
    precisions = opened.precisions if precision == "all" else (precision,)
    for one in precisions:
        opened.artifact(one)
    pairs = _pairs(opened, engine, precisions)
    gates, rows = verify_bundle(opened, pairs, required=engine != "all")
    ran = list(dict.fromkeys(row.name for row in rows if row.passed is not None))
    for row in rows:
        if row.passed is None:
            err.print(f"{row.name} {row.precision} was left out: {row.reason}", style="yellow")
    if not ran:
        raise UnavailableError(
            f"no engine of this machine runs the {' or '.join(precisions)} model of {bundle}",
            fix='pip install "edgeproof[onnxruntime,openvino]"',
        )
    print_gates(gates)
    report = Report(
        kind="verify",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(opened, engine=", ".join(ran), precision=", ".join(precisions)),
        counts={"golden_cases": len(opened.manifest.golden)},
        gates=gates,
        engines=rows,
        warnings=host_warnings(host),
    )
    write_reports(report, json_file, html_file)
    fail_on(gates, f"{opened.name} on this machine")
    out.print(f"{opened.name} is verified on {', '.join(ran)}: {len(gates)} of {len(gates)} gates passed")


def _pairs(bundle: Bundle, engine: str, precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Engines and precisions to verify; a named engine is asked for what it supports of several precisions."""
    if engine == "all":
        return [(name, precision) for precision in precisions for name in candidates(bundle, precision)]
    names = [name.strip() for name in engine.split(",") if name.strip()]
    supported = {name: catalog.find(name).precisions for name in names}
    return [
        (name, precision)
        for precision in precisions
        for name in names
        if len(precisions) == 1 or precision in supported[name]
    ]
