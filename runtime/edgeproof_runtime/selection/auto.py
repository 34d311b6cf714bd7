"""``auto``: measure once which engine x precision x threads is fastest here, among those that pass the golden cases."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from edgeproof_runtime import engines
from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.engines import Engine, catalog, trial
from edgeproof_runtime.engines.row import EngineRow, reason_of
from edgeproof_runtime.errors import GateError, InputError, NotInBundleError, UnavailableError
from edgeproof_runtime.measure import Plan, measure
from edgeproof_runtime.selection.choices import (
    ANYTHING,
    Choice,
    Scope,
    keep_choice,
    kept_choice,
    narrowed,
    winners,
)
from edgeproof_runtime.selection.compiled import compiled_artifact
from edgeproof_runtime.selection.probable import Candidate, by_probability
from edgeproof_runtime.system.host import cpu_features, usable_cores
from edgeproof_runtime.verify.golden import output_gate
from edgeproof_runtime.verify.saturation import saturation

__all__ = ["artifact_for", "candidates", "choose", "load_engine", "missed_at_export", "remembered", "try_engines"]

_log = logging.getLogger("edgeproof.auto")

# A user waits for this once per machine. The qualifying round drops slow candidates before thread counts are tried.
_QUALIFYING = Plan(turns=4, duration_s=8.0, block_ms=20.0, min_runs=3, warm_up_s=0.5)
_FINAL = Plan(turns=16, duration_s=12.0, block_ms=25.0, min_runs=3, warm_up_s=0.1)
_FINALIST_FACTOR = 3.0  # finalists take at most this many times as long as the fastest: no thread count gained more
_UNTIMED_MS = 10.0  # OpenVINO's and ONNX Runtime's threads spin for some ms after a run


def artifact_for(bundle: Bundle, name: str, precision: str, *, max_batch: int | None) -> ModelArtifact:
    """Return what engine ``name`` loads from the bundle: the ONNX model, its compiled file, or both."""
    entry = catalog.find(name)
    if entry.target is not None and entry.loads == "compiled":
        return compiled_artifact(bundle, entry.target, precision)
    artifact = bundle.artifact(precision, int8_shape=entry.int8_shape, max_batch=max_batch)
    if entry.target is None or not any(one.precision == precision for one in bundle.engines(entry.target)):
        return artifact
    return replace(artifact, blob=compiled_artifact(bundle, entry.target, precision).path)


def load_engine(
    bundle: Bundle,
    name: str = "auto",
    precision: str = "auto",
    *,
    max_batch: int | None = 1,
    threads: int | None = None,
    judged: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Engine:
    """Load a bundle's model on an engine; ``auto`` takes the remembered fastest.

    Where nothing is remembered, ``auto`` measures if its ``progress`` is shown. Otherwise it takes the most
    probable candidate that passes the golden cases, and says so in one line of the log ``edgeproof.auto``: the caller
    gets a first answer at once, and `edgeproof tune` measures. With a named engine and one precision nothing is
    measured, and the engine chooses its thread count.

    Args:
        bundle: an opened bundle.
        name: name of an engine, or ``auto``.
        precision: one of the bundle's, or ``auto`` for any: `optimize` adds only those within their budget.
        max_batch: largest batch that the engine must accept.
        threads: CPU threads; None leaves them open.
        judged: whether the caller compares the outputs itself, as `verify` and `evaluate` do. Otherwise a named engine
            that missed its bound at the export, or whose device no export judges, must pass the golden cases here.
        progress: called with (phase, done, total) while measuring; None does not measure.

    Raises:
        EngineFaultError: the engine crashes, hangs or exhausts the memory on this model.
        GateError: the engine missed its bound at the export, and misses it here.
        InputError: the engine is unknown, does not support the precision, or cannot load the model.
        NotInBundleError: the bundle does not hold what the engine loads.
        UnavailableError: the engine is not available on this machine.
    """
    chosen = Candidate(name, precision, threads)
    if name != "auto":
        entry = catalog.find(name)
        supported = [p for p in bundle.precisions if p in entry.precisions] if precision == "auto" else [precision]
        # An engine that computes nothing is equally fast in every precision.
        alike = len(supported) == 1 or entry.device == "none"
        chosen = replace(chosen, precision=supported[0] if alike else precision)
    if "auto" in (chosen.engine, chosen.precision):
        scope = Scope(name, precision, threads)
        choice = remembered(bundle, scope)
        if choice is None and progress is None:
            return _most_probable(bundle, scope, max_batch)
        best = (choice or choose(bundle, scope, progress=progress)).best
        chosen = Candidate(best.name, best.precision or "fp32", best.threads)
        return _load(bundle, chosen, max_batch)
    engine = _load(bundle, chosen, max_batch)
    if not judged:
        try:
            _require_parity(bundle, engine)
        except BaseException:
            engine.close()
            raise
    return engine


def _require_parity(bundle: Bundle, engine: Engine) -> None:
    """Raise if an engine that the export has not passed misses its bound on the golden cases here.

    That is one that missed it at the export, in this version, or one on a device that no export judges.
    """
    missed = missed_at_export(bundle, engine)
    if missed is None and not catalog.find(engine.name).proven_here:
        return
    gate = output_gate(bundle, engine, load_golden(bundle))
    if not gate.passed:
        raise GateError(
            f"engine {engine.name} {engine.describe().version}: wrong outputs for this model, "
            + ("here" if missed is None else "at the export and here"),
            got=gate.misses() if missed is None else f"{missed}; here: {gate.misses()}",
            fix="use another engine, or --engine auto",
        )


def missed_at_export(bundle: Bundle, engine: Engine) -> str | None:
    """Return the reason if this engine, in this version, missed its bound on the exported model."""
    if engine.artifact.precision != bundle.precisions[0]:  # the others came later, from `optimize`
        return None
    version = engine.describe().version
    found = (one for one in bundle.manifest.engines_left_out if (one.name, one.version) == (engine.name, version))
    return next((one.reason for one in found), None)


def try_engines(bundle: Bundle, pairs: Iterable[tuple[str, str]], *, max_batch: int | None = 1) -> None:
    """Try (engine, precision) pairs that were never loaded here, all in one child process: `load_engine` follows."""
    requests = []
    for name, precision in dict.fromkeys(pairs):
        try:
            engines.require(name, precision)
            requests.append((catalog.find(name), artifact_for(bundle, name, precision, max_batch=max_batch)))
        except (InputError, UnavailableError):
            continue  # loading it says so
    trial.try_out(requests)


def _load(bundle: Bundle, candidate: Candidate, max_batch: int | None) -> Engine:
    # First the machine: an engine that cannot run here need not be compiled for.
    engines.require(candidate.engine, candidate.precision)
    artifact = artifact_for(bundle, candidate.engine, candidate.precision, max_batch=max_batch)
    return engines.load(candidate.engine, artifact, threads=candidate.threads)


def candidates(bundle: Bundle, precision: str) -> list[str]:
    """Engines of this machine that have something to load in the bundle, be it stale: loading it says so by name."""
    names = []
    for name in engines.available(precision):
        try:
            artifact_for(bundle, name, precision, max_batch=1)
        except (NotInBundleError, UnavailableError):
            continue
        except InputError:
            pass
        names.append(name)
    return names


def choose(
    bundle: Bundle,
    scope: Scope = ANYTHING,
    *,
    remember: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Choice:
    """Measure every candidate in interleaved rounds, batch 1, and choose the fastest that passes the golden cases.

    The qualifying round times every engine and precision on all cores. If the thread count is open, the finalists are
    also timed with one thread and with half the cores.

    Args:
        bundle: an opened bundle.
        scope: what to choose from.
        remember: keep the choice for later processes.
        progress: called with (phase, done, total).

    Raises:
        InputError: the engine or precision is unknown, or not in the bundle.
        UnavailableError: no engine loads the model and passes the golden cases on this machine.
    """
    with ExitStack() as stack:
        field = _Field(bundle, stack, progress or (lambda _phase, _done, _total: None))
        field.enter(_pairs(bundle, scope))
        field.time("comparing engines", _QUALIFYING)
        finalists = field.within(_FINALIST_FACTOR)
        more = [other for candidate in finalists for other in _other_threads(candidate, scope)]
        field.enter(more)
        field.time("comparing threads", _FINAL, [*finalists, *more])
        rows = list(field.rows.values())
    if all(row.median_ms is None for row in rows):
        raise _none_runs(bundle, rows)
    ranked = sorted(rows, key=lambda row: (row.median_ms is None, row.median_ms or 0.0))
    choice = Choice.made(scope, [replace(ranked[0], chosen=True), *ranked[1:]])
    if remember:
        keep_choice(bundle, choice)
    return choice


def remembered(bundle: Bundle, scope: Scope = ANYTHING) -> Choice | None:
    """Return an earlier choice for this model, machine and engines; None without one, or if its engine is gone.

    A choice from more (all thread counts, engines or precisions) is one for each part of it that it has timed.
    """
    choice = kept_choice(bundle, scope) or narrowed(bundle, scope)
    if choice is None or choice.best.name not in candidates(bundle, choice.best.precision or "fp32"):
        return None
    return choice


def _most_probable(bundle: Bundle, scope: Scope, max_batch: int | None) -> Engine:
    """Load the first candidate that loads and passes the golden cases, the most probable winner first."""
    cases = load_golden(bundle)
    order = by_probability(_pairs(bundle, scope), winners(), cpu_features())
    left_out: list[EngineRow] = []
    for candidate in order:
        engine, row = _prove(bundle, candidate, cases, max_batch)
        if engine is None:
            left_out.append(row)
            continue
        others = len(order) - len(left_out) - 1
        _log.warning(
            "%s: auto takes %s %s, which passes the golden cases; not measured on this machine%s",
            bundle.path,
            candidate.engine,
            candidate.precision,
            f": `edgeproof tune {shlex.quote(str(bundle.path))}` compares it with {others} more, once"
            if others
            else "",
        )
        return engine
    raise _none_runs(bundle, left_out)


def _prove(
    bundle: Bundle, candidate: Candidate, cases: list[GoldenCase], max_batch: int | None
) -> tuple[Engine | None, EngineRow]:
    """Load a candidate and replay the golden cases; return the engine if it passes, and the candidate's row."""
    row = EngineRow(candidate.engine, None, None, None, precision=candidate.precision, threads=candidate.threads)
    with ExitStack() as own:
        try:
            engine = own.enter_context(_load(bundle, candidate, max_batch))
            gate = output_gate(bundle, engine, cases)
        except (InputError, UnavailableError) as error:
            return None, replace(row, reason=reason_of(error))
        row = replace(row, version=engine.describe().version, passed=gate.passed)
        if gate.passed:
            own.pop_all()
            return engine, row
        why = saturation(bundle, engine, cases)
        missed = f"missed its bound: {', '.join(gate.missed())}"
        return None, replace(row, reason=missed + ("" if why is None else f" ({why})"))


def _none_runs(bundle: Bundle, rows: Sequence[EngineRow]) -> UnavailableError:
    return UnavailableError(
        f"{bundle.path}: no engine of this machine runs it and passes its golden cases",
        got="; ".join(f"{row.name} {row.precision}: {row.reason}" for row in rows) or "no engine is installed",
        fix='pip install "edgeproof[onnxruntime,openvino]"',
    )


def _pairs(bundle: Bundle, scope: Scope) -> list[Candidate]:
    if scope.precision != "auto":
        bundle.artifact(scope.precision)
    if scope.engine != "auto":
        catalog.find(scope.engine)
    threads = scope.threads or usable_cores()
    return [
        Candidate(name, precision, threads if catalog.find(name).takes_threads else None)
        for precision in (bundle.precisions if scope.precision == "auto" else (scope.precision,))
        for name in candidates(bundle, precision)
        if scope.engine in ("auto", name)
    ]


def _other_threads(candidate: Candidate, scope: Scope) -> list[Candidate]:
    if scope.threads is not None or candidate.threads is None:
        return []
    counts = sorted({1, max(1, candidate.threads // 2)} - {candidate.threads}, reverse=True)
    return [replace(candidate, threads=count) for count in counts]


class _Field:
    """The candidates that load and pass the golden cases, and a row for every candidate."""

    def __init__(self, bundle: Bundle, stack: ExitStack, tell: Callable[[str, int, int], None]) -> None:
        self.rows: dict[Candidate, EngineRow] = {}
        self._bundle = bundle
        self._cases: list[GoldenCase] = load_golden(bundle)
        self._stack = stack
        self._tell = tell
        self._loaded: dict[Candidate, Engine] = {}

    def enter(self, entrants: Sequence[Candidate]) -> None:
        self._tell("loading engines", 0, len(entrants))
        try_engines(self._bundle, [(candidate.engine, candidate.precision) for candidate in entrants])
        for number, candidate in enumerate(entrants):
            self._tell("loading engines", number, len(entrants))
            engine, self.rows[candidate] = _prove(self._bundle, candidate, self._cases, 1)
            if engine is not None:
                self._loaded[candidate] = self._stack.enter_context(engine)
        self._tell("loading engines", len(entrants), len(entrants))

    def time(self, phase: str, plan: Plan, entrants: Sequence[Candidate] | None = None) -> None:
        """Time those of the entrants that are loaded (None: all) in interleaved rounds."""
        timed = [c for c in (self._loaded if entrants is None else entrants) if c in self._loaded]
        calls = {str(number): self._call(candidate) for number, candidate in enumerate(timed)}
        if not calls:
            return
        timings = measure(
            calls,
            replace(plan, untimed_ms=_UNTIMED_MS),
            on_turn=lambda done, total: self._tell(phase, done, total),
        )
        self._tell(phase, plan.turns, plan.turns)  # if its time was over before its rounds
        for candidate, timing in zip(timed, timings.values(), strict=True):
            self.rows[candidate] = replace(self.rows[candidate], median_ms=timing.typical_ms)

    def within(self, factor: float) -> list[Candidate]:
        """List the timed candidates that take at most ``factor`` times as long as the fastest."""
        times = {c: row.median_ms for c, row in self.rows.items() if row.median_ms is not None}
        return [c for c, ms in times.items() if ms <= factor * min(times.values())]

    def _call(self, candidate: Candidate) -> Callable[[], object]:
        engine = self._loaded[candidate]
        return partial(engine.run, engine.allocate_input(1))
