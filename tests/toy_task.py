"""A toy task and its record: all that a new task needs on the device. Its models name the class of the lowest score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_shapes import TaskShape, check_scores
from edgeproof_runtime.data.dataset import LabelledData, LabelledImages
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.decision import Decision, EventValues, Row
from edgeproof_runtime.tasks.golden_inputs import FrameInputs
from edgeproof_runtime.tasks.record import Metric, Task

__all__ = ["TASK"]


@dataclass(frozen=True, slots=True, eq=False)
class Lowest:
    """The class of the lowest score."""

    scores: NDArray[np.float32]
    labels: tuple[str, ...]

    probability = None
    unknown = False

    @property
    def label(self) -> str:
        return self.labels[int(self.scores.argmin())]

    @property
    def detail(self) -> str:
        return f"{self.scores.min():.3g}"

    @property
    def headline(self) -> str:
        return f"lowest: {self.label}"

    def rows(self, k: int) -> list[Row]:
        return [Row(self.label, 1.0, self.detail)][:k]

    def is_right(self, truth: str) -> bool:
        return self.label == truth

    def over(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image

    def to_json(self, k: int) -> dict[str, Any]:
        return {"lowest": self.label, "k": k}

    def event_values(self, threshold: float, top_k: int) -> EventValues:
        values = -self.scores.astype(np.float64)
        return EventValues(values, np.full(values.shape, threshold), top_k, lambda index: self.labels[index], "score")


class LowestJudge:
    """Share of samples whose lowest score is that of their class."""

    def __init__(self, bundle: Bundle) -> None:
        self._labels = bundle.labels
        self.n = self._hits = 0

    def add(self, decision: Decision, truth: str, name: str) -> str:
        self.n += 1
        self._hits += decision.label == truth
        return truth

    def add_batch(self, outputs: tuple[Tensor, ...], data: LabelledImages[Any], targets: Sequence[int]) -> list[Lowest]:
        decisions = [Lowest(row.astype(np.float32), self._labels) for row in outputs[0]]
        for decision, target in zip(decisions, targets, strict=True):
            self.add(decision, self._labels[target], "")
        return decisions

    def truth_of(self, data: LabelledImages[Any], target: int) -> str:
        return self._labels[target]

    def row(self, data: LabelledImages[Any], target: int, decision: Lowest) -> dict[str, str | float | bool | None]:
        truth = self._labels[target]
        return {"ground_truth": truth, "label": decision.label, "correct": decision.label == truth}

    def notes(self, data: LabelledImages[Any]) -> list[str]:
        return ["A toy was evaluated."]

    def label_gates(self) -> list[Gate]:
        return []

    def counts(self) -> dict[str, int]:
        return {"hits": self._hits}

    def reference_gate(self, reference: Mapping[str, Any], max_drop: float) -> Gate | None:
        return None

    def figures(self) -> dict[str, float | None]:
        return {"hit_rate": self._hits / self.n} if self.n else {}

    def sections(self) -> dict[str, Any]:
        return {"toy": {"n": self.n, "hit_rate": self._hits / self.n}} if self.n else {}


class LowestHead:
    """From scores to a `Lowest`."""

    def __init__(self, bundle: Bundle) -> None:
        self._labels = bundle.labels

    def __call__(self, outputs: tuple[Tensor, ...]) -> Lowest:
        return Lowest(outputs[0][0].astype(np.float32), self._labels)


def _open_dataset(bundle: Bundle, path: str | Path, options: DataOptions) -> LabelledData:
    return LabelledData.open(path, bundle.labels, class_ids=options.class_ids, split=options.split)


TASK = Task(
    name="toy",
    summary="names the lowest score",
    shape=TaskShape(True, None, check_scores),
    ranked=False,
    golden_inputs=FrameInputs,
    metric=Metric(key="hit_rate", name="hit rate", what="hit rate", section="toy", option="--min-hits"),
    head=LowestHead,
    judge=LowestJudge,
    open_dataset=_open_dataset,
    cpp="toy",
)
