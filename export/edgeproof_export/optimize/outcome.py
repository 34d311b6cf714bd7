"""Results of an optimisation for the report: trade-off curve, paired comparisons, flipped images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeproof_export.optimize.fp16 import Kept
from edgeproof_export.optimize.inputs import Inputs
from edgeproof_export.optimize.points import Point
from edgeproof_export.optimize.search import Found
from edgeproof_export.optimize.split import Split
from edgeproof_export.tasks.budget import Budget, Scores
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.paired import ClassChange

__all__ = ["Flips", "Outcome", "Precisions", "flips_of"]

Precisions = tuple[str, ...]

_SHOWN = 12
_CLASSES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Flips:
    """Images that only one of fp32 and another precision predicts correctly.

    Attributes:
        lost, gained: places among the validation images.
        classes: lost and gained images by class.
        before, after: scores of fp32 and the other precision, ``N x C``.
    """

    lost: tuple[int, ...]
    gained: tuple[int, ...]
    classes: tuple[ClassChange, ...]
    before: Scores
    after: Scores


def flips_of(budget: Budget, images: Inputs, before: Scores, after: Scores) -> Flips:
    """Compare predictions for labelled images."""
    first, second = (budget.right(scores, images.targets) for scores in (before, after))
    lost, gained = (tuple(np.flatnonzero(flipped).tolist()) for flipped in (first & ~second, ~first & second))
    return Flips(lost, gained, budget.changes(before, after, images.targets), before, after)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Results of `optimize_bundle`.

    Attributes:
        bundle: bundle with the models within the budget.
        max_drop: accuracy budget.
        engine: engine of validation and timing; ``fp16`` is validated on ONNX Runtime, ``int8-tensorrt`` there without
            graph optimisation.
        split: calibration and validation images.
        budget: metric of the budget.
        fp32: scores of fp32 on the validation images.
        found: search results by name of the bundle's model; empty for a budget of 0.
        kept: layers that stay fp32 in fp16.
        flips: flipped images by name of the model.
        precisions: requested precisions.
    """

    bundle: Bundle
    max_drop: float
    engine: str
    split: Split
    budget: Budget
    fp32: Scores
    found: Mapping[str, Found]
    kept: tuple[Kept, ...]
    flips: Mapping[str, Flips]
    precisions: Precisions

    def notes(self) -> list[str]:
        """Return notes: models that were not added and why, and limits of the validation images."""
        found = [*self.budget.notes, *self.split.notes]
        if self.max_drop == 0:
            found.append("A budget of 0 permits fp32 only: no model was added.")
        for one in self.found.values():
            found += one.notes
        return found + self._resolution()

    def _resolution(self) -> list[str]:
        n = len(self.split.validation)
        if self.max_drop in (0.0, 1.0) or not self.found:
            return []
        points = [one.points[-1] for one in self.found.values()]
        needed = max(point.paired.pictures_to_resolve(self.max_drop) for point in points)
        if needed <= n:
            return []
        return [
            f"{n} validation images do not resolve a budget of {100 * self.max_drop:g} %: an interval of "
            f"± {100 * self.max_drop:g} points requires about {needed:,}."
        ]

    def gates(self) -> list[Gate]:
        """Return a gate per added model: its drop, bounded by the budget."""
        return [
            Gate.judge(
                f"budget {name}",
                f"{name} with fp32, on {len(self.split.validation)} validation images",
                {"drop": chosen.paired.drop, "lost": chosen.paired.lost, "gained": chosen.paired.gained},
                at_most={"drop": self.max_drop},
            )
            for name, one in self.found.items()
            for chosen in one.points
            if chosen.chosen
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the section ``optimization`` of a report."""
        return {
            "max_drop": self.max_drop,
            "engine": self.engine,
            "metric": self.budget.metric,
            "split": self.split.to_json(),
            "fp32": dict(self.budget.figures(self.fp32, self.split.validation.targets)),
            "models": {name: self._model(name, one) for name, one in self.found.items()},
            "kept_fp32": [asdict(one) for one in self.kept],
        }

    @property
    def fp32_summary(self) -> str:
        """Return fp32's metric as text."""
        return self.budget.summary(self.fp32, self.split.validation.targets)

    def _model(self, name: str, one: Found) -> dict[str, Any]:
        flips = self.flips[name]
        return {
            "added": one.model is not None,
            "points": [point.to_json() for point in one.points],
            "ranking": [asdict(ranked) for ranked in one.ranking],
            "classes": [
                {"label": self.budget.class_label(change.index), **asdict(change)}
                for change in flips.classes[:_CLASSES]
            ],
            "lost": len(flips.lost),
            "gained": len(flips.gained),
            "flips": self._shown(flips),
            "notes": list(one.notes),
        }

    def _shown(self, flips: Flips) -> list[dict[str, Any]]:
        validation, budget = self.split.validation, self.budget
        shown = sorted({*flips.lost[:_SHOWN], *flips.gained[: max(0, _SHOWN - len(flips.lost))]})
        found = []
        for place, picture in validation.pictures(shown):
            truth = budget.truth(validation.targets[place])
            sample = Thumbnail.of(picture.name, picture.frame, budget.answer(flips.after[place]), truth=truth)
            before = budget.answer(flips.before[place])
            found.append({**sample.to_json(), "before": before, "lost": place in flips.lost})
        return found

    def chosen(self) -> list[Point]:
        """Return the points that were added to the bundle."""
        return [point for one in self.found.values() for point in one.points if point.chosen]
