"""`edgeproof bench`: latency and throughput of a bundle's configurations, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.table import Table

from edgeproof.cli._shared import (
    HtmlFile,
    JsonFile,
    check_outputs,
    check_report_possible,
    err,
    fail_on,
    keep_evidence,
    out,
    print_gates,
    progress_bar,
    settings_of,
    write_reports,
)
from edgeproof.cli.evaluate import open_data
from edgeproof_runtime.bench import BenchOptions, BenchRecord, Configuration, Measured, Wanted, bench_bundle
from edgeproof_runtime.bench import configurations as combine
from edgeproof_runtime.bench.trtexec import read_trtexec
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.measure import Plan, loadgen
from edgeproof_runtime.measure.scenarios import Load, Scenario
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import candidates, load_engine
from edgeproof_runtime.system.host import host_warnings, usable_cores
from edgeproof_runtime.tasks.classify import classify_head
from edgeproof_runtime.verify.evaluate import evaluate as evaluate_data

__all__ = ["bench"]

_BLOCK_MS = {"builtin": 100.0, "loadgen": 400.0}
_BLOCK_MS_LONG = 1000.0  # offline and server: a block is one query, or one row of arrivals
_ACCURACY_BATCH = 1


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
    host = host_facts()
    if import_trtexec is not None:
        _finish_import(import_trtexec, bundle, host, json_file, html_file)
        return
    if bundle is None:
        raise InputError("bench needs a bundle", fix="edgeproof bench NAME.edge, or --import-trtexec TIMES.json")
    opened = Bundle.open(bundle)
    wanted = Wanted(target_fps, max_latency_ms) if target_fps or max_latency_ms else None
    chosen, required = _configurations(opened, engine, precision, batch, threads, streams, sweep=wanted is not None)
    load = _load(scenario, samples_per_query, target_qps, latency_bound_ms)
    used = _driver(driver, load, chosen)
    plan = _plan(used, load, duration, samples)
    with progress_bar() as tell:
        accuracy = _accuracies(opened, chosen, data, limit, tell) if data is not None else {}
        options = BenchOptions(
            configurations=chosen,
            load=load,
            driver=used,
            plan=plan,
            required=required,
            wanted=wanted,
            accuracy=accuracy,
        )
        record, gates, warnings = bench_bundle(opened, options, on_progress=tell)
    _print(record)
    warnings = [*host_warnings(host), *warnings]
    for text in warnings:
        err.print(f"note: {text}")
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        print_gates(failed)
    out.print(f"{len(gates) - len(failed)} of {len(gates)} gates passed: golden cases, and answers given while timed")
    _print_answer(record)
    report = Report(
        kind="bench",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(opened, scenario=scenario, driver=used, duration_s=duration, data=data, **record.settings),
        counts={
            "configurations": len(record.measured),
            "queries": sum(m.timing.summary.count for m in record.measured),
        },
        gates=gates,
        engines=_rows(record, gates),
        warnings=warnings,
        bench=record.to_json(),
    )
    keep_evidence(opened, report)
    write_reports(report, json_file, html_file)
    fail_on(gates, f"{opened.name} in the {scenario} scenario")


def _configurations(
    bundle: Bundle, engine: str, precision: str, batch: str, threads: str | None, streams: str | None, *, sweep: bool
) -> tuple[list[Configuration], bool]:
    """What to measure, and whether each was asked for by name, so that one that cannot run is an error."""
    precisions = list(bundle.precisions) if precision == "all" else _names(precision)
    for name in precisions:
        bundle.artifact(name)
    if engine == "all":
        names = list(dict.fromkeys(name for p in precisions for name in candidates(bundle, p)))
    else:
        names = _names(engine)
    for name in names:
        catalog.find(name)
    cores = usable_cores()
    swept = sorted({1, cores}) if sweep else None
    found = combine(
        names,
        precisions,
        batches=_numbers("--batch", batch),
        threads=_numbers("--threads", threads) if threads else (swept or [None]),
        streams=_numbers("--streams", streams) if streams else (swept or [1]),
    )
    if sweep and not (threads or streams):
        # More threads than cores only wait for each other.
        found = [one for one in found if (one.threads or 1) * one.streams <= cores]
    if not found:
        raise InputError("no engine here runs the model in this precision", got=f"{engine}, {precision}")
    return found, engine != "all"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(flag: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in _names(text)]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise InputError(f"{flag} takes whole numbers from 1 on", got=text, expected="such as 1,2,4")
    return numbers


def _load(scenario: str, samples_per_query: int, target_qps: float | None, bound_ms: float | None) -> Load:
    if scenario not in get_args(Scenario):
        raise InputError("unknown scenario", got=scenario, expected=", ".join(get_args(Scenario)))
    if scenario == "server" and target_qps is None:
        raise InputError("the server scenario needs to know how often it is asked", fix="add --target-qps N")
    if scenario != "server" and (target_qps or bound_ms):
        raise InputError("--target-qps and --latency-bound-ms belong to the server scenario", got=scenario)
    return Load(scenario, samples_per_query, target_qps, bound_ms)  # type: ignore[arg-type]  # checked above


def _driver(asked: str, load: Load, chosen: Sequence[Configuration]) -> str:
    if asked not in ("auto", "builtin", "loadgen"):
        raise InputError("unknown driver", got=asked, expected="auto, builtin or loadgen")
    # In LoadGen a query of the single-stream scenario is one sample, and there is one query at a time.
    ours_only = load.scenario == "single-stream" and any(one.streams * one.batch > 1 for one in chosen)
    if asked == "loadgen" and ours_only:
        raise InputError(
            "LoadGen's single-stream scenario is one sample at a time",
            got="a batch or streams above 1",
            fix="--driver builtin, or --scenario multi-stream",
        )
    if asked != "auto":
        return asked
    return "builtin" if ours_only or loadgen.unavailable_reason() else "loadgen"


def _plan(driver: str, load: Load, duration_s: float, samples: int | None) -> Plan:
    block_ms = _BLOCK_MS_LONG if load.scenario in ("offline", "server") else _BLOCK_MS[driver]
    block_ms = min(block_ms, 1e3 * duration_s / 4)
    turns = max(1, round(1e3 * duration_s / block_ms))
    runs = Plan().min_runs if samples is None else max(1, -(-samples // turns))
    return Plan(turns=turns, block_ms=block_ms, min_runs=runs, max_runs=max(runs, 10**6))


def _accuracies(
    bundle: Bundle, chosen: Sequence[Configuration], data: str, limit: int | None, tell: Callable[[str, int, int], None]
) -> dict[tuple[str, str], dict[str, Any]]:
    classify_head(bundle)
    labelled = open_data(bundle, data, None, "test")
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in chosen:
        key = (one.engine, one.precision)
        if key in found:
            continue
        tell("measuring accuracy", len(found), len({(c.engine, c.precision) for c in chosen}))
        with load_engine(bundle, *key) as loaded:
            result = evaluate_data(bundle, loaded, labelled, limit=limit).accuracy
        found[key] = {"top1": result.top1, "ci95": list(result.ci95), "n": result.n}
    tell("measuring accuracy", len(found), len(found))
    return found


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


def _rows(record: BenchRecord, gates: Sequence[Gate]) -> list[EngineRow]:
    failed = {gate.name for gate in gates if not gate.passed}
    passed = {one.name: not failed & {f"golden cases {one.name}", f"answers {one.name}"} for one in record.measured}
    medians_ms = {one.name: one.timing.median_ci().estimate for one in record.measured}
    # Who answers wrongly is not chosen for being fast.
    best = min((name for name, right in passed.items() if right), key=medians_ms.__getitem__, default=None)
    rows = [
        EngineRow(one.name, one.info.version, medians_ms[one.name], passed[one.name], chosen=one.name == best)
        for one in record.measured
    ]
    return rows + [EngineRow(name, None, None, None, reason=why) for name, why in record.left_out.items()]


def _finish_import(
    times: Path, bundle: Path | None, host: dict[str, Any], json_file: Path | None, html_file: Path | None
) -> None:
    record, notes = read_trtexec(times)
    _print(record)
    for note in notes:
        err.print(f"note: {note}")
    report = Report(
        kind="bench",
        command=command_line(),
        host=host,
        bundle=None if bundle is None else BundleFacts.of(Bundle.open(bundle)),
        settings={"import_trtexec": str(times)},
        counts={"queries": record.measured[0].timing.summary.count},
        warnings=notes,
        bench=record.to_json(),
    )
    write_reports(report, json_file, html_file)
