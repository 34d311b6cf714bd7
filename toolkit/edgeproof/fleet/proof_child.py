"""The child process of a proof: compile, replay golden cases, time a candidate against the running bundle.

`proof` starts it: one job a line on standard input, one message a line on standard output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeproof.library.compile import compile_
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.engines import Engine, catalog
from edgeproof_runtime.errors import EdgeproofError, UnavailableError
from edgeproof_runtime.measure import Plan, measure
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.system.boundary import is_of_input, sentence
from edgeproof_runtime.system.child_side import serve
from edgeproof_runtime.tasks.registry import head_of, task_of
from edgeproof_runtime.verify.golden import compiled_gate, frame_gates, output_gate

__all__ = ["main"]

_ROUNDS, _BLOCK_MS = 24, 25.0


def main() -> None:
    """Serve jobs until standard input ends."""
    serve(_prove)


def _prove(job: dict[str, Any]) -> Iterator[dict[str, object]]:
    with ExitStack() as stack:
        try:
            yield from _steps(job, stack)
        except UnavailableError as error:
            yield {"unavailable": str(error)}
        except EdgeproofError as error:
            yield {"refused": str(error)}
        except Exception as error:
            if not is_of_input(error):
                yield {"fault": f"{type(error).__name__}: {error}"}
                return
            what, got = sentence(error)
            yield {"unavailable": what if got is None else f"{what}: {got}"}  # memory, disk


def _steps(job: dict[str, Any], stack: ExitStack) -> Iterator[dict[str, object]]:
    bundle = Bundle.open(Path(job["candidate"]), trust=job["trust"])
    bundle.check()
    yield from _compiled(bundle, job)
    bundle = Bundle.open(Path(job["candidate"]), trust=job["trust"])
    cases = load_golden(bundle)
    stale = compiled_gate(bundle)
    gates = [*frame_gates(bundle, cases), *([] if stale is None else [stale])]
    yield {"step": "loading"}
    engine = stack.enter_context(_load(bundle, job))
    facts = engine.describe()
    gates.append(output_gate(bundle, engine, cases, batch=bundle.batch.min))
    found: dict[str, object] = {
        "gates": [asdict(gate) for gate in gates],
        "engine": {"name": engine.name, "version": facts.version, "precision": engine.artifact.precision},
    }
    if job["running"] is not None and all(gate.passed for gate in gates):
        yield {"step": "timing"}
        running = Bundle.open(Path(job["running"]))
        try:
            old = stack.enter_context(_load(running, job))
        except EdgeproofError as error:  # the running bundle may be the broken one
            found["untimed"] = f"the running bundle does not load: {error}"
        else:
            plan = Plan(
                turns=_ROUNDS,
                duration_s=job["seconds"],
                block_ms=_BLOCK_MS,
                min_runs=3,
                warm_up_s=min(1.0, job["seconds"]),
            )
            times = measure({"new": _frame(bundle, engine), "old": _frame(running, old)}, plan)
            found["slowdown"] = times["new"].ratio_to(times["old"]).to_json()
            found["typical_ms"] = {name: timing.typical_ms for name, timing in times.items()}
    yield {"done": found}


def _compiled(bundle: Bundle, job: dict[str, Any]) -> Iterator[dict[str, object]]:
    """Compile for an engine that loads nothing but compiled files, unless the bundle has what it loads."""
    if job["engine"] == "auto":
        return
    entry = catalog.find(job["engine"])
    if entry.loads != "compiled" or entry.target is None:
        return
    wanted = bundle.precisions if job["precision"] == "auto" else (job["precision"],)
    for precision in (name for name in wanted if name in entry.precisions):
        if not any(one.precision == precision for one in bundle.engines(entry.target)):
            yield {"step": f"compiling {precision}"}
            compile_(bundle, entry.target, precision=precision)


def _load(bundle: Bundle, job: dict[str, Any]) -> Engine:
    return load_engine(
        bundle,
        job["engine"],
        job["precision"],
        max_batch=max(1, bundle.batch.min),
        threads=job["threads"],
        judged=True,
    )


def _frame(bundle: Bundle, engine: Engine) -> Callable[[], object]:
    """Return a function that takes one golden case from frame to prediction, or a generator's input to its output."""
    buffer = engine.allocate_input(max(1, bundle.batch.min))
    cases = load_golden(bundle)
    buffer[:] = cases[0].tensor
    if not task_of(bundle).takes_frames:
        return lambda: engine.run(buffer)
    preprocess, head, frame = Preprocessor(bundle.contract), head_of(bundle), cases[0].frame

    def run() -> object:
        preprocess(frame, out=buffer[0])
        return head(engine.run(buffer))

    return run
