"""Compile a bundle's models into engines and store them in the bundle."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edgeproof.library.inputs import open_bundle
from edgeproof.library.progress import Progress, no_progress
from edgeproof_runtime.bundle.manifest import Precision
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.system.boundary import bounded

if TYPE_CHECKING:
    from edgeproof_export.compile import BuildOptions, Compiled

__all__ = ["BuiltEngine", "CompiledBundle", "compile_"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuiltEngine:
    """Engine that was built, or found in the bundle.

    Attributes:
        precision: precision of its model.
        compiled: its record, changes since the last build, and warnings about the model.
        elapsed_s: time to build or find it, seconds.
    """

    precision: str
    compiled: Compiled
    elapsed_s: float

    @property
    def path(self) -> Path:
        """Return the engine's file in the bundle."""
        record = self.compiled.record
        return self.compiled.bundle.locate(f"engines/{record.key}/{record.plan}")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        found = self.compiled
        golden = asdict(found.golden) if isinstance(found.golden, Gate) else found.golden
        return {
            "cached": found.cached,
            "changes": list(found.changes),
            "golden": golden,
            "notes": list(found.notes),
            "engine": found.record.to_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledBundle:
    """Bundle with its compiled engines.

    Attributes:
        bundle: the opened bundle.
        engines: one engine per requested precision.
    """

    bundle: Bundle
    engines: tuple[BuiltEngine, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, ``"schema": "edgeproof.compile/1"``."""
        engines = [engine.to_json() for engine in self.engines]
        return {"schema": "edgeproof.compile/1", "bundle": str(self.bundle.path), "engines": engines}


@bounded
def compile_(
    bundle: str | Path | Bundle,
    target: str,
    *,
    precision: str = "fp32",
    options: BuildOptions | None = None,
    force: bool = False,
    progress: Progress | None = None,
    on_engine: Callable[[BuiltEngine], None] | None = None,
) -> CompiledBundle:
    """Compile a bundle's models into engines stored in the bundle; exported as `edgeproof.compile`.

    Args:
        bundle: path of a bundle, or an opened one.
        target: a target of `edgeproof_runtime.engines.catalog.compiling`.
        precision: one or several precisions of the bundle (``fp32,fp16``), or ``all``.
        options: options from `edgeproof_export.compile`; None means its defaults.
        force: build even if the engine is in the bundle.
        progress: called with (phase, done, total).
        on_engine: called with each engine once it is in the bundle.

    Raises:
        InputError: the target does not compile models, or the model cannot be built.
        UnavailableError: this machine cannot build for the target, or the bundle has no model of the precision.
    """
    # Importing onnx takes a second.
    from edgeproof_export.compile import BuildWatch, compile_bundle
    from edgeproof_export.compile.target import find_compiling

    int8_shape = find_compiling(target).int8_shape
    tell = progress or no_progress
    opened = open_bundle(bundle, again=True)
    here = tuple(name for name in get_args(Precision) if opened.model_for(name, int8_shape) is not None)
    names = here if precision == "all" else tuple(part.strip() for part in precision.split(","))
    built = []
    for name in names:
        begin = time.perf_counter()
        watch = BuildWatch(partial(_tell_of, tell, f"{target} {name}"))
        done = compile_bundle(opened, target, name, options, watch=watch, force=force)
        opened = done.bundle
        built.append(BuiltEngine(precision=name, compiled=done, elapsed_s=time.perf_counter() - begin))
        if on_engine is not None:
            on_engine(built[-1])
    return CompiledBundle(bundle=opened, engines=tuple(built))


def _tell_of(tell: Progress, engine: str, phase: str, done: int, total: int) -> None:
    tell(f"{engine}: {phase}", done, total)
