"""`edgeproof verify`: replays the golden cases on the engines of this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeproof.cli._shared import (
    BundlePath,
    HtmlFile,
    JsonFile,
    Precision,
    check_outputs,
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
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.host import host_facts, host_warnings
from edgeproof_runtime.report import BundleFacts, EngineRow, Gate, Report, command_line
from edgeproof_runtime.select import candidates, load_engine
from edgeproof_runtime.verify import frame_gates, load_golden, output_gate

__all__ = ["verify", "verify_bundle"]


def verify_bundle(
    bundle: Bundle, names: list[str], precision: str, *, required: bool = True
) -> tuple[list[Gate], list[EngineRow]]:
    """Replay the golden cases on these engines.

    Args:
        bundle: an opened bundle.
        names: engines to replay them on.
        precision: of the model.
        required: whether an engine that cannot run the model is an error, or a row with the reason.

    Raises:
        InputError, UnavailableError: a required engine cannot run the model.
    """
    cases = load_golden(bundle)
    gates = frame_gates(bundle, cases)
    rows = []
    for name in names:
        try:
            with load_engine(bundle, name, precision) as engine:
                gate = output_gate(bundle, engine, cases)
                version = engine.describe().version
        except (InputError, UnavailableError) as error:
            if required:
                raise
            rows.append(EngineRow(name, None, None, None, reason=" ".join(str(error).split())))
            continue
        gates.append(gate)
        rows.append(EngineRow(name, version, None, gate.passed))
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
    check_outputs(json_file, html_file)
    host = host_facts()
    opened = Bundle.open(bundle)
    opened.artifact(precision)
    if engine == "all":
        names = candidates(opened, precision)
    else:
        names = [name.strip() for name in engine.split(",") if name.strip()]
        for name in names:
            engines.engine_class(name)
    gates, rows = verify_bundle(opened, names, precision, required=engine != "all")
    ran = [row.name for row in rows if row.passed is not None]
    for row in rows:
        if row.passed is None:
            err.print(f"{row.name} was left out: {row.reason}", style="yellow")
    if not ran:
        raise UnavailableError(
            f"no engine of this machine runs the {precision} model of {bundle}",
            fix='pip install "edgeproof[onnxruntime,openvino]"',
        )
    print_gates(gates)
    report = Report(
        kind="verify",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(opened, engine=", ".join(ran), precision=precision),
        counts={"golden_cases": len(opened.manifest.golden)},
        gates=gates,
        engines=rows,
        warnings=host_warnings(host),
    )
    write_reports(report, json_file, html_file)
    fail_on(gates, f"{opened.name} on this machine")
    out.print(f"{opened.name} is verified on {', '.join(ran)}: {len(gates)} of {len(gates)} gates passed")
