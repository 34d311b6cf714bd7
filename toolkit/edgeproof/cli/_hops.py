"""`evaluate --hops` and `--against`: the same pictures along a chain, and what the terminal says of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import get_args

from rich.table import Table

from edgeproof.chain import chain_of, engine_hop, preparation
from edgeproof.cli._shared import count, out
from edgeproof_runtime.bundle.manifest import Precision
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.verify.hop_walk import walk
from edgeproof_runtime.verify.hops import HopCost, Walk

__all__ = ["Question", "compared_with", "loss_by_hop", "print_walk"]

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """What is walked: a bundle on an engine, labelled pictures, and the most that a hop may cost (0..1 of top-1)."""

    bundle: Bundle
    engine: Engine
    data: LabelledData
    batch: int
    limit: int | None
    max_drop: float

    def label_of(self, index: int) -> str:
        """Label of a class, or its index where the bundle has no labels."""
        return self.bundle.labels[index] if self.bundle.labels else str(index)


def loss_by_hop(question: Question, tell: Tell, *, model: str | None, weights: str | None, camera: str) -> Walk:
    """From the training's transforms to the engine behind a camera; see `edgeproof.chain.chain_of`."""
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
            advance=lambda done, total: tell(f"{count(len(hops), 'hop')} from {hops[0].name}", done, total),
        )


def compared_with(question: Question, tell: Tell, against: str, *, threads: int | None) -> Walk:
    """Another engine, another precision, or both (``openvino,fp32``) beside the question's own.

    Raises:
        InputError: ``against`` names neither, or the very same.
        UnavailableError: it is not to be had here.
    """
    own = question.engine.describe()
    precisions = get_args(Precision)
    parts = [part.strip() for part in against.split(",")]
    precision = next((part for part in parts if part in precisions), own.precision)
    name = next((part for part in parts if part not in precisions), own.name)
    if (name, precision) == (own.name, own.precision) or len(parts) > 2:
        raise InputError(
            "--against names no other engine or precision",
            got=against,
            expected=f"something else than {own.name} and {own.precision}",
            fix="for example --precision int8 --against fp32",
        )
    with load_engine(question.bundle, name, precision, max_batch=question.batch, threads=threads) as other:
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


def print_walk(found: Walk) -> None:
    """A line per hop, the verdict, and how many pictures flipped where."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("hop", "top-1", "costs, points", "95 % interval", "lost", "gained", ""):
        table.add_column(column, overflow="fold")
    for cost in found.costs:
        table.add_row(cost.name, f"{cost.correct / cost.n:.2%}", *_cost(cost), cost.what)
    out.print(table)
    out.print(found.verdict(), style="bold" if found.culprit is not None else None)
    flips = {cost.name: sum(flip.hop == cost.name for flip in found.flips) for cost in found.costs[1:]}
    out.print("pictures whose answer first flips: " + ", ".join(f"{n} at {name}" for name, n in flips.items()))


def _cost(cost: HopCost) -> tuple[str, str, str, str]:
    if cost.change is None:
        return ("", "", "", "")
    low, high = cost.change.drop_ci95
    return (
        f"{100 * cost.change.drop:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}",
        str(cost.change.lost),
        str(cost.change.gained),
    )
