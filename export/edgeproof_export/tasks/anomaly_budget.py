"""The accuracy budget of an anomaly model: AUROC with labelled defects, else the change of good images' scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_export.tasks.budget import Budget, Scores
from edgeproof_export.tasks.paired_figure import PairedFigure
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import DEFECT, GOOD
from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.data.splits import locate
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.accuracy import wilson_interval
from edgeproof_runtime.metrics.auroc import AnomalyMeter
from edgeproof_runtime.metrics.paired import ClassChange
from edgeproof_runtime.tasks.reconstruct import open_kinds, reconstruct_head

__all__ = ["AurocBudget", "GoodBudget", "anomaly_budget", "open_judged"]


def anomaly_budget(bundle: Bundle, names: Sequence[str]) -> Budget:
    """Return the budget of an anomaly model's bundle.

    Args:
        bundle: the bundle.
        names: name of each target: ``good`` and kinds of defects. Without kinds, scores of good images are compared.
    """
    threshold = reconstruct_head(bundle).threshold
    if any(name != GOOD for name in names):
        return AurocBudget(threshold, tuple(names))
    return GoodBudget(threshold)


def open_judged(bundle: Bundle, path: str | Path, options: DataOptions) -> LabelledData:  # noqa: ARG001
    """Open good images and kinds of defects, or images that are all good: a folder of images, or of ``good`` alone.

    Raises:
        InputError: no images were found, or folders of defects without one of good images.
    """
    root = Path(path)
    if root.is_dir():
        located = locate(root, options.split, prefer=options.prefer, labelled=True)
        if not {folder.name for folder in located.root.iterdir() if folder.is_dir() and folder.name[0] != "."} - {GOOD}:
            images = ImageList.open(located.root, exif=options.exif).of_split(located.split, located.notes)
            return LabelledData(images, [0] * len(images), 1, (GOOD,))
    return open_kinds(path, options)


@dataclass(frozen=True, slots=True)
class _AnomalyBudget:
    """What both budgets share.

    Attributes:
        threshold: a score above it is a defect.
        names: name of each target.
        metric: name of the metric.
        output: position of the score among the model's outputs.
        notes: notes for the report.
    """

    threshold: float
    names: tuple[str, ...] = (GOOD,)
    metric: str = ""
    output: int = -1
    notes: tuple[str, ...] = ()

    def divergence(self, reference: Scores, candidate: Scores) -> float:
        """Return the mean difference of the scores, in units of the threshold."""
        return float(self._differences(reference, candidate).mean())

    def right(self, scores: Scores, targets: Sequence[Any]) -> NDArray[np.bool_]:
        """Return whether good or defect is right; a NaN score is a defect's."""
        found: NDArray[np.bool_] = ~(scores[:, 0] <= self.threshold) == ~self._good(targets)
        return found

    def changes(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> tuple[ClassChange, ...]:
        """Return kinds with images that only one of the two predicts correctly."""
        right, still = (self.right(scores, targets) for scores in (reference, candidate))
        kinds = np.asarray(targets)
        found = []
        for kind in np.unique(kinds[right != still]):
            here = kinds == kind
            lost, gained = int((right & ~still & here).sum()), int((~right & still & here).sum())
            found.append(ClassChange(int(kind), int(here.sum()), lost, gained))
        return tuple(sorted(found, key=lambda change: (change.gained - change.lost, change.index)))

    def class_label(self, index: int) -> str:
        """Return the name of a kind."""
        return self.names[index]

    def answer(self, scores: NDArray[np.float32]) -> str:
        """Return decision and score."""
        return f"{GOOD if scores[0] <= self.threshold else DEFECT} {scores[0]:.3g}"

    def truth(self, target: Any) -> str:
        """Return the name of a kind."""
        return self.names[int(target)]

    def _good(self, targets: Sequence[Any]) -> NDArray[np.bool_]:
        return np.array([self.names[int(target)] == GOOD for target in targets])

    def _differences(self, reference: Scores, candidate: Scores) -> NDArray[np.float64]:
        """Return the difference of each image's scores in units of the threshold, at most 1; 1 if one is not finite."""
        apart = np.abs(candidate[:, 0].astype(np.float64) - reference[:, 0]) / self.threshold
        return np.minimum(np.where(np.isfinite(apart), apart, 1.0), 1.0)


@dataclass(frozen=True, slots=True)
class AurocBudget(_AnomalyBudget):
    """Budget of the mean AUROC over the kinds of defects, which `evaluate` measures too."""

    metric: str = "AUROC"

    def compare(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> PairedFigure:
        """Compare the AUROCs, whose difference has the variance of E. DeLong et al., Biometrics 44 (1988).

        Raises:
            InputError: the images hold no good one, or no defect.
        """
        first, second = (self._placements(scores, targets) for scores in (reference, candidate))
        variance = _variance_of_mean(second[0] - first[0]) + sum(
            _variance_of_mean(after - before) for before, after in zip(first[1], second[1], strict=True)
        ) / (len(first[1]) ** 2)
        right, still = (self.right(scores, targets) for scores in (reference, candidate))
        return PairedFigure(
            key="auroc",
            n=len(targets),
            reference=float(first[0].mean()),
            candidate=float(second[0].mean()),
            error=math.sqrt(variance),
            lost=int((right & ~still).sum()),
            gained=int((~right & still).sum()),
        )

    def losses(self, _reference: Scores, _candidate: Scores, _targets: Sequence[Any]) -> None:
        """Return None: AUROC depends on the order of all images."""

    def summary(self, scores: Scores, targets: Sequence[Any]) -> str:
        """Return the AUROC and the number of images as text."""
        found = self._result(scores, targets)
        mean = "–" if found.mean_auroc is None else f"{found.mean_auroc:.4f}"
        return f"AUROC {mean}, mean over {len(found.kinds)} kinds, on {found.n} validation images"

    def figures(self, scores: Scores, targets: Sequence[Any]) -> Mapping[str, Any]:
        """Return the AUROC, for one kind with its interval, and the share of good images above the threshold."""
        found = self._result(scores, targets)
        one = found.kinds[0].ci95 if len(found.kinds) == 1 else None
        return {
            "mean_auroc": found.mean_auroc,
            "auroc": found.auroc,
            "false_alarms": found.false_alarms,
            "n": found.n,
            "ci95": None if one is None else list(one),
        }

    def _result(self, scores: Scores, targets: Sequence[Any]) -> Any:
        meter = AnomalyMeter(self.threshold)
        for score, target in zip(scores[:, 0].tolist(), targets, strict=True):
            meter.update(self.truth(target), score)
        return meter.result()

    def _placements(
        self, scores: Scores, targets: Sequence[Any]
    ) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        """Return for each good image its share of defects above it, mean over the kinds; for each defect its share of
        good images below it, by kind. Ties count half. Both have the AUROC as mean.
        """
        values = np.where(np.isnan(scores[:, 0]), np.inf, scores[:, 0]).astype(np.float64)
        good, kinds = self._good(targets), np.asarray(targets)
        defects = [values[kinds == kind] for kind in np.unique(kinds[~good])]
        if not good.any() or not defects:
            raise InputError(
                "AUROC: requires good images and defects",
                got=f"{int(good.sum())} good images and {int((~good).sum())} defects",
                fix="more images in --data, or separate ones for --calibration",
            )
        wins = [(one[:, None] > values[good]) + 0.5 * (one[:, None] == values[good]) for one in defects]
        return np.mean([won.mean(axis=0) for won in wins], axis=0), [won.mean(axis=1) for won in wins]


@dataclass(frozen=True, slots=True)
class GoodBudget(_AnomalyBudget):
    """Budget of good images' scores: the mean change in units of the threshold, a new false alarm counting 1."""

    metric: str = "score agreement"
    notes: tuple[str, ...] = (
        "No labelled defects in --data: the budget bounds the mean change of good images' scores, in units of the "
        "threshold, where a new false alarm counts 1. Whether defects are still found was not measured.",
    )

    def compare(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> PairedFigure:
        """Compare the scores image by image."""
        losses = self.losses(reference, candidate, targets)
        right, still = (self.right(scores, targets) for scores in (reference, candidate))
        return PairedFigure(
            key="agreement",
            n=len(targets),
            reference=1.0,
            candidate=1.0 - float(losses.mean()),
            error=math.sqrt(_variance_of_mean(losses)),
            lost=int((right & ~still).sum()),
            gained=int((~right & still).sum()),
        )

    def losses(self, reference: Scores, candidate: Scores, targets: Sequence[Any]) -> NDArray[np.float64]:
        """Return each image's change of score in units of the threshold, at most 1; 1 for a new false alarm."""
        alarm = self.right(reference, targets) & ~self.right(candidate, targets)
        return np.where(alarm, 1.0, self._differences(reference, candidate))

    def summary(self, scores: Scores, targets: Sequence[Any]) -> str:
        """Return the false alarms as text."""
        n = len(targets)
        alarms = n - int(self.right(scores, targets).sum())
        return f"{alarms} of {n} good validation images above the threshold ({alarms / n:.2%})"

    def figures(self, scores: Scores, targets: Sequence[Any]) -> Mapping[str, Any]:
        """Return the share of good images below the threshold, with Wilson's interval."""
        n = len(targets)
        passed = int(self.right(scores, targets).sum())
        return {"passed": passed / n, "false_alarms": 1 - passed / n, "n": n, "ci95": list(wilson_interval(passed, n))}


def _variance_of_mean(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
