"""``engine="auto"``: the fastest engine that passes the golden cases on this machine, measured once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from edgeproof_runtime import engines
from edgeproof_runtime.bundle import Bundle
from edgeproof_runtime.compiled import compiled_artifact
from edgeproof_runtime.engines import Engine, ModelArtifact
from edgeproof_runtime.errors import EdgeproofError, InputError, UnavailableError
from edgeproof_runtime.files import cache_folder, write_atomically
from edgeproof_runtime.host import machine_key
from edgeproof_runtime.report import EngineRow
from edgeproof_runtime.verify import load_golden, output_gate

__all__ = ["artifact_for", "candidates", "choose", "load_engine", "remembered"]

_TURNS = 5
_UNTIMED_RUNS = 3
_RUNS = 7
_BUDGET_S = 1.0  # per engine: a choice is made once per machine, yet somebody waits for it


def artifact_for(bundle: Bundle, name: str, precision: str, *, max_batch: int | None) -> ModelArtifact:
    """What the engine ``name`` loads from the bundle: the ONNX model, or the compiled engine it needs."""
    if engines.engine_class(name).needs_compiling:
        return compiled_artifact(bundle, name, precision)
    return bundle.artifact(precision, target=name, max_batch=max_batch)


def load_engine(
    bundle: Bundle,
    name: str = "auto",
    precision: str = "fp32",
    *,
    max_batch: int | None = 1,
    threads: int | None = None,
) -> Engine:
    """Load a bundle's model on an engine; ``auto`` takes the remembered or measured fastest.

    Raises:
        InputError: no engine has this name, or the model does not load on it.
        UnavailableError: the engine cannot run here, or the bundle lacks what it needs.
    """
    if name == "auto":
        name = next(row.name for row in remembered(bundle, precision) or choose(bundle, precision) if row.chosen)
    engines.engine_class(name)
    return engines.load(name, artifact_for(bundle, name, precision, max_batch=max_batch), threads=threads)


def candidates(bundle: Bundle, precision: str) -> list[str]:
    """Engines of this machine that have what they need in the bundle."""
    names = []
    for name in engines.available(precision):
        try:
            artifact_for(bundle, name, precision, max_batch=1)
        except EdgeproofError:
            continue
        names.append(name)
    return names


def choose(bundle: Bundle, precision: str = "fp32", *, remember: bool = True) -> list[EngineRow]:
    """Measure every candidate in turns, batch 1, on this machine; the fastest that passes wins.

    Returns:
        One row per candidate, the chosen one first.

    Raises:
        InputError: there is no such precision.
        UnavailableError: no engine loads the model and passes the golden cases here.
    """
    bundle.artifact(precision)
    cases = load_golden(bundle)
    rows: dict[str, EngineRow] = {}
    loaded: dict[str, Engine] = {}
    try:
        for name in candidates(bundle, precision):
            with ExitStack() as stack:
                try:
                    engine = stack.enter_context(load_engine(bundle, name, precision))
                    gate = output_gate(bundle, engine, cases)
                except (InputError, UnavailableError) as error:
                    rows[name] = EngineRow(name, None, None, None, reason=" ".join(str(error).split()))
                    continue
                reason = None if gate.passed else f"missed its bound: {', '.join(gate.missed())}"
                rows[name] = EngineRow(name, engine.describe().version, None, gate.passed, reason)
                if gate.passed:
                    loaded[name] = engine
                    stack.pop_all()
        for name, median_ms in _medians_ms(loaded).items():
            rows[name] = replace(rows[name], median_ms=median_ms)
    finally:
        for engine in loaded.values():
            engine.close()
    if not loaded:
        raise UnavailableError(
            f"no engine of this machine runs {bundle.path} and passes its golden cases",
            got="; ".join(f"{row.name}: {row.reason}" for row in rows.values()) or "no engine is installed",
            fix='pip install "edgeproof[onnxruntime,openvino]"',
        )
    ranked = sorted(rows.values(), key=lambda row: (row.median_ms is None, row.median_ms or 0.0))
    ranked[0] = replace(ranked[0], chosen=True)
    if remember:
        _remember(bundle, precision, ranked)
    return ranked


def _medians_ms(loaded: dict[str, Engine]) -> dict[str, float]:
    """Median over the turns of each turn's fastest run: what else the machine does only ever adds time.

    An engine's threads spin for a while after a run, so each turn begins with runs that are not timed.
    """
    inputs = {name: engine.allocate_input(1) for name, engine in loaded.items()}
    fastest_ms: dict[str, list[float]] = {name: [] for name in loaded}
    deadline = time.monotonic() + _BUDGET_S * len(loaded)
    for _ in range(_TURNS):
        for name, engine in loaded.items():
            for _ in range(_UNTIMED_RUNS):
                engine.run(inputs[name])
            times_ns = []
            for _ in range(_RUNS):
                begin = time.perf_counter_ns()
                engine.run(inputs[name])
                times_ns.append(time.perf_counter_ns() - begin)
            fastest_ms[name].append(min(times_ns) / 1e6)
        if time.monotonic() > deadline:
            break
    return {name: float(np.median(values)) for name, values in fastest_ms.items()}


def remembered(bundle: Bundle, precision: str = "fp32") -> list[EngineRow] | None:
    """The rows of an earlier `choose` for this model on this machine with these engines; None if there is none."""
    try:
        raw = json.loads(_cache_file(bundle, precision).read_text(encoding="utf-8"))
        rows = [EngineRow(**row) for row in raw]
    except (OSError, ValueError, TypeError):
        return None
    usable = set(candidates(bundle, precision))
    return rows if any(row.chosen and row.name in usable for row in rows) else None


def _remember(bundle: Bundle, precision: str, rows: Iterable[EngineRow]) -> None:
    content = json.dumps([asdict(row) for row in rows], indent=2)
    with suppress(InputError):  # a read-only home only means that the next process measures again
        write_atomically(_cache_file(bundle, precision), content.encode())


def _cache_file(bundle: Bundle, precision: str) -> Path:
    compiled = sorted(bundle.sha256(entry.path) for entry in bundle.engines())
    key = [bundle.sha256(bundle.manifest.models[precision]) if precision in bundle.manifest.models else "", *compiled]
    key += [json.dumps(bundle.manifest.to_json()["input"], sort_keys=True)]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:16]
    return cache_folder() / "engines" / f"{machine_key()}-{digest}-{precision}.json"
