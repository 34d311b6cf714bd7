"""What a search has: graphs, images, an engine; scores computed once and compared with fp32's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx

from edgeproof_export.optimize.inputs import Inputs
from edgeproof_export.optimize.judge import Judge
from edgeproof_export.optimize.sequential import surely_above
from edgeproof_export.optimize.split import Split
from edgeproof_export.optimize.work import Work, key_of
from edgeproof_export.tasks.budget import Budget, Comparison, Scores
from edgeproof_runtime.engines.machine import machine_key

__all__ = ["Bench", "Tell"]

Tell = Callable[[str, int, int], None]

_DIVERGENCE_IMAGES = 128


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

    def by_arithmetic(self) -> Bench:
        """Return a bench whose graphs are computed as they state, see `Judge.by_arithmetic`."""
        return replace(self, judge=self.judge.by_arithmetic())

    def scores(
        self, model: onnx.ModelProto, inputs: Inputs, phase: str, make: Callable[[], Scores] | None = None
    ) -> Scores:
        """Return the scores of a graph, cached; ``make`` computes them by another way than the whole graph."""
        judge = self.fp32 if model is self.source else self.judge
        key = key_of("scores", model, inputs, *judge.key, machine_key())
        return self.work.array(key, make or (lambda: judge.scores(model, inputs, partial(self.tell, phase))))

    def distance(self, model: onnx.ModelProto, phase: str) -> float:
        """Return the divergence of a graph's outputs from fp32's on calibration images, see `Budget.divergence`."""
        return self.divergence(model, self.split.calibration.first(_DIVERGENCE_IMAGES), phase)

    def divergence(self, model: onnx.ModelProto, inputs: Inputs, phase: str) -> float:
        """Return the divergence of a graph's outputs from fp32's on these images."""
        reference = self.scores(self.source, inputs, phase)
        return self.budget.divergence(reference, self.scores(model, inputs, phase))

    def compare(self, model: onnx.ModelProto, phase: str) -> tuple[Comparison, Scores]:
        """Compare a graph with fp32 on all validation images; also return its scores."""
        images = self.split.validation
        scores = self.scores(model, images, phase)
        return self.budget.compare(self.scores(self.source, images, phase), scores, images.targets), scores

    def compare_until_clear(self, model: onnx.ModelProto, phase: str) -> tuple[Comparison, Scores | None]:
        """Compare a graph with fp32, on as many validation images as show that it misses the budget.

        Returns:
            The comparison on the images seen, and the scores if these are all.
        """
        images = self.split.validation
        order = np.random.default_rng(0).permutation(len(images)).tolist()  # datasets are sorted by class
        mixed, reference = images.only(order), self.scores(self.source, images, phase)[order]

        def misses(scores: Scores) -> bool:
            losses = self.budget.losses(reference[: len(scores)], scores, mixed.targets[: len(scores)])
            return losses is not None and surely_above(losses, self.max_drop, len(images))

        key = key_of("scores until clear", self.max_drop, model, mixed, *self.judge.key, machine_key())
        found = self.work.array(key, lambda: self.judge.scores(model, mixed, partial(self.tell, phase), misses))
        if len(found) < len(images):
            seen = len(found)
            return self.budget.compare(reference[:seen], found, mixed.targets[:seen]), None
        scores = np.empty_like(found)
        scores[order] = found
        return self.budget.compare(self.scores(self.source, images, phase), scores, images.targets), scores
