"""`edgeproof bench`: latency and throughput of a bundle's configurations, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edgeproof.cli._shared import (
    HtmlFile,
    JsonFile,
    bundle_name,
    check_outputs,
    check_report_possible,
    err,
    fail_on,
    out,
    print_evidence_problem,
    print_gates,
    progress_bar,
    write_reports,
)
from edgeproof.library.bench import bench as bench_bundle
from edgeproof.library.bench import import_trtexec as read_trtexec
from edgeproof_runtime.bench import BenchRecord, Measured
from edgeproof_runtime.errors import InputError

__all__ = ["bench"]


def bench(
    bundle: Annotated[
        Path | None, typer.Argument(help="A bundle, NAME.edge.", metavar="BUNDLE", show_default=False)
    ] = None,
    engine: Annotated[
        str, typer.Option(help="One or several engines (a,b), or 'all' that can run here.", metavar="E[,E]")
    ] = "all",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, or 'all' of the bundle.", metavar="P[,P]")] = "all",
    batch: Annotated[str, typer.Option(help="Samples per inference, one or several.", metavar="N[,N]")] = "1",
    threads: Annotated[
        str | None,
        typer.Option(help="CPU threads of each engine; else its own choice.", metavar="N[,N]", show_default=False),
    ] = None,
    streams: Annotated[
        str | None,
        typer.Option(
            help="Engines side by side, one or several counts. [default: 1]", metavar="N[,N]", show_default=False
        ),
    ] = None,
    scenario: Annotated[
        str, typer.Option(help="single-stream, multi-stream, offline or server, as MLPerf defines them.")
    ] = "single-stream",
    driver: Annotated[
        str, typer.Option(help="builtin, loadgen, or auto: LoadGen where it is installed and can drive this.")
    ] = "auto",
    duration: Annotated[float, typer.Option(help="Seconds for each configuration.", min=0.1)] = 10.0,
    samples: Annotated[
        int | None, typer.Option(help="At least so many queries of each, however long it takes.", min=1)
    ] = None,
    target_qps: Annotated[float | None, typer.Option(help="server: queries per second.", min=0.01)] = None,
    latency_bound_ms: Annotated[
        float | None, typer.Option(help="server: queries later than this are counted.", min=0.001)
    ] = None,
    samples_per_query: Annotated[int, typer.Option(help="multi-stream: samples of one query.", min=1)] = 8,
    data: Annotated[
        str | None, typer.Option(help="Labelled pictures, for accuracy beside latency.", metavar="DATA")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N pictures of --data.", min=1, metavar="N")] = None,
    target_fps: Annotated[
        float | None,
        typer.Option(help="What to use for so many frames per second? Tries threads and streams.", min=0.01),
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="What to use for at most this latency?", min=0.001)
    ] = None,
    import_trtexec: Annotated[
        Path | None,
        typer.Option(help="Instead of measuring, read what trtexec --exportTimes wrote.", metavar="TIMES.json"),
    ] = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure latency and throughput: engines, precisions, batches, threads and streams, interleaved in one run.

    What they answer is held against PyTorch's answers while they are timed: a fast wrong engine fails (exit 1).
    The engine that does nothing is measured beside them, and so are the machine's clocks, heat and other load.

    Examples:

      edgeproof bench model.edge --json bench.json

      edgeproof bench model.edge --engine openvino,onnxruntime --threads 1,2 --streams 1,2

      edgeproof bench model.edge --target-fps 30 --max-latency-ms 20
    """
    check_report_possible(html_file)
    check_outputs(json_file, html_file, inputs=(data, import_trtexec))
    if import_trtexec is not None:
        imported = read_trtexec(import_trtexec, bundle)
        _print(imported.record)
        for note in imported.warnings:
            err.print(f"note: {note}")
        write_reports(imported, json_file, html_file)
        return
    if bundle is None:
        raise InputError("bench needs a bundle", fix="edgeproof bench NAME.edge, or --import-trtexec TIMES.json")
    with progress_bar() as tell:
        report = bench_bundle(
            bundle,
            engine=engine,
            precision=precision,
            batch=_numbers("--batch", batch),
            threads=_numbers("--threads", threads) if threads else None,
            streams=_numbers("--streams", streams) if streams else None,
            scenario=scenario,
            driver=driver,
            duration_s=duration,
            samples=samples,
            target_qps=target_qps,
            latency_bound_ms=latency_bound_ms,
            samples_per_query=samples_per_query,
            data=data,
            limit=limit,
            target_fps=target_fps,
            max_latency_ms=max_latency_ms,
            progress=tell,
        )
    _print(report.record)
    for text in report.warnings:
        err.print(f"note: {text}")
    gates = report.gates
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        print_gates(failed)
    out.print(f"{len(gates) - len(failed)} of {len(gates)} gates passed: golden cases, and answers given while timed")
    _print_answer(report.record)
    print_evidence_problem(report.evidence_problem)
    write_reports(report, json_file, html_file)
    fail_on(gates, f"{bundle_name(report)} in the {scenario} scenario")


def _numbers(flag: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise InputError(f"{flag} takes whole numbers from 1 on", got=text, expected="such as 1,2,4")
    return numbers


def _print(record: BenchRecord) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim", title_justify="left", title_style="bold")
    table.title = f"{record.scenario}, {record.driver}: milliseconds per query"
    heads = ("configuration", "p50", "95 % interval", "p90", "p99", "frames/s", "CPU ms", "mJ", "top-1", "")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i in (0, 9) else "right", overflow="fold")
    for one in (*record.measured, *([record.null] if record.null is not None else [])):
        table.add_row(*_row(one), "on the front" if one.name in record.front else "")
    out.print(table)
    for name, reason in record.left_out.items():
        err.print(f"{name} was left out: {reason}", style="yellow")
    for one in record.measured:
        if one.over_latency is not None:
            total = one.timing.summary.count
            out.print(
                f"{one.name}: {one.over_latency} of {total} queries over {record.settings['latency_bound_ms']:g} ms"
            )
    reasons = {why for one in record.measured for why in one.timing.summary.unsupported.values()}
    for why in sorted(reasons):
        out.print(f"–: {why}", style="dim")
    if not record.power["available"]:
        out.print(f"energy: not available, {record.power['reason']}", style="dim")


def _row(one: Measured) -> list[str]:
    summary, interval = one.timing.summary, one.timing.median_ci()
    cpu_ms = one.cpu_ms_per_sample
    within = (
        f"{interval.low:.3f}..{interval.high:.3f}" if interval.low is not None and interval.high is not None else "–"
    )
    return [
        one.name,
        _ms(summary.p50_ms),
        within,
        _ms(summary.p90_ms),
        _ms(summary.p99_ms),
        f"{one.throughput_fps:.1f}",
        f"{cpu_ms:.2f}" if cpu_ms is not None else "–",
        f"{one.energy_mj:.1f}" if one.energy_mj is not None else "–",
        f"{one.top1:.2%}" if one.top1 is not None else "–",
    ]


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _print_answer(record: BenchRecord) -> None:
    answer = record.answer
    if answer is None:
        return
    figures = f"{answer['throughput_fps']:.1f} frames/s, {answer['percentile']} {answer['latency_ms']:.1f} ms"
    what = f"{answer['use']} ({figures})"
    if answer["fulfilled"]:
        out.print(f"use {what}: {answer['flags']}", style="bold")
    else:
        out.print(f"nothing measured here gives that; the nearest is {what}", style="bold")
