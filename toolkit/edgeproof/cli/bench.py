"""`edgeproof bench`: latency and throughput of a bundle's configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from edgeproof.cli._paths import Reads
from edgeproof.cli._shared import (
    HtmlFile,
    JsonFile,
    Trust,
    bundle_name,
    err,
    fail_on,
    open_trusted,
    out,
    print_evidence_problem,
    print_gates,
    progress_bar,
    write_reports,
)
from edgeproof.cli._tables import print_layer_times
from edgeproof.library.bench import bench as bench_bundle
from edgeproof.library.bench import import_trtexec as read_trtexec
from edgeproof_runtime.bench import BenchRecord, Measured
from edgeproof_runtime.errors import InputError

__all__ = ["bench"]


def bench(
    bundle: Annotated[
        Path | None, typer.Argument(help="Bundle, NAME.edge.", metavar="BUNDLE", show_default=False), Reads()
    ] = None,
    engine: Annotated[
        str, typer.Option(help="One or several engines (a,b), or 'all' available on this machine.", metavar="E[,E]")
    ] = "all",
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, or 'all' in the bundle.", metavar="P[,P]")] = "all",
    batch: Annotated[str, typer.Option(help="Samples per inference, one or several values.", metavar="N[,N]")] = "1",
    threads: Annotated[
        str | None,
        typer.Option(
            help="CPU threads of each engine (default: the engine's choice).", metavar="N[,N]", show_default=False
        ),
    ] = None,
    streams: Annotated[
        str | None,
        typer.Option(
            help="Inference lanes in parallel, one or several values. [default: 1]", metavar="N[,N]", show_default=False
        ),
    ] = None,
    scenario: Annotated[
        str, typer.Option(help="MLPerf scenario: single-stream, multi-stream, offline or server.")
    ] = "single-stream",
    driver: Annotated[
        str, typer.Option(help="builtin, loadgen, or auto: LoadGen if installed and able to run the scenario.")
    ] = "auto",
    duration: Annotated[float, typer.Option(help="Seconds per configuration.", min=0.1)] = 10.0,
    samples: Annotated[
        int | None, typer.Option(help="Fewest queries per configuration, beyond --duration if necessary.", min=1)
    ] = None,
    target_qps: Annotated[float | None, typer.Option(help="server scenario: queries per second.", min=0.01)] = None,
    latency_bound_ms: Annotated[
        float | None, typer.Option(help="server scenario: count queries slower than this.", min=0.001)
    ] = None,
    samples_per_query: Annotated[int, typer.Option(help="multi-stream scenario: samples per query.", min=1)] = 8,
    data: Annotated[
        str | None, typer.Option(help="Labelled images, to measure accuracy too.", metavar="DATA"), Reads()
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Use only the first N images of --data.", min=1, metavar="N")
    ] = None,
    target_fps: Annotated[
        float | None,
        typer.Option(help="Recommend a configuration for this frame rate; tries threads and streams.", min=0.01),
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Recommend a configuration within this latency.", min=0.001)
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also time the layers of each engine with its own profiler.")
    ] = False,
    import_trtexec: Annotated[
        Path | None,
        typer.Option(help="Read the file of trtexec --exportTimes instead of measuring.", metavar="TIMES.json"),
        Reads(),
    ] = None,
    trust: Trust = None,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure latency and throughput of engines, precisions, batches, threads and streams, in interleaved rounds.

    Outputs are compared with PyTorch's during the measurement: a fast engine with wrong outputs fails (exit 1).
    The null engine, clocks, temperatures and host load are measured in the same rounds.

    Examples:

      edgeproof bench model.edge --json bench.json

      edgeproof bench model.edge --engine openvino,onnxruntime --threads 1,2 --streams 1,2

      edgeproof bench model.edge --target-fps 30 --max-latency-ms 20

      edgeproof bench model.edge --engine openvino --layers --report layers.html
    """
    if import_trtexec is not None:
        imported = read_trtexec(import_trtexec, bundle)
        _print(imported.record)
        for note in imported.warnings:
            err.print(f"note: {note}")
        write_reports(imported, json_file, html_file)
        return
    if bundle is None:
        raise InputError("BUNDLE: missing", fix="edgeproof bench NAME.edge, or --import-trtexec TIMES.json")
    with progress_bar() as tell:
        report = bench_bundle(
            open_trusted(bundle, trust),
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
            layers=layers,
            progress=tell,
        )
    _print(report.record)
    if report.layers is not None:
        print_layer_times(report.layers["times"])
    for text in report.warnings:
        err.print(f"note: {text}")
    gates = report.gates
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        print_gates(failed)
    out.print(f"{len(gates) - len(failed)} of {len(gates)} gates passed: golden cases, and outputs while timed")
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
        raise InputError(f"{flag}: not a list of integers of at least 1", got=text, expected="1,2,4 or similar")
    return numbers


def _print(record: BenchRecord) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim", title_justify="left", title_style="bold")
    table.title = f"{record.scenario}, {record.driver}: milliseconds per query"
    heads = ("configuration", "p50", "95 % interval", "p90", "p99", "frames/s", "CPU ms", "mJ", "top-1", "")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i in (0, 9) else "right", overflow="fold")
    for one in (*record.measured, *([record.null] if record.null is not None else [])):
        table.add_row(*_row(one), "Pareto front" if one.name in record.front else "")
    out.print(table)
    for name, reason in record.left_out.items():
        err.print(f"{name}: left out: {reason}", style="yellow")
    for one in record.measured:
        if one.over_latency is not None:
            total = one.timing.summary.count
            out.print(
                f"{one.name}: {one.over_latency} of {total} queries over {record.settings['latency_bound_ms']:g} ms"
            )
    for one in record.measured:
        if one.graph_share is not None:
            out.print(f"{one.name}: {one.graph_share:.1%} of the timed runs launched a CUDA graph")
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
        out.print(f"no measured configuration meets the target; the nearest is {what}", style="bold")
