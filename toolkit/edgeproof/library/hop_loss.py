"""Run the same labelled images along a chain of hops, or through two engines."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import get_args

from edgeproof.chain import chain_of, engine_hop, preparation
from edgeproof.library.progress import Progress
from edgeproof_runtime.bundle.manifest import Precision
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.verify.hop_walk import walk
from edgeproof_runtime.verify.hops import Walk

__all__ = ["Question", "compared_with", "loss_by_hop"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """Bundle, engine and labelled images to compare, and the largest permitted drop per hop (0..1 of top-1)."""

    bundle: Bundle
    engine: Engine
    data: LabelledData
    batch: int
    limit: int | None
    max_drop: float

    def label_of(self, index: int) -> str:
        """Return the label of a class, or its index if the bundle has no labels."""
        return self.bundle.labels[index] if self.bundle.labels else str(index)


def loss_by_hop(question: Question, tell: Progress, *, model: str | None, weights: str | None, camera: str) -> Walk:
    """Measure every hop of `edgeproof.chain.chain_of`."""
    with ExitStack() as stack:
        hops, notes = chain_of(
            question.bundle,
            question.engine,
            stack,
            model=model,
            weights=weights,
            camera=camera,
            batch=question.batch,
        )
        return walk(
            hops,
            question.data,
            question.label_of,
            batch=question.batch,
            limit=question.limit,
            max_drop=question.max_drop,
            notes=notes,
            advance=lambda done, total: tell(f"{len(hops)} hops from {hops[0].name}", done, total),
        )


def compared_with(question: Question, tell: Progress, against: str, *, threads: int | None) -> Walk:
    """Compare the engine with another engine, precision, or both (``openvino,fp32``).

    Raises:
        InputError: ``against`` names neither, or the same engine and precision.
        UnavailableError: the other engine is not available on this machine.
    """
    own = question.engine.describe()
    precisions = get_args(Precision)
    parts = [part.strip() for part in against.split(",")]
    precision = next((part for part in parts if part in precisions), own.precision)
    name = next((part for part in parts if part not in precisions), own.name)
    if (name, precision) == (own.name, own.precision) or len(parts) > 2:
        raise InputError(
            "--against: names no other engine or precision",
            got=against,
            expected=f"an engine or precision other than {own.name}, {own.precision}",
            fix="for example --precision int8 --against fp32",
        )
    with load_engine(question.bundle, name, precision, max_batch=question.batch, threads=threads, judged=True) as other:
        prepare = preparation(question.bundle.contract)
        info = other.describe()
        hops = [
            engine_hop(f"{e.name} {e.precision}", f"{e.name} {e.version}, {e.precision}", prepare, engine)
            for e, engine in ((info, other), (own, question.engine))
        ]
        return walk(
            hops,
            question.data,
            question.label_of,
            batch=question.batch,
            limit=question.limit,
            max_drop=question.max_drop,
            kind="against",
            advance=lambda done, total: tell(f"{hops[1].name} against {hops[0].name}", done, total),
        )
