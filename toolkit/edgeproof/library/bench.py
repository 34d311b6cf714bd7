"""Measure latency and throughput of a bundle's configurations in interleaved rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from edgeproof.library.evidence import keep_evidence, settings_of
from edgeproof.library.inputs import open_bundle, open_data
from edgeproof.library.progress import Progress, no_progress
from edgeproof_runtime.bench import BenchOptions, BenchRecord, Configuration, Wanted, bench_bundle
from edgeproof_runtime.bench import configurations as combine
from edgeproof_runtime.bench.layers import time_layers
from edgeproof_runtime.bench.trtexec import read_trtexec
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import LabelledImages
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.engines.row import EngineRow, reason_of
from edgeproof_runtime.errors import GateError, InputError, UnavailableError
from edgeproof_runtime.evidence.report import BundleFacts, Report, command_line
from edgeproof_runtime.measure import Plan, loadgen
from edgeproof_runtime.measure.scenarios import Load, Scenario
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.selection.auto import artifact_for, candidates, load_engine
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.bounds import require_at_most, require_duration, require_parallel
from edgeproof_runtime.system.host import host_warnings, usable_cores
from edgeproof_runtime.tasks.registry import task_of
from edgeproof_runtime.verify.evaluate import evaluate as evaluate_data

__all__ = ["BenchReport", "bench", "import_trtexec"]

_BLOCK_MS = {"builtin": 100.0, "loadgen": 400.0}
_BLOCK_MS_LONG = 1000.0  # offline and server: a block is one query, or one row of arrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport(Report):
    """Report of `bench`, with typed results that the JSON document does not hold.

    Attributes:
        record: measurements of every configuration.
        evidence_problem: why the report was not stored in the bundle; None if stored or not requested.
    """

    record: BenchRecord
    evidence_problem: str | None = None


@bounded
def bench(
    bundle: str | Path | Bundle,
    *,
    engine: str = "all",
    precision: str = "all",
    batch: Sequence[int] = (1,),
    threads: Sequence[int] | None = None,
    streams: Sequence[int] | None = None,
    scenario: str = "single-stream",
    driver: str = "auto",
    duration_s: float = 10.0,
    samples: int | None = None,
    target_qps: float | None = None,
    latency_bound_ms: float | None = None,
    samples_per_query: int = 8,
    data: str | Path | None = None,
    limit: int | None = None,
    target_fps: float | None = None,
    max_latency_ms: float | None = None,
    layers: bool = False,
    progress: Progress | None = None,
) -> BenchReport:
    """Measure engines, precisions, batches, threads and streams in interleaved rounds; store the report in the bundle.

    Args:
        bundle: path of a bundle, or an opened one.
        engine: one or several engines (``a,b``), or ``all`` available on this machine.
        precision: one or several precisions, or ``all`` in the bundle.
        batch: samples per inference, one or several values.
        threads: CPU threads of each engine, one or several values; None lets the engine choose.
        streams: inference lanes in parallel, one or several values; None means 1.
        scenario: ``single-stream``, ``multi-stream``, ``offline`` or ``server`` (MLPerf).
        driver: ``builtin``, ``loadgen``, or ``auto`` for LoadGen if installed and able to run the scenario.
        duration_s: seconds per configuration.
        samples: fewest queries per configuration.
        target_qps: server scenario: queries per second.
        latency_bound_ms: server scenario: queries slower than this are counted, ms.
        samples_per_query: multi-stream scenario: samples per query.
        data: labelled images, to measure accuracy too.
        limit: use only the first images of ``data``.
        target_fps: recommend a configuration for this frame rate; tries threads and streams.
        max_latency_ms: recommend a configuration within this latency.
        layers: afterwards also time the layers of each engine and precision with the engine's own profiler, in the
            first of its configurations. ``layers["times"]`` of the report then holds `LayerTimes.to_json` of each.
        progress: called with (phase, done, total).

    Returns:
        A report whose ``passed`` is False if an engine's outputs are wrong.

    Raises:
        BundleError: the bundle is damaged.
        InputError: an argument is invalid.
        UnavailableError: a named engine is not available on this machine.
    """
    for number in threads or ():
        require_parallel(number, "--threads")
    for number in streams or ():
        require_parallel(number, "--streams")
    require_duration(duration_s, "--duration")
    tell = progress or no_progress
    host = host_facts()
    opened = open_bundle(bundle)
    wanted = Wanted(target_fps, max_latency_ms) if target_fps or max_latency_ms else None
    chosen = _configurations(opened, engine, precision, batch, threads, streams, sweep=wanted is not None)
    load = _load(scenario, samples_per_query, target_qps, latency_bound_ms)
    used = _driver(driver, load, chosen)
    labelled = None if data is None else _labelled(opened, data)
    options = BenchOptions(
        configurations=chosen,
        load=load,
        driver=used,
        plan=_plan(used, load, duration_s, samples),
        required=engine != "all",
        wanted=wanted,
        accuracy={}
        if labelled is None
        else _accuracies(opened, chosen, labelled, limit, tell, required=engine != "all"),
    )
    record, gates, notes = bench_bundle(opened, options, on_progress=tell)
    layer_times, untimed = _layers(opened, record, tell) if layers else ([], [])
    about_data, split = ([], None) if labelled is None else (labelled.notes, labelled.split)
    report = BenchReport(
        kind="bench",
        command=command_line(),
        host=host,
        bundle=BundleFacts.of(opened),
        settings=settings_of(
            opened, scenario=scenario, driver=used, duration_s=duration_s, data=data, split=split, **record.settings
        ),
        counts={
            "configurations": len(record.measured),
            "queries": sum(m.timing.summary.count for m in record.measured),
        },
        gates=gates,
        engines=_rows(record, gates),
        warnings=[*host_warnings(host), *notes, *untimed, *about_data],
        bench=record.to_json(),
        layers={"times": layer_times} if layers else None,
        record=record,
    )
    return replace(report, evidence_problem=keep_evidence(opened, report))


@bounded
def import_trtexec(times: str | Path, bundle: str | Path | Bundle | None = None) -> BenchReport:
    """Read the file of ``trtexec --exportTimes``.

    Args:
        times: the JSON file.
        bundle: bundle that the engine was built from, if known.

    Raises:
        InputError: the file cannot be read.
    """
    host = host_facts()
    record, notes = read_trtexec(Path(times))
    return BenchReport(
        kind="bench",
        command=command_line(),
        host=host,
        bundle=None if bundle is None else BundleFacts.of(open_bundle(bundle)),
        settings={"import_trtexec": str(times)},
        counts={"queries": record.measured[0].timing.summary.count},
        warnings=notes,
        bench=record.to_json(),
        record=record,
    )


def _configurations(
    bundle: Bundle,
    engine: str,
    precision: str,
    batch: Sequence[int],
    threads: Sequence[int] | None,
    streams: Sequence[int] | None,
    *,
    sweep: bool,
) -> list[Configuration]:
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
        batches=list(batch),
        threads=list(threads) if threads else (swept or [None]),
        streams=list(streams) if streams else (swept or [1]),
    )
    if sweep and not (threads or streams):
        # Threads beyond the number of cores only contend.
        found = [one for one in found if (one.threads or 1) * one.streams <= cores]
    if not found:
        raise InputError("--precision: no available engine runs the model in it", got=f"{engine}, {precision}")
    return found


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _load(scenario: str, samples_per_query: int, target_qps: float | None, bound_ms: float | None) -> Load:
    if scenario not in get_args(Scenario):
        raise InputError("--scenario: unknown", got=scenario, expected=", ".join(get_args(Scenario)))
    if scenario == "server" and target_qps is None:
        raise InputError("--scenario server: requires a query rate", fix="add --target-qps N")
    if scenario != "server" and (target_qps or bound_ms):
        raise InputError("--target-qps and --latency-bound-ms: require --scenario server", got=scenario)
    require_at_most(samples_per_query, "samples", "--samples-per-query")
    return Load(scenario, samples_per_query, target_qps, bound_ms)  # type: ignore[arg-type]  # checked above


def _driver(asked: str, load: Load, chosen: Sequence[Configuration]) -> str:
    if asked not in ("auto", "builtin", "loadgen"):
        raise InputError("--driver: unknown", got=asked, expected="auto, builtin or loadgen")
    # LoadGen's single-stream scenario issues one query of one sample at a time.
    ours_only = load.scenario == "single-stream" and any(one.streams * one.batch > 1 for one in chosen)
    if asked == "loadgen" and ours_only:
        raise InputError(
            "--driver loadgen: single-stream permits one sample at a time",
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


def _labelled(bundle: Bundle, data: str | Path) -> LabelledImages[Any]:
    if not task_of(bundle).ranked:
        raise InputError("--data: requires a classifier", got=f"task {bundle.manifest.task}", fix="leave it out")
    return open_data(bundle, data)


def _accuracies(
    bundle: Bundle,
    chosen: Sequence[Configuration],
    labelled: LabelledImages[Any],
    limit: int | None,
    tell: Progress,
    *,
    required: bool,
) -> dict[tuple[str, str], dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in chosen:
        key = (one.engine, one.precision)
        if key in found:
            continue
        tell("measuring accuracy", len(found), len({(c.engine, c.precision) for c in chosen}))
        try:
            with load_engine(bundle, *key) as loaded:
                accuracy = evaluate_data(bundle, loaded, labelled, limit=limit).judge.sections()["accuracy"]
        except (InputError, UnavailableError, GateError):
            if required:
                raise
            continue  # the benchmark says why
        found[key] = {name: accuracy[name] for name in ("top1", "ci95", "n")}
    tell("measuring accuracy", len(found), len(found))
    return found


def _layers(bundle: Bundle, record: BenchRecord, tell: Progress) -> tuple[list[dict[str, Any]], list[str]]:
    """Time the layers of every engine and precision that was measured; return also why others have no times."""
    chosen: dict[tuple[str, str], Configuration] = {}
    for measured in record.measured:
        chosen.setdefault((measured.configuration.engine, measured.configuration.precision), measured.configuration)
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    for done, ((name, precision), one) in enumerate(chosen.items()):
        tell("timing layers", done, len(chosen))
        try:
            artifact = artifact_for(bundle, name, precision, max_batch=one.batch)
            found.append(time_layers(bundle, name, artifact, batch=one.batch, threads=one.threads).to_json())
        except (InputError, UnavailableError) as error:
            notes.append(f"{name} {precision}: layers not timed: {reason_of(error)}")
    tell("timing layers", len(chosen), len(chosen))
    return found, notes


def _rows(record: BenchRecord, gates: Sequence[Gate]) -> list[EngineRow]:
    failed = {gate.name for gate in gates if not gate.passed}
    passed = {one.name: not failed & {f"golden cases {one.name}", f"answers {one.name}"} for one in record.measured}
    medians_ms = {one.name: one.timing.median_ci().estimate for one in record.measured}
    # A fast configuration with wrong outputs is not recommended.
    best = min((name for name, right in passed.items() if right), key=medians_ms.__getitem__, default=None)
    rows = [
        EngineRow(one.name, one.info.version, medians_ms[one.name], passed[one.name], chosen=one.name == best)
        for one in record.measured
    ]
    return rows + [EngineRow(name, None, None, None, reason=why) for name, why in record.left_out.items()]
