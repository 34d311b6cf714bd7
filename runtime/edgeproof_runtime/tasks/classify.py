"""The task ``classify``: labels with probabilities from the model's output, and their accuracy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.manifest import Activation
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_shapes import SHAPES
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.decision import Decision, EventValues, Row
from edgeproof_runtime.tasks.display import html_of, text_of
from edgeproof_runtime.tasks.golden_inputs import FrameInputs
from edgeproof_runtime.tasks.record import Metric, Task
from edgeproof_runtime.tasks.unknown import UNKNOWN, UnknownRule, known_scores, scores_for

if TYPE_CHECKING:  # see record.py
    from edgeproof_runtime.data.dataset import LabelledData, LabelledImages
    from edgeproof_runtime.data.options import DataOptions
    from edgeproof_runtime.metrics.accuracy import AccuracyResult
    from edgeproof_runtime.metrics.label_check import LabelCheck

__all__ = ["TASK", "ClassJudge", "ClassifyHead", "Prediction", "classify_head", "probabilities"]


_RANKED = 5  # classes in a row of a table of images


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prediction:
    """The prediction for one frame.

    Attributes:
        probabilities: float32, contiguous, one per class; their sum is 1, except with a sigmoid output.
        labels: one per class; empty if the bundle has none.
        rule: when the frame shows none of the classes; None: it always shows one.
        known: the rule's score of this frame.
        shown: gives the frame again, BGR or gray, for notebooks; None, or a function that returns None, without one.
    """

    probabilities: NDArray[np.float32]
    labels: tuple[str, ...] = ()
    rule: UnknownRule | None = None
    known: float = math.nan
    shown: Callable[[], NDArray[Any] | None] | None = None

    def __repr__(self) -> str:
        return text_of(self)

    def _repr_html_(self) -> str:
        return html_of(self, self.shown() if self.shown is not None else None)

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """List the ``k`` most probable classes as (label, probability), most probable first."""
        return [(self.label_of(index), float(self.probabilities[index])) for index in self.top_indices(k)]

    def top_indices(self, k: int = 5) -> list[int]:
        """List the indices of the ``k`` most probable classes; of equals the lower index comes first."""
        return [index for index, _ in _native.top_k(self.probabilities, max(0, k))]

    def label_of(self, index: int) -> str:
        """Return the label of a class, or its index if the bundle has no labels."""
        return self.labels[index] if self.labels else str(index)

    @property
    def unknown(self) -> bool:
        """Whether the rule says that the frame shows none of the classes."""
        return self.rule is not None and not self.rule.knows(self.known)

    @property
    def label(self) -> str:
        """The most probable label, or ``unknown``."""
        return UNKNOWN if self.unknown else self.label_of(_native.top_k(self.probabilities, 1)[0][0])

    @property
    def probability(self) -> float | None:
        """Probability of the most probable label; None if the frame is unknown."""
        return None if self.unknown else float(self.probabilities.max())

    @property
    def detail(self) -> str | None:
        """The nearest class of an unknown frame; None of others, whose probability is the figure."""
        if not self.unknown:
            return None
        ((label, probability),) = self.top(1)
        return f"nearest: {label} {probability:.0%}"

    @property
    def headline(self) -> str:
        """Label and probability for a status line."""
        return f"{self.label} {self.probability:.0%}" if not self.unknown else f"{UNKNOWN} ({self.detail})"

    def rows(self, k: int) -> list[Row]:
        """List the ``k`` most probable classes for a panel; of an unknown frame, first that it is."""
        ranked = [Row(label, probability, f"{100 * probability:.1f} %") for label, probability in self.top(k)]
        if self.rule is None or not self.unknown:
            return ranked
        return [Row(UNKNOWN, 0.0, f"{self.rule.score} {self.known:.3g} < {self.rule.limit:.3g}"), *ranked][:k]

    def is_right(self, truth: str) -> bool:
        """Return whether the most probable label is ``truth``."""
        return self.label == truth

    def over(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frame as it is, uint8 ``HxWx3`` or ``HxW``."""
        return image

    def to_json(self, k: int) -> dict[str, Any]:
        """Return ``top``: the ``k`` most probable labels with their probabilities; with a rule also ``unknown``."""
        top = {"top": [{"label": label, "probability": probability} for label, probability in self.top(k)]}
        if self.rule is None:
            return top
        known = {"score": self.rule.score, "value": self.known, "limit": self.rule.limit}
        return {**top, "unknown": {"unknown": self.unknown, **known}}

    def event_values(self, threshold: float, top_k: int) -> EventValues:
        """Return one value per class: its probability, or 0 if the frame is unknown."""
        values = self.probabilities.astype(np.float64)
        if self.unknown:
            values = np.zeros_like(values)
        return EventValues(values, np.full(values.shape, threshold), top_k, self.label_of, "probability")


class ClassifyHead:
    """Turns the outputs for a batch of one into a `Prediction`."""

    def __init__(self, labels: tuple[str, ...], activation: Activation, rule: UnknownRule | None = None) -> None:
        self._labels = labels
        self._activation = activation
        self._rule = rule

    def __call__(
        self, outputs: tuple[Tensor, ...], shown: Callable[[], NDArray[Any] | None] | None = None
    ) -> Prediction:
        found, rule = probabilities(outputs[0][0], self._activation), self._rule
        known = math.nan if rule is None else known_scores(rule.score, outputs[0][0], found)[0]
        return Prediction(found, self._labels, rule, known, shown)


def probabilities(output: Tensor, activation: Activation) -> NDArray[np.float32]:
    """Compute class probabilities of a frame or of a batch.

    Args:
        output: ``classes`` or ``N x classes``, from the model.
        activation: what the graph has already applied; ``none`` means logits, to which softmax is applied.

    Returns:
        float32, shaped like ``output``.
    """
    if activation != "none":
        return np.ascontiguousarray(output, np.float32)
    values = output.astype(np.float32, order="C")
    _native.softmax(values)
    return values


def classify_head(bundle: Bundle, rule: UnknownRule | None = None) -> ClassifyHead:
    """Build the head of a classifier.

    Args:
        bundle: the classifier.
        rule: when a frame shows none of the classes; None: it always shows one.

    Raises:
        InputError: the bundle's task is not ``classify``, or its outputs do not allow the rule's score.
    """
    if bundle.manifest.task != "classify":
        raise InputError(
            f"{bundle.path}: not a classifier", got=f"task {bundle.manifest.task}", expected="task classify"
        )
    activation = bundle.manifest.outputs[0].activation
    if rule is not None and rule.score not in scores_for(activation):
        raise InputError(
            f"{bundle.path}: {rule.score} requires logits",
            got=f"outputs after {activation}",
            expected="a model without an activation at its end",
            fix=f"use {' or '.join(scores_for(activation))}",
        )
    return ClassifyHead(bundle.labels, activation, rule)


class ClassJudge:
    """Accuracy; a frame's label is one of the bundle's, a class id, or several with ``|``."""

    def __init__(self, bundle: Bundle) -> None:
        from edgeproof_runtime.metrics.accuracy import AccuracyMeter

        self._labels = bundle.labels
        self._activation: Activation = bundle.manifest.outputs[0].activation
        self._meter = AccuracyMeter(bundle.manifest.outputs[0].shape[0])
        self._random = str(bundle.manifest.provenance.get("weights", "")).startswith("random")
        self._classes: dict[str, list[int]] = {}
        for names in (bundle.labels, bundle.class_ids):
            for index, name in enumerate(names):
                self._classes.setdefault(name, []).append(index)

    @property
    def n(self) -> int:
        return self._meter.n

    def add(self, decision: Decision, truth: str, name: str) -> str:
        if not isinstance(decision, Prediction):
            raise TypeError(f"a {type(decision).__name__} is not a prediction of a class")
        from edgeproof_runtime.data.clip_labels import alternatives

        # Several classes may be right, or share a label (ImageNet's crane): the most probable counts.
        classes = [index for label in alternatives(truth) for index in self._classes.get(label, ())]
        if not classes:
            raise InputError(
                f"{name}: the model does not know this label",
                got=truth,
                expected="a label or a class id of the bundle",
            )
        target = max(classes, key=lambda index: float(decision.probabilities[index]))
        self._meter.update(decision.probabilities[None], [target])
        return decision.label_of(target)

    def add_batch(
        self,
        outputs: tuple[Tensor, ...],
        data: LabelledImages[Any],  # noqa: ARG002
        targets: Sequence[int],
    ) -> list[Prediction]:
        scores = probabilities(outputs[0], self._activation)
        self._meter.update(scores, targets)
        return [Prediction(row, self._labels) for row in scores]

    def truth_of(self, data: LabelledImages[Any], target: int) -> str:  # noqa: ARG002
        return self._labels[target] if self._labels else str(target)

    def row(self, data: LabelledImages[Any], target: int, decision: Prediction) -> dict[str, str | float | bool | None]:
        first, *others = ranked = _native.top_k(decision.probabilities, _RANKED)
        margin = first[1] - others[0][1] if others else None
        found: dict[str, str | float | bool | None] = {
            "ground_truth": self.truth_of(data, target),
            "label": decision.label_of(first[0]),
            "correct": first[0] == target,
            "probability": float(first[1]),
            "margin": None if margin is None else float(margin),
        }
        for rank, (index, probability) in enumerate(ranked[1:], 2):
            found |= {f"label_{rank}": decision.label_of(index), f"probability_{rank}": float(probability)}
        return found

    @property
    def accuracy(self) -> AccuracyResult | None:
        """Accuracy so far; None before the first labelled frame."""
        return self._meter.result() if self._meter.n else None

    def notes(self, data: LabelledImages[Any]) -> list[str]:
        """Warn if labels cannot be right, or if numbered classes look like another model's."""
        suspicious = self._label_check().sentences()
        classes, highest = self._meter.classes, max(data.targets, default=0)
        if data.names or highest >= classes // 2:
            return suspicious
        first = self._labels[0] if self._labels else "class 0"
        return [
            *suspicious,
            f"The dataset has classes 0 to {highest}, the model {classes}: the dataset's class 0 counts as {first}.",
        ]

    def label_gates(self) -> list[Gate]:
        return self._label_check().gates(trained=not self._random)

    def _label_check(self) -> LabelCheck:
        from edgeproof_runtime.metrics.label_check import check_labels

        return check_labels(self._meter.halves, self._meter.classes, self._labels)

    def counts(self) -> dict[str, int]:
        accuracy = self.accuracy
        return {} if accuracy is None else {"correct": accuracy.correct}

    def reference_gate(self, reference: Mapping[str, Any], max_drop: float) -> Gate | None:
        accuracy = self.accuracy
        if accuracy is None or not {"torch_correct", "n"} <= set(reference):
            return None
        drop = (reference["torch_correct"] - accuracy.correct) / accuracy.n
        return Gate.judge(
            "drop from PyTorch",
            "top-1 accuracy with PyTorch's on the same images at the export",
            {"n": float(accuracy.n), "torch_top1": reference["torch_correct"] / reference["n"], "drop": drop},
            at_most={"drop": max_drop},
        )

    def figures(self) -> dict[str, float | None]:
        accuracy = self.accuracy
        return {} if accuracy is None else {"top1": accuracy.top1, "top5": accuracy.top5, "f1": accuracy.f1}

    def sections(self) -> dict[str, Any]:
        accuracy = self.accuracy
        return {} if accuracy is None else {"accuracy": accuracy.to_json(self._labels)}


def _open_dataset(bundle: Bundle, path: str | Path, options: DataOptions) -> LabelledData:
    from edgeproof_runtime.data.dataset import LabelledData

    classes = bundle.manifest.outputs[0].shape[0]
    labels = bundle.labels or tuple(str(i) for i in range(classes))
    return LabelledData.open(
        path,
        labels,
        class_ids=options.class_ids or bundle.class_ids or None,
        split=options.split,
        prefer=options.prefer,
        class_order=options.class_order,
        exif=options.exif,
    )


TASK = Task(
    name="classify",
    summary="classifies images",
    shape=SHAPES["classify"],
    ranked=True,
    golden_inputs=FrameInputs,
    metric=Metric(key="top1", name="top-1", what="top-1 accuracy", section="accuracy", option="--min-top1"),
    head=classify_head,
    unknown_head=classify_head,
    judge=ClassJudge,
    open_dataset=_open_dataset,
    unactivated="logits",
    cpp="classify",
)
