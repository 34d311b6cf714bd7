"""The bundle's own model on other engines, timed in the same turns: it tells a slower machine from a slower engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from edgeproof_runtime import engines
from edgeproof_runtime.bench.record import blocks_to_json
from edgeproof_runtime.bench.systems import Configuration, EngineSystem
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.measure import Block, Plan, Timing, WarmUp, timed_block, warm_up

__all__ = ["Yardstick", "load_yardsticks"]

_ENGINES = ("onnxruntime", "openvino", "opencv")
_MOST = 2  # so that each engine has one that is another engine
_SHARE = 0.5  # of a configuration's block


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The fp32 model on a CPU engine with its own number of threads, one sample at a time.

    Attributes:
        facts: what must be alike in two reports for a comparison in its units.
        block: what `take_turns` calls.
        warmed: before the first turn.
    """

    facts: dict[str, Any]
    block: Callable[[], Block]
    warmed: WarmUp

    @property
    def name(self) -> str:
        """Among the contenders; no configuration is called so."""
        return f"yardstick {self.facts['engine']}"

    def timing(self, blocks: tuple[Block, ...]) -> Timing:
        """Its blocks, under its name."""
        return Timing(self.name, blocks, self.warmed)

    def to_json(self, blocks: tuple[Block, ...]) -> dict[str, Any]:
        """Plain JSON values."""
        return {**self.facts, "blocks": blocks_to_json(self.timing(blocks))}


def load_yardsticks(
    bundle: Bundle, measured: Sequence[Configuration], cases: Sequence[GoldenCase], plan: Plan, stack: ExitStack
) -> list[Yardstick]:
    """The first two of the CPU's engines that run the model; none where nothing measured computes on the CPU.

    What else the machine does slows every kind of work by another factor, so that only something much like an engine
    can stand for it: see "How often `compare` is right" in benchmarks/RESULTS.md.

    Args:
        bundle: whose model.
        measured: the configurations that they are to accompany.
        cases: inputs.
        plan: of the benchmark.
        stack: closes them.
    """
    found: list[Yardstick] = []
    if not any(engines.engine_class(one.engine).takes_threads for one in measured):
        return found
    for name in _ENGINES:
        try:
            system = EngineSystem(bundle, Configuration(name), cases)
        except (InputError, UnavailableError):
            continue
        stack.callback(system.close)
        info = system.info
        facts = {
            "engine": name,
            "version": info.version,
            "threads": info.threads,
            "model_sha256": bundle.sha256(bundle.manifest.models["fp32"]),
        }
        block = timed_block(system.infer_all, replace(plan, block_ms=_SHARE * plan.block_ms))
        found.append(Yardstick(facts, block, warm_up(system.infer_all, plan)))
        if len(found) == _MOST:
            break
    return found
