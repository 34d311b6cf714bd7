"""Run a benchmark: load all configurations and time them in interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeproof_runtime.bench.answer import Wanted, pareto, recommend
from edgeproof_runtime.bench.record import BenchRecord, Measured
from edgeproof_runtime.bench.references import load_references
from edgeproof_runtime.bench.systems import Configuration, EngineSystem
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.engines.row import reason_of
from edgeproof_runtime.errors import GateError, InputError, UnavailableError
from edgeproof_runtime.measure import Block, Plan, Timing, take_turns, warm_up
from edgeproof_runtime.measure.conditions import Conditions
from edgeproof_runtime.measure.loadgen import LoadGen
from edgeproof_runtime.measure.power import PowerMeter
from edgeproof_runtime.measure.scenarios import Load, built_in
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.latency import LatencyRecorder, summarize
from edgeproof_runtime.tasks.registry import head_of, task_of
from edgeproof_runtime.verify.golden import output_gate

__all__ = ["BenchOptions", "bench_bundle"]

_NULL = Configuration("null")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """Options of a benchmark.

    Attributes:
        configurations: configurations to measure.
        load: the scenario.
        driver: ``loadgen`` or ``builtin``.
        plan: rounds, block length, warm-up.
        required: whether a configuration that cannot run is an error or is left out with its reason.
        wanted: target of the recommendation; None makes none.
        accuracy: accuracy on labelled data by precision and engine, measured beforehand.
    """

    configurations: Sequence[Configuration]
    load: Load = field(default_factory=Load)
    driver: str = "builtin"
    plan: Plan = field(default_factory=Plan)
    required: bool = True
    wanted: Wanted | None = None
    accuracy: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)


class _Contender:
    """A system with its driver and the measurements around its blocks."""

    def __init__(self, bundle: Bundle, system: EngineSystem, options: BenchOptions, meter: PowerMeter) -> None:
        self.system = system
        self.stages = LatencyRecorder()
        self.device_ms: dict[str, list[float]] = {}
        self._meter = meter
        self._joules = self._metered_s = 0.0
        self._launched = self._runs = 0
        # The null engine needs less time for a stable figure.
        share = 1.0 if system.configuration.computes or options.driver != "builtin" else 0.1
        self._plan = replace(options.plan, block_ms=share * options.plan.block_ms)
        self.loadgen = LoadGen(system, options.load, self._plan) if options.driver == "loadgen" else None
        self._drive = self.loadgen.block if self.loadgen else built_in(system, options.load, self._plan)
        self._frame = _frame_to_answer(bundle, system, self.stages, self.device_ms)
        self.warm_up = warm_up(system.infer_all, self._plan)

    def block(self) -> Block:
        """Run one block of the scenario, then check the outputs and time a few whole frames by stage."""
        begin = time.perf_counter()
        self._meter.start()
        before = self.system.graph_launches
        block = self._drive()
        after = self.system.graph_launches
        if before is not None and after is not None:
            self._launched += after[0] - before[0]
            self._runs += after[1] - before[1]
        joules = self._meter.stop()
        if joules is not None:
            self._joules += joules
            self._metered_s += time.perf_counter() - begin
        if self.system.configuration.computes:
            self.system.check()
        if self._frame is not None:
            end = time.perf_counter() + self._plan.block_ms / 4e3
            for run in range(self._plan.max_runs):
                self._frame(run)
                if time.perf_counter() > end:
                    break
        return block

    def graph_share(self) -> float | None:
        """Return the share of timed runs that launched a CUDA graph; None for engines that capture none."""
        return self._launched / self._runs if self._runs else None

    def energy_mj(self, blocks: Sequence[Block]) -> float | None:
        """Return the energy per sample: mean power while it ran, times the time per sample."""
        if not self._metered_s:
            return None
        watts = self._joules / self._metered_s
        return 1e3 * watts * sum(b.elapsed_s for b in blocks) / sum(b.samples for b in blocks)


def bench_bundle(
    bundle: Bundle,
    options: BenchOptions,
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[BenchRecord, list[Gate], list[str]]:
    """Measure configurations of a bundle in interleaved rounds.

    Every configuration first replays the golden cases. Then all are timed in interleaved rounds, together with the
    ``null`` engine and the reference engines, and their outputs are compared with PyTorch's.

    Returns:
        The record; the gates (golden cases, outputs while timed, target); warnings about the machine.

    Raises:
        InputError: a required configuration cannot run, or the driver cannot drive it.
        UnavailableError: no configuration can run, an engine is missing, or LoadGen is not installed.
    """
    tell = on_progress or (lambda *_: None)
    cases = load_golden(bundle)
    meter = PowerMeter.find()
    left_out: dict[str, str] = {}
    gates: list[Gate] = []
    with ExitStack() as stack:
        contenders: dict[str, _Contender] = {}
        wanted = [*options.configurations, replace(_NULL, precision=options.configurations[0].precision)]
        for number, configuration in enumerate(wanted):
            tell("loading and warming up", number, len(wanted))
            try:
                system = EngineSystem(bundle, configuration, cases)
                stack.callback(system.close)
                if configuration.computes:
                    golden = output_gate(bundle, system.engines[0], cases)
                    gates.append(replace(golden, name=f"golden cases {configuration.name}"))
                contenders[configuration.name] = _Contender(bundle, system, options, meter)
            except (InputError, UnavailableError, GateError) as error:
                if options.required:
                    raise
                left_out[configuration.name] = reason_of(error)
        tell("loading and warming up", len(wanted), len(wanted))
        if len(contenders) < 2:
            raise UnavailableError(
                "bench: no configuration can run on this machine",
                got="; ".join(f"{name}: {why}" for name, why in left_out.items()),
            )
        references = load_references(bundle, options.configurations, cases, options.plan, stack)
        conditions = Conditions()

        def on_turn(done: int, total: int) -> None:
            conditions.sample()
            tell("measuring", done, total)

        blocks = take_turns(
            {
                **{name: one.block for name, one in contenders.items()},
                **{one.name: one.block for one in references},
            },
            turns=options.plan.turns,
            duration_s=options.plan.duration_s,
            on_turn=on_turn,
        )
        measured = [_measured(one, blocks[name], options) for name, one in contenders.items()]
        gates += [one.system.gate() for one in contenders.values() if one.system.configuration.computes]
    *found, null = measured
    wrong = {gate.name for gate in gates if not gate.passed}
    right = [one for one in found if not wrong & {f"golden cases {one.name}", f"answers {one.name}"}]
    answer = None
    if options.wanted is not None and right:
        gate, answer = recommend(right, options.wanted)
        gates.append(gate)
    record = BenchRecord(
        scenario=options.load.scenario,
        driver=options.driver,
        settings=_settings(options, len(null.timing.blocks)),
        measured=found,
        null=null,
        yardsticks=[one.to_json(blocks[one.name]) for one in references],
        conditions=conditions.to_json(),
        power=meter.to_json(),
        left_out=left_out,
        front=pareto(right),
        answer=answer,
    )
    steady = references[0].timing(blocks[references[0].name]) if references else None
    return record, gates, conditions.warnings(steady)


def _settings(options: BenchOptions, turns: int) -> dict[str, Any]:
    load, plan = options.load, options.plan
    settings: dict[str, Any] = {"turns": turns, "block_ms": plan.block_ms, "untimed_runs": plan.untimed_runs}
    if load.scenario == "multi-stream":
        settings["samples_per_query"] = load.samples_per_query
    if load.scenario == "server":
        settings |= {"target_qps": load.target_qps, "latency_bound_ms": load.latency_bound_ms}
    return settings


def _measured(one: _Contender, blocks: tuple[Block, ...], options: BenchOptions) -> Measured:
    system, configuration = one.system, one.system.configuration
    bound_ms = options.load.latency_bound_ms
    late = None
    if options.load.scenario == "server" and bound_ms is not None:
        late = int(sum((block.values_ms > bound_ms).sum() for block in blocks))
    return Measured(
        configuration=configuration,
        info=system.info,
        timing=Timing(configuration.name, blocks, one.warm_up),
        stages=one.stages.summaries(),
        device_ms={phase: summarize(values) for phase, values in one.device_ms.items()} or None,
        graph_share=one.graph_share(),
        energy_mj=one.energy_mj(blocks),
        loadgen=_loadgen_facts(one.loadgen),
        accuracy=options.accuracy.get((configuration.engine, configuration.precision)),
        over_latency=late,
    )


def _loadgen_facts(driver: LoadGen | None) -> dict[str, Any] | None:
    """Return the largest difference of LoadGen's percentiles from ours over all slices."""
    if driver is None:
        return None
    differences: dict[str, list[float]] = {}
    for taken in driver.slices:
        for name, theirs_ms in taken.theirs_ms.items():
            differences.setdefault(name, []).append(abs(taken.ours_ms[name] / theirs_ms - 1))
    return {
        "version": driver.version(),
        "slices": len(driver.slices),
        "slices_valid": sum(taken.valid for taken in driver.slices),
        "difference_median": {name: float(np.median(values)) for name, values in differences.items()},
        "difference_max": {name: max(values) for name, values in differences.items()},
    }


def _frame_to_answer(
    bundle: Bundle, system: EngineSystem, recorder: LatencyRecorder, device_ms: dict[str, list[float]]
) -> Callable[[int], None] | None:
    """Return a function that times a golden frame's preprocessing, inference and postprocessing; None for batches."""
    if not task_of(bundle).takes_frames or system.batch != 1 or system.streams != 1:
        return None
    head, preprocess, engine = head_of(bundle), Preprocessor(bundle.contract), system.engines[0]
    buffer = engine.allocate_input(1)
    frames = [case.frame for case in bundle.golden()]

    def run(number: int) -> None:
        frame, clock = frames[number % len(frames)], time.perf_counter_ns
        begin = clock()
        preprocess(frame, out=buffer[0])
        ready = clock()
        outputs = engine.run(buffer)
        inferred = clock()
        head(outputs)
        end = clock()
        recorder.add("preprocess", (ready - begin) / 1e6)
        recorder.add("inference", (inferred - ready) / 1e6)
        recorder.add("postprocess", (end - inferred) / 1e6)
        recorder.add("end_to_end", (end - begin) / 1e6)
        for phase, ms in engine.last_device_ms.items():
            device_ms.setdefault(phase, []).append(ms)

    return run
