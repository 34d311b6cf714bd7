"""The task ``multilabel``: any number of labels per image, each from its own threshold upwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_shapes import SHAPES
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.decision import Decision, EventValues, Row
from edgeproof_runtime.tasks.display import html_of, text_of
from edgeproof_runtime.tasks.golden_inputs import FrameInputs
from edgeproof_runtime.tasks.record import Metric, Task

if TYPE_CHECKING:  # see record.py
    from edgeproof_runtime.data.dataset import LabelledImages
    from edgeproof_runtime.data.multilabel import MultilabelData
    from edgeproof_runtime.data.options import DataOptions
    from edgeproof_runtime.metrics.multilabel import MultilabelResult

__all__ = ["NO_LABEL", "TASK", "MultilabelHead", "MultilabelJudge", "MultilabelPrediction", "multilabel_head"]

NO_LABEL = "none"
"""Label of a frame that shows none of the classes."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MultilabelPrediction:
    """The labels of one frame.

    Attributes:
        probabilities: float32, contiguous, one per class, independent of each other.
        thresholds: float64, one per class.
        labels: one per class; empty where the bundle has none.
    """

    probabilities: NDArray[np.float32]
    thresholds: NDArray[np.float64]
    labels: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return text_of(self)

    def _repr_html_(self) -> str:
        return html_of(self)

    @property
    def present_indices(self) -> list[int]:
        """Class indices whose probability reaches its threshold, ascending; NaN reaches none."""
        return [int(index) for index in np.flatnonzero(self.probabilities >= self.thresholds)]

    @property
    def present(self) -> list[tuple[str, float]]:
        """The frame's labels as (label, probability), by class index."""
        return [(self.label_of(index), float(self.probabilities[index])) for index in self.present_indices]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The ``k`` most probable classes as (label, probability), present or not, most probable first."""
        ranked = _native.top_k(self.probabilities, max(0, k))
        return [(self.label_of(index), float(probability)) for index, probability in ranked]

    def label_of(self, index: int) -> str:
        """The label of a class, or its index where the bundle has no labels."""
        return self.labels[index] if self.labels else str(index)

    def name_of(self, indices: Sequence[int]) -> str:
        """Several labels as one text: ``cat, dog``."""
        return ", ".join(self.label_of(index) for index in indices) or NO_LABEL

    @property
    def label(self) -> str:
        """All labels of the frame, by class index: ``cat, dog``, or ``none``."""
        return self.name_of(self.present_indices)

    @property
    def probability(self) -> None:
        """None: every label has its own."""
        return None

    @property
    def detail(self) -> None:
        """The probability says it."""
        return None

    @property
    def headline(self) -> str:
        """Labels and probabilities for a status line."""
        return ", ".join(f"{label} {probability:.0%}" for label, probability in self.present) or NO_LABEL

    @property
    def unknown(self) -> bool:
        """False: no rule applies to this task."""
        return False

    def rows(self, k: int) -> list[Row]:
        """The present labels, then the others, each by probability, for a panel."""
        found = set(self.present_indices)
        order = [index for index, _ in _native.top_k(self.probabilities, len(self.probabilities))]
        order.sort(key=lambda index: index not in found)
        return [self._row(index, present=index in found) for index in order[: max(0, k)]]

    def _row(self, index: int, *, present: bool) -> Row:
        probability, threshold = float(self.probabilities[index]), float(self.thresholds[index])
        sign = "≥" if present else "<"
        return Row(self.label_of(index), probability, f"{100 * probability:.1f} % {sign} {100 * threshold:.1f} %")

    def is_right(self, truth: str) -> bool:
        """Whether the labels are exactly those of ``truth``: ``cat|dog``, or ``none``."""
        return self.present_indices == _indices_of(truth, [self.label_of(i) for i in range(len(self.probabilities))])

    def over(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame as it is."""
        return image

    def to_json(self, k: int) -> dict[str, Any]:
        """``labels``: those of the frame; ``top``: the ``k`` most probable classes, present or not."""

        def listed(pairs: list[tuple[str, float]]) -> list[dict[str, Any]]:
            return [{"label": label, "probability": probability} for label, probability in pairs]

        return {"labels": listed(self.present), "top": listed(self.top(k))}

    def event_values(self, threshold: float, top_k: int) -> EventValues:  # noqa: ARG002 - the bundle has its own
        """One value per class, its probability, and its own threshold; any number may count at once."""
        values = self.probabilities.astype(np.float64)
        return EventValues(values, self.thresholds, len(values), self.label_of, "probability")


class MultilabelHead:
    """Turns the outputs for a batch of one into a `MultilabelPrediction`."""

    def __init__(self, thresholds: Sequence[float], labels: tuple[str, ...]) -> None:
        self.thresholds: NDArray[np.float64] = np.asarray(thresholds, np.float64)
        self.labels = labels

    def __call__(self, outputs: tuple[Tensor, ...]) -> MultilabelPrediction:
        return self.of(outputs[0][0])

    def of(self, probabilities: Tensor) -> MultilabelPrediction:
        """The prediction of one frame's probabilities."""
        return MultilabelPrediction(np.ascontiguousarray(probabilities, np.float32), self.thresholds, self.labels)


class MultilabelJudge:
    """mAP, precision, recall and F1; a frame's label is ``cat|dog`` (it shows both) or ``none``."""

    def __init__(self, bundle: Bundle) -> None:
        from edgeproof_runtime.data.multilabel import shown_matrix
        from edgeproof_runtime.metrics.multilabel import MultilabelMeter

        self._shown_matrix = shown_matrix
        self._head = multilabel_head(bundle)
        self._meter = MultilabelMeter(self._head.thresholds.tolist())
        classes = bundle.manifest.outputs[0].shape[0]
        self._names = bundle.labels or tuple(str(index) for index in range(classes))

    @property
    def n(self) -> int:
        return self._meter.n

    def add(self, decision: Decision, truth: str, name: str) -> str:
        if not isinstance(decision, MultilabelPrediction):
            raise TypeError(f"a {type(decision).__name__} is not a multi-label prediction")
        indices = _indices_of(truth, self._names)
        if indices is None:
            raise InputError(
                f"{name}: the model does not know this label",
                got=truth,
                expected=f"labels of the bundle, several as cat|dog, or {NO_LABEL}",
            )
        self._meter.update(decision.probabilities[None], self._shown_matrix([indices], len(self._names)))
        return decision.name_of(indices)

    def add_batch(
        self,
        outputs: tuple[Tensor, ...],
        data: LabelledImages[Any],  # noqa: ARG002
        targets: Sequence[tuple[int, ...]],
    ) -> list[MultilabelPrediction]:
        self._meter.update(outputs[0], self._shown_matrix(targets, len(self._names)))
        return [self._head.of(row) for row in outputs[0]]

    def truth_of(self, data: LabelledImages[Any], target: tuple[int, ...]) -> str:  # noqa: ARG002
        return ", ".join(self._names[index] for index in target) or NO_LABEL

    def row(
        self,
        data: LabelledImages[Any],  # noqa: ARG002
        target: tuple[int, ...],
        decision: MultilabelPrediction,
    ) -> dict[str, str | float | bool | None]:
        def joined(indices: Sequence[int]) -> str:
            return "|".join(self._names[index] for index in indices) or NO_LABEL

        shown = sorted(target)
        found: dict[str, str | float | bool | None] = {
            "ground_truth": joined(shown),
            "label": joined(decision.present_indices),
            "correct": shown == decision.present_indices,
        }
        for index, name in enumerate(self._names):
            key = f"probability {name}"
            found[key if key not in found else f"{key} ({index})"] = float(decision.probabilities[index])
        return found

    @property
    def result(self) -> MultilabelResult | None:
        """Of everything so far; None before the first labelled frame."""
        return self._meter.result() if self._meter.n else None

    def notes(self, data: LabelledImages[Any]) -> list[str]:  # noqa: ARG002
        return []

    def label_gates(self) -> list[Gate]:
        return []

    def counts(self) -> dict[str, int]:
        return {}

    def reference_gate(self, reference: Mapping[str, Any], max_drop: float) -> Gate | None:
        found, key = self.result, "mean_average_precision"
        if found is None or found.mean_average_precision is None or reference.get(key) is None:
            return None
        drop = reference[key] - found.mean_average_precision
        return Gate.judge(
            "drop from PyTorch",
            "mAP with PyTorch's on the same images at the export",
            {"n": float(self.n), "torch_map": reference[key], "drop": drop},
            at_most={"drop": max_drop},
        )

    def figures(self) -> dict[str, float | None]:
        found = self.result
        if found is None:
            return {}
        return {
            "mean_average_precision": found.mean_average_precision,
            "micro_f1": found.micro.f1,
            "macro_f1": found.macro.f1,
            "exact_match": found.exact_match,
        }

    def sections(self) -> dict[str, Any]:
        found = self.result
        return {} if found is None else {"multilabel": found.to_json(self._names)}


def _indices_of(truth: str, names: Sequence[str]) -> list[int] | None:
    """Class indices of ``cat|dog``, ascending; None where a label is unknown."""
    from edgeproof_runtime.data.clip_labels import alternatives

    if truth == NO_LABEL and NO_LABEL not in names:
        return []
    labels = alternatives(truth)
    if not set(labels) <= set(names):
        return None
    return [index for index, name in enumerate(names) if name in labels]


def multilabel_head(bundle: Bundle) -> MultilabelHead:
    """The head of a multi-label model.

    Raises:
        InputError: the bundle's task is not ``multilabel``.
    """
    settings = bundle.manifest.multilabel
    if settings is None:
        raise InputError(
            f"{bundle.path}: no label thresholds", got=f"task {bundle.manifest.task}", expected="task multilabel"
        )
    return MultilabelHead(settings.thresholds, bundle.labels)


def _open_dataset(bundle: Bundle, path: str | Path, options: DataOptions) -> MultilabelData:
    from edgeproof_runtime.data.multilabel import MultilabelData
    from edgeproof_runtime.data.splits import same_split

    for option, value in (("--class-ids", options.class_ids), ("--class-order", options.class_order)):
        if value is not None:
            raise InputError(f"{option}: does not apply to this bundle", got="task multilabel", fix="leave it out")
    file = Path(path)
    if (
        options.split is not None
        and file.suffix.lower() in (".csv", ".json")
        and not same_split(file.stem, options.split)
    ):
        raise InputError(
            f"{path}: no split {options.split}",
            got="one label file",
            expected="a folder with one per split",
            fix="leave --split out",
        )
    labels = bundle.labels or tuple(str(i) for i in range(bundle.manifest.outputs[0].shape[0]))
    return MultilabelData.open(path, labels, split=options.split, prefer=options.prefer, exif=options.exif)


TASK = Task(
    name="multilabel",
    summary="gives images any number of labels",
    shape=SHAPES["multilabel"],
    ranked=False,
    golden_inputs=FrameInputs,
    metric=Metric(
        key="mean_average_precision",
        name="mAP",
        what="mean average precision",
        section="multilabel",
        option="--min-map",
    ),
    head=multilabel_head,
    judge=MultilabelJudge,
    open_dataset=_open_dataset,
    cpp="multilabel",
)
