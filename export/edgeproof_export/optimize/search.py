"""Search int8 within a budget: choose a recipe, then restore the most sensitive layers until the budget holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import onnx

from edgeproof_export.optimize.graph import Group, quantized_groups, restore
from edgeproof_export.optimize.inputs import Inputs
from edgeproof_export.optimize.judge import Judge
from edgeproof_export.optimize.points import Point, Ranked
from edgeproof_export.optimize.recipes import RECIPES, Recipe, Shape, quantize
from edgeproof_export.optimize.split import Split
from edgeproof_export.optimize.work import Work, key_of, version_of
from edgeproof_export.tasks.budget import Budget, Comparison, Scores
from edgeproof_runtime.engines.machine import machine_key
from edgeproof_runtime.errors import InputError

__all__ = ["Bench", "Found", "search_int8"]

Tell = Callable[[str, int, int], None]

_RANKING_PICTURES = 128


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Inputs of a search.

    Attributes:
        source: fp32 graph with unique node names.
        judge: engine of validation and timing.
        fp32: engine of fp32's scores; the export's gate has shown that engines agree on them.
        split: calibration and validation images.
        work: store of finished steps.
        budget: metric of the budget.
        max_drop: accuracy budget: largest drop of the metric.
        tell: called with (phase, done, total).
    """

    source: onnx.ModelProto
    judge: Judge
    fp32: Judge
    split: Split
    work: Work
    budget: Budget
    max_drop: float
    tell: Tell

    def scores(self, model: onnx.ModelProto, inputs: Inputs, phase: str) -> Scores:
        """Return the first output of a graph, cached."""
        judge = self.fp32 if model is self.source else self.judge
        key = key_of("scores", model, inputs, *judge.key, machine_key())
        return self.work.array(key, lambda: judge.scores(model, inputs, partial(self.tell, phase)))

    def distance(self, model: onnx.ModelProto, inputs: Inputs, phase: str) -> float:
        """Return the divergence of a graph's outputs from fp32's, see `Budget.divergence`."""
        reference = self.scores(self.source, inputs, phase)
        return self.budget.divergence(reference, self.scores(model, inputs, phase))

    def compare(self, model: onnx.ModelProto, phase: str) -> tuple[Comparison, Scores]:
        """Compare a graph with fp32 on the validation images; also return its scores."""
        images = self.split.validation
        scores = self.scores(model, images, phase)
        return self.budget.compare(self.scores(self.source, images, phase), scores, images.targets), scores


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
    tried = _try(bench, name, [first], notes, timed=timed)
    if not any(point.held(bench.max_drop) for point, _, _ in tried):
        tried += _try(bench, name, others, notes, timed=timed)
    if not tried:
        raise InputError("int8: no recipe can quantise this model", got=" ".join(notes))
    points = [point for point, _, _ in tried]
    # Not by accuracy: choosing the best of several on the validation images would bias the result.
    base, model, scores = min(tried, key=lambda item: item[0].divergence)
    ranking: tuple[Ranked, ...] = ()
    last, current = base, model
    if not last.held(bench.max_drop):
        groups = _rank(bench, model, name)
        ranking = tuple(ranked for ranked, _ in groups)
        most = len(groups) if timed else len(groups) // 2
        while not last.held(bench.max_drop) and len(last.restored) < most and last.pays():
            # One at a time up to eight, then a quarter more each time.
            count = len(last.restored) + max(1, len(last.restored) // 8 * 2)
            back = [group for _, group in groups[: min(most, count)]]
            current = restore(model, bench.source, {node for group in back for node in group.nodes})
            layers = tuple(group.name for group in back)
            last, scores = _point(bench, name, base.recipe, current, layers, timed=timed)
            points.append(last)
    # A fully quantised model is kept even if not faster here: `auto` measures on the device.
    held = last.held(bench.max_drop) and (not last.restored or last.pays())
    if held:
        points[points.index(last)] = last = replace(last, chosen=True)
    notes += _remarks(last, bench.max_drop)
    return Found(current if held else None, tuple(points), ranking, scores, tuple(notes))


def _try(
    bench: Bench, name: str, recipes: Sequence[Recipe], notes: list[str], *, timed: bool
) -> list[tuple[Point, onnx.ModelProto, Scores]]:
    pictures = bench.split.calibration
    done = []
    for recipe in recipes:
        key = key_of("recipe", recipe.name, version_of("edgeproof"), version_of(recipe.library), bench.source, pictures)
        make = partial(quantize, bench.source, recipe, pictures, partial(bench.tell, f"{name}: {recipe.name}"))
        try:
            model = bench.work.model(key, make)
            done.append((model, *_point(bench, name, recipe.name, model, (), timed=timed)))
        except InputError as error:
            notes.append(f"{name}: {recipe.name} left out: {' '.join(str(error).split())}.")
    return [(point, model, scores) for model, point, scores in done]


def _point(
    bench: Bench, name: str, recipe: str, model: onnx.ModelProto, layers: tuple[str, ...], *, timed: bool
) -> tuple[Point, Scores]:
    phase = f"{name}: {len(layers)} layers in fp32" if layers else f"{name}: validation"
    paired, scores = bench.compare(model, phase)
    speed = bench.judge.speed(bench.source, model, "int8") if timed else None
    apart = bench.distance(model, bench.split.calibration, phase)
    return Point(name, recipe, layers, paired, apart, speed, model.ByteSize()), scores


def _rank(bench: Bench, model: onnx.ModelProto, name: str) -> list[tuple[Ranked, Group]]:
    """Rank layers by the reduction of divergence when restored alone, largest first."""
    pictures = bench.split.calibration.first(_RANKING_PICTURES)
    groups = quantized_groups(model)
    phase = f"{name}: ranking layers"
    quiet = replace(bench, tell=lambda _phase, _done, _total: None)
    whole = quiet.distance(model, pictures, phase)
    found: list[tuple[Ranked, Group]] = []
    for done, group in enumerate(groups, 1):
        apart = quiet.distance(restore(model, bench.source, group.nodes), pictures, phase)
        found.append((Ranked(group.name, group.operator, whole - apart), group))
        bench.tell(phase, done, len(groups))
    return sorted(found, key=lambda item: -item[0].cost)


def _remarks(last: Point, max_drop: float) -> list[str]:
    """Return notes on the last point, if any."""
    name, drop = last.model, f"{100 * last.paired.drop:.2f} points below fp32"
    layers = f" with {len(last.restored)} layers restored to fp32" if last.restored else ""
    timed = last.speed
    times = "" if timed is None else timed.sentence
    if last.chosen and not last.pays():
        return [
            f"{name}: within the budget, not faster than fp32 on this machine ({times}); auto decides on the device."
        ]
    if last.chosen:
        return []
    if not last.pays():
        return [f"{name}: not added: {drop}{layers}, and not faster than fp32 on this machine ({times})."]
    return [f"{name}: not added: misses the budget of {100 * max_drop:g} %, {drop}{layers}."]
