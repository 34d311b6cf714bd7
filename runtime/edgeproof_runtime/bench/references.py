"""Reference engines: the bundle's own model on other engines, timed in the same rounds.

They tell a slower machine from a slower engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from edgeproof_runtime.bench.record import blocks_to_json
from edgeproof_runtime.bench.systems import Configuration, EngineSystem
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.errors import GateError, InputError, UnavailableError
from edgeproof_runtime.measure import Block, Plan, Timing, WarmUp, timed_block, warm_up

__all__ = ["ReferenceEngine", "load_references"]

_MOST = 2  # so that each measured engine has another engine as reference
_SHARE = 0.5  # of a configuration's block


@dataclass(frozen=True, slots=True)
class ReferenceEngine:
    """The fp32 model on a CPU engine with its own number of threads, one sample at a time.

    Attributes:
        facts: facts that must be equal in two reports for `compare` to use this reference.
        block: runs one timed block.
        warmed: result of its warm-up.
    """

    facts: dict[str, Any]
    block: Callable[[], Block]
    warmed: WarmUp

    @property
    def name(self) -> str:
        """Return the name in the rounds, different from every configuration's."""
        return f"reference engine {self.facts['engine']}"

    def timing(self, blocks: tuple[Block, ...]) -> Timing:
        """Return the timing of its blocks."""
        return Timing(self.name, blocks, self.warmed)

    def to_json(self, blocks: tuple[Block, ...]) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**self.facts, "blocks": blocks_to_json(self.timing(blocks))}


def load_references(
    bundle: Bundle, measured: Sequence[Configuration], cases: Sequence[GoldenCase], plan: Plan, stack: ExitStack
) -> list[ReferenceEngine]:
    """Load the first two of the catalogue's reference engines that run the model.

    Host load slows each kind of computation by a different factor, so a reference must be an inference engine: see
    "How often `compare` is right" in benchmarks/RESULTS.md.

    Args:
        bundle: the bundle with the model.
        measured: the measured configurations.
        cases: golden cases as inputs.
        plan: plan of the benchmark.
        stack: exit stack that closes the references.

    Returns:
        At most two references; none if no measured configuration computes on the CPU.
    """
    found: list[ReferenceEngine] = []
    if not any(catalog.find(one.engine).device == "cpu" for one in measured):
        return found
    for entry in catalog.entries():
        if not entry.reference:
            continue
        try:
            system = EngineSystem(bundle, Configuration(entry.name, bundle.manifest.base_precision), cases)
        except (InputError, UnavailableError, GateError):
            continue
        stack.callback(system.close)
        info = system.info
        facts = {
            "engine": entry.name,
            "version": info.version,
            "threads": info.threads,
            "model_sha256": bundle.sha256(bundle.models[bundle.manifest.base_precision]),
        }
        block = timed_block(system.infer_all, replace(plan, block_ms=_SHARE * plan.block_ms))
        found.append(ReferenceEngine(facts, block, warm_up(system.infer_all, plan)))
        if len(found) == _MOST:
            break
    return found
