"""Search int8 within a budget: choose a recipe, then restore the most sensitive layers until the budget holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import onnx

from edgeproof_export.optimize.bench import Bench
from edgeproof_export.optimize.graph import restore
from edgeproof_export.optimize.points import Point, Ranked
from edgeproof_export.optimize.ranking import rank_layers
from edgeproof_export.optimize.recipes import RECIPES, Recipe, Shape, quantize
from edgeproof_export.optimize.remarks import remarks
from edgeproof_export.optimize.work import key_of, version_of
from edgeproof_export.tasks.budget import Scores
from edgeproof_runtime.errors import InputError, one_line

__all__ = ["Found", "search_int8"]

# A layer is costly if it alone causes this share of the divergence; restoring such layers must keep this share of the
# speed-up if the budget holds without it.
_COSTLY, _SPEED_KEPT = 0.1, 0.8
_FEW = 8  # an eighth of the layers is few
_MISREAD = 4.0  # an engine at fault diverges by this many times what the graph states


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Result of a search.

    Attributes:
        model: graph to add; None if no graph is within the budget.
        points: every validated graph, the chosen one marked.
        ranking: layers by cost of their quantisation, most sensitive first; may be empty.
        scores: scores of the chosen or last graph on the validation images.
        notes: notes for the report.
    """

    model: onnx.ModelProto | None
    points: tuple[Point, ...]
    ranking: tuple[Ranked, ...]
    scores: Scores
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """A validated graph; scores are None if validation ended early because it surely misses the budget."""

    point: Point
    model: onnx.ModelProto
    scores: Scores | None


def search_int8(bench: Bench, shape: Shape) -> Found:
    """Quantise within the budget.

    Recipes and layers are ranked on calibration images, by divergence of the outputs; validation images only decide
    whether the budget holds.

    Args:
        bench: inputs of the search.
        shape: ``cpu`` restores layers while int8 is faster than fp32; ``tensorrt`` while most layers are int8, because
            its speed can be measured only on the GPU.

    Raises:
        InputError: no recipe can quantise the model.
    """
    name = "int8" if shape == "cpu" else "int8-tensorrt"
    timed = shape == "cpu"
    first, *others = RECIPES[shape]
    notes: list[str] = []
    tried: list[_Tried] = []
    ranking: tuple[Ranked, ...] = ()
    last: _Tried | None = None
    # A few layers in fp32 cost less than another calibration; more of them are restored in the better of all recipes.
    for recipes, share in [([first], _FEW), (others, 1)] if others else [([first], 1)]:
        plain = _try(bench, name, recipes, notes, timed=timed)
        tried += plain
        if not tried:
            continue
        # Not by accuracy: choosing the best of several on the validation images would bias the result.
        best = min((one for one in tried if not one.point.restored), key=lambda one: one.point.divergence)
        same = last is not None and last.point.recipe == best.point.recipe
        last = last if last is not None and same else best
        if recipes is not others and others and timed and not best.point.held(bench.max_drop):
            misread = _misread(bench, name, best)
            if misread is not None:
                notes.append(misread)
                continue
        if best.point.pays() and not last.point.surely_held(bench.max_drop):
            last, more, ranking = _restore(bench, name, best, last, share=share, timed=timed)
            tried += more
        if last.point.held(bench.max_drop):
            break
    if last is None:
        raise InputError("int8: no recipe can quantise this model", got=" ".join(notes))
    if last.scores is None:
        paired, scores = bench.compare(last.model, f"{name}: validation")
        tried[tried.index(last)] = last = replace(last, point=replace(last.point, paired=paired), scores=scores)
    else:
        scores = last.scores
    # A fully quantised model is kept even if not faster here: `auto` measures on the device.
    held = last.point.held(bench.max_drop) and (not last.point.restored or last.point.pays())
    points = tuple(replace(one.point, chosen=held and one is last) for one in tried)
    notes += remarks(points[tried.index(last)], ranking, bench.max_drop)
    return Found(last.model if held else None, points, ranking, scores, tuple(notes))


def _misread(bench: Bench, name: str, base: _Tried) -> str | None:
    """Return a note if the engine's kernels, and not the graph, cause the divergence of a graph from fp32."""
    stated = bench.by_arithmetic().distance(base.model, f"{name}: validation")
    if base.point.divergence <= _MISREAD * stated:
        return None
    return (
        f"{name}: {bench.judge.engine} computes {base.point.recipe} otherwise than the graph states (divergence from "
        f"fp32 {base.point.divergence:.3g}, as stated {stated:.3g}): no layer was restored to fp32, which does not "
        "mend that; other recipes were tried."
    )


def _restore(
    bench: Bench, name: str, base: _Tried, last: _Tried, *, share: int, timed: bool
) -> tuple[_Tried, list[_Tried], tuple[Ranked, ...]]:
    """Restore the costliest layers of a graph to fp32.

    If the graph misses the budget, until it holds. If it holds, but the validation images leave open whether it does on
    others, those few layers that cause most of the divergence, unless this costs too much speed.

    Args:
        bench: inputs of the search.
        name: name of the model.
        base: the graph without restored layers.
        last: the graph to continue from: ``base``, or ``base`` with restored layers.
        share: at most the layers' number over this is restored.
        timed: whether to time the graphs.

    Returns:
        The graph to add if it is within the budget, all graphs that were tried, the ranking.
    """
    groups = rank_layers(bench, base.model, name)
    ranking = tuple(ranked for ranked, _ in groups)
    held = last.point.held(bench.max_drop)
    most = min(len(groups) if timed else len(groups) // 2, max(1, len(groups) // share))
    costly = sum(one.cost >= _COSTLY * base.point.divergence for one in ranking[: max(1, len(groups) // _FEW)])
    tried: list[_Tried] = []
    step = costly if held or not last.point.restored else _step(last)
    count = len(last.point.restored) + (step if held else max(1, step))
    while len(last.point.restored) < count <= most and last.point.pays():
        back = [group for _, group in groups[:count]]
        model = restore(base.model, bench.source, {node for group in back for node in group.nodes})
        last = _validated(bench, name, base.point.recipe, model, tuple(group.name for group in back), timed=timed)
        tried.append(last)
        if not held and not last.point.held(bench.max_drop):
            count = min(most, count + _step(last))
    if held and not (last.point.held(bench.max_drop) and last.point.share_of_speed(base.point) >= _SPEED_KEPT):
        last = base
    return last, tried, ranking


def _step(last: _Tried) -> int:
    """Return how many more layers to restore: one at a time up to eight, then a quarter more each time."""
    return max(1, len(last.point.restored) // 8 * 2)


def _try(bench: Bench, name: str, recipes: Sequence[Recipe], notes: list[str], *, timed: bool) -> list[_Tried]:
    pictures = bench.split.calibration
    done = []
    for recipe in recipes:
        key = key_of("recipe", recipe.name, version_of("edgeproof"), version_of(recipe.library), bench.source, pictures)
        make = partial(quantize, bench.source, recipe, pictures, partial(bench.tell, f"{name}: {recipe.name}"))
        try:
            model = bench.work.model(key, make)
            done.append(_validated(bench, name, recipe.name, model, (), timed=timed))
        except InputError as error:
            notes.append(f"{name}: {recipe.name} left out: {one_line(error)}.")
    return done


def _validated(
    bench: Bench, name: str, recipe: str, model: onnx.ModelProto, layers: tuple[str, ...], *, timed: bool
) -> _Tried:
    phase = f"{name}: {len(layers)} layers in fp32" if layers else f"{name}: validation"
    paired, scores = bench.compare_until_clear(model, phase)
    apart = bench.distance(model, phase)
    point = Point(name, recipe, layers, paired, apart, None, model.ByteSize())
    # Timing takes seconds: of the graphs that miss the budget only those with 0, 1, 2, 4, 8 ... restored layers.
    if timed and (point.held(bench.max_drop) or not len(layers) & (len(layers) - 1)):
        bench.tell(f"{name}: timing", 0, 1)
        point = replace(point, speed=bench.judge.speed(bench.source, model, "int8"))
        bench.tell(f"{name}: timing", 1, 1)
    return _Tried(point, model, scores)
