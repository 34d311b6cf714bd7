"""`edgeproof verify`: replays the golden cases on the engines of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproof.cli._shared import (
    BundlePath,
    HtmlFile,
    JsonFile,
    Precision,
    check_report_possible,
    err,
    fail_on,
    out,
    print_gates,
    settings_of,
    write_reports,
)
from edgeproof_runtime import engines
from edgeproof_runtime.bundle import Bundle
from edgeproof_runtime.errors import EdgeproofError, UnavailableError
from edgeproof_runtime.host import host_facts, host_warnings
from edgeproof_runtime.report import BundleFacts, EngineRow, Gate, Report, command_line
from edgeproof_runtime.select import candidates, load_engine
from edgeproof_runtime.verify import frame_gates, load_golden, output_gate

__all__ = ["verify", "verify_bundle"]


def verify_bundle(bundle: Bundle, names: list[str], precision: str) -> tuple[list[Gate], list[EngineRow]]:
    """Replay the golden cases on these engines.

    Raises:
        InputError, UnavailableError: an engine cannot load the model.
    """
    cases = load_golden(bundle)
    gates = frame_gates(bundle, cases)
    rows = []
    for name in names:
        with load_engine(bundle, name, precision) as engine:
            gate = output_gate(bundle, engine, cases)
            gates.append(gate)
            rows.append(EngineRow(name, engine.describe().version, None, gate.passed))
    return gates, rows


def verify(
    bundle: BundlePath,
    engine: Annotated[
        str, typer.Option(help="One or several engines (a,b), or 'all' that can run here.", metavar="E[,E]")
    ] = "all",
    precision: Precision = "fp32",
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Replay the bundle's golden cases on this machine.

    Checks every file's hash, then that each golden frame becomes the very tensor it became at the export, that
    the labels still name PyTorch's answers, and that each engine answers as PyTorch did. Exits 1 if one does not.

    Examples:

      edgeproof verify model.edge

      edgeproof verify model.edge --engine openvino --json verify.json
    """
    check_report_possible(html_file)
    host = host_facts()
    opened = Bundle.open(bundle)
    if engine == "all":
        names = candidates(opened, precision)
        if not names:
            raise UnavailableError(
                f"no engine of this machine runs the {precision} model of {bundle}",
                fix='pip install "edgeproof[onnxruntime,openvino]"',
            )
    else:
        names = [name.strip() for name in engine.split(",")]
        for name in names:
            engines.engine_class(name)
    try:
        gates, rows = verify_bundle(opened, names, precision)
    except EdgeproofError:
        err.print(f"verifying {', '.join(names)} stopped", markup=False)
        raise
    print_gates(gates)
    report = Report(
        kind="verify",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(opened, engine=", ".join(names), precision=precision),
        counts={"golden_cases": len(opened.manifest.golden)},
        gates=gates,
        engines=rows,
        warnings=host_warnings(host),
    )
    write_reports(report, json_file, html_file)
    fail_on(gates, f"{opened.name} on this machine")
    out.print(f"{opened.name} is verified on {', '.join(names)}: {len(gates)} of {len(gates)} gates passed")
