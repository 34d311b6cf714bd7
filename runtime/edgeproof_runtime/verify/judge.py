"""Decisions about labelled frames held against their labels, whatever the task."""

from __future__ import annotations

from typing import Protocol

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import DEFECT, GOOD
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.accuracy import AccuracyMeter, AccuracyResult
from edgeproof_runtime.metrics.auroc import AnomalyMeter, AnomalyResult
from edgeproof_runtime.sources import alternatives
from edgeproof_runtime.tasks.classify import Prediction
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.reconstruct import Anomaly

__all__ = ["AnomalyJudge", "ClassJudge", "Judge", "judge_of"]


class Judge(Protocol):
    """Collects what labelled frames say about a model."""

    def add(self, decision: Decision, truth: str, name: str) -> str:
        """Take one labelled frame.

        Args:
            decision: from the head of the same bundle.
            truth: what the frame shows.
            name: of the frame, for an error.

        Returns:
            The truth as the model would call it.

        Raises:
            InputError: the model has no such label.
        """

    @property
    def accuracy(self) -> AccuracyResult | None:
        """Of the task ``classify``, once a frame was labelled."""

    @property
    def anomaly(self) -> AnomalyResult | None:
        """Of the task ``reconstruct``, once a frame was labelled."""


class ClassJudge:
    """Accuracy of the task ``classify``; a frame's label is one of the bundle's, a class id, or several with ``|``."""

    anomaly = None

    def __init__(self, bundle: Bundle) -> None:
        self._meter = AccuracyMeter(bundle.manifest.outputs[0].shape[0])
        self._classes: dict[str, list[int]] = {}
        for names in (bundle.labels, bundle.class_ids):
            for index, name in enumerate(names):
                self._classes.setdefault(name, []).append(index)

    def add(self, decision: Decision, truth: str, name: str) -> str:
        if not isinstance(decision, Prediction):
            raise TypeError(f"a {type(decision).__name__} is no prediction of a class")
        # Several classes may be right, or share a label (ImageNet's crane): the model's favourite is meant.
        classes = [index for label in alternatives(truth) for index in self._classes.get(label, ())]
        if not classes:
            raise InputError(
                f"{name} is labelled with something that the model does not know",
                got=truth,
                expected="a label or a class id of the bundle",
            )
        target = max(classes, key=lambda index: float(decision.probabilities[index]))
        self._meter.update(decision.probabilities[None], [target])
        return decision.label_of(target)

    @property
    def accuracy(self) -> AccuracyResult | None:
        return self._meter.result() if self._meter.n else None


class AnomalyJudge:
    """AUROC of the task ``reconstruct``; a frame's label is ``good``, or anything else for a kind of defect."""

    accuracy = None

    def __init__(self, threshold: float) -> None:
        self._meter = AnomalyMeter(threshold)

    def add(self, decision: Decision, truth: str, name: str) -> str:  # noqa: ARG002 - every name is a kind
        if not isinstance(decision, Anomaly):
            raise TypeError(f"a {type(decision).__name__} has no anomaly score")
        self._meter.update(truth, decision.score)
        return GOOD if truth == GOOD else DEFECT

    @property
    def anomaly(self) -> AnomalyResult | None:
        return self._meter.result() if self._meter.n else None


def judge_of(bundle: Bundle) -> Judge:
    """The judge of a bundle's task."""
    settings = bundle.manifest.anomaly
    return ClassJudge(bundle) if settings is None else AnomalyJudge(settings.threshold)
