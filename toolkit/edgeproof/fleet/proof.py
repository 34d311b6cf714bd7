"""Prove a candidate on this machine in a child process, which may crash, hang or exhaust the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.evidence.compare import Bounds, verdict_of_times
from edgeproof_runtime.measure import Interval
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.system.child import Child, Fault, Limits, NotStartedError

__all__ = ["Proof", "ProofOptions", "prove"]

_STEP_S, _COMPILE_S = 600.0, 7200.0
_SHARE_OF_AVAILABLE = 0.9
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofOptions:
    """How a candidate is proven.

    Attributes:
        engine: engine that will run it, or ``auto``.
        precision: precision, or ``auto``.
        threads: CPU threads; None leaves them open.
        max_slowdown: permitted growth of the time per frame, a share of the running bundle's.
        seconds: longest time of the measurement, seconds.
    """

    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    max_slowdown: float = 0.05
    seconds: float = 6.0

    def __post_init__(self) -> None:
        Bounds(self.max_slowdown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Outcome of a proof.

    Attributes:
        gates: golden cases, and the time per frame if it was compared.
        engine: engine that ran the candidate; None if none did.
        slowdown: time per frame over the running bundle's; None without a running bundle.
        typical_ms: time per frame of ``new`` and ``old``, ms.
        rejected: why the candidate must not run here; None if it may.
        unavailable: why it could not be tried, which may pass; None if it was.
        notes: sentences for the report.
    """

    gates: Sequence[Gate] = ()
    engine: EngineRow | None = None
    slowdown: Interval | None = None
    typical_ms: dict[str, float] | None = None
    rejected: str | None = None
    unavailable: str | None = None
    notes: Sequence[str] = ()


def prove(
    candidate: Path,
    running: Path | None,
    options: ProofOptions,
    *,
    trust: Path | None = None,
    tell: Callable[[str], None] = lambda _step: None,
) -> Proof:
    """Replay a bundle's golden cases on this machine, and time it against the running bundle in interleaved rounds.

    Compiles first where the engine loads nothing but compiled files and the bundle has none for it.

    Args:
        candidate: the bundle.
        running: the bundle in use; None without one.
        options: engine and bounds.
        trust: public key or policy; parts that no trusted signature covers are left out.
        tell: called with each step.
    """
    job = {
        "candidate": str(candidate),
        "trust": None if trust is None else str(trust.absolute()),
        "running": None if running is None else str(running),
        "engine": options.engine,
        "precision": options.precision,
        "threads": options.threads,
        "seconds": options.seconds,
    }
    try:
        child = Child("edgeproof.fleet.proof_child")
    except NotStartedError as error:
        return Proof(unavailable=f"no child process starts: {error}")
    try:
        child.send(job)
        seconds = _STEP_S
        while True:
            found = child.next(Limits(seconds, _SHARE_OF_AVAILABLE * psutil.virtual_memory().available / _MIB))
            if isinstance(found, Fault):
                return Proof(rejected=found.text) if found.lasting else Proof(unavailable=found.text)
            if "step" not in found:
                return _proof_of(found, options)
            tell(found["step"])
            seconds = _COMPILE_S if found["step"].startswith("compiling") else _STEP_S
    finally:
        child.close()


def _proof_of(found: dict[str, Any], options: ProofOptions) -> Proof:
    if "done" not in found:
        fault = found.get("fault")
        return Proof(rejected=found.get("refused", fault), unavailable=found.get("unavailable"))
    done = found["done"]
    gates = [Gate(**raw) for raw in done["gates"]]
    failed = [gate for gate in gates if not gate.passed]
    rejected = "; ".join(f"{gate.name}: {gate.misses()}" for gate in failed) or None
    raw = done.get("slowdown")
    slowdown = None if raw is None else Interval(**raw)
    if slowdown is not None:
        gate = _latency_gate(slowdown, options)
        gates.append(gate)
        if not gate.passed:
            within = f" (95 % interval {slowdown.low:.2f} to {slowdown.high:.2f})" if slowdown.low is not None else ""
            rejected = (
                f"slower: a frame takes {slowdown.estimate:.2f} times as long as with the running bundle{within}; "
                f"at most {1 + options.max_slowdown:.3g} allowed"
            )
    engine = EngineRow(
        done["engine"]["name"],
        done["engine"]["version"],
        None if slowdown is None else done["typical_ms"]["new"],
        not failed,
        precision=done["engine"]["precision"],
        chosen=True,
    )
    notes = [done["untimed"]] if "untimed" in done else []
    return Proof(
        gates=gates, engine=engine, slowdown=slowdown, typical_ms=done.get("typical_ms"), rejected=rejected, notes=notes
    )


def _latency_gate(slowdown: Interval, options: ProofOptions) -> Gate:
    slower = verdict_of_times(slowdown, Bounds(options.max_slowdown)) == "slower"
    measured = {"slowdown": slowdown.estimate, "slower": float(slower)}
    for side in ("low", "high"):
        if (end := getattr(slowdown, side)) is not None:
            measured[side] = end
    what = "time per frame over the running bundle's, interleaved; slower only if the 95 % interval excludes 1"
    return Gate.judge("latency", what, measured, at_most={"slower": 0.0})
