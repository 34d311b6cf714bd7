"""The record of a task, and the protocols of its parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle, GoldenCase
from edgeproof_runtime.bundle.task_shapes import TaskShape
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.unknown import UnknownRule

if TYPE_CHECKING:  # what evaluates is not loaded before it is asked for
    from edgeproof_runtime.data.dataset import LabelledImages
    from edgeproof_runtime.data.options import DataOptions

__all__ = ["GoldenInputs", "Head", "Judge", "Metric", "OpenDataset", "Task"]

Head = Callable[[tuple[Tensor, ...]], Decision]
"""Turns the model's outputs for a batch of one into a prediction."""


class GoldenInputs(Protocol):
    """The model's inputs for the golden cases, computed on this machine."""

    def fill(self, case: GoldenCase, slot: Tensor) -> None:
        """Write a case's input into ``slot``, one input without the batch dimension."""

    def gates(self, cases: Sequence[GoldenCase]) -> list[Gate]:
        """Return the gates that require no engine, at least one."""


class Judge(Protocol):
    """Collects predictions for labelled frames, and evaluates them."""

    @property
    def n(self) -> int:
        """Labelled frames so far."""

    def add(self, decision: Decision, truth: str, name: str) -> str:
        """Take one labelled frame of a stream.

        Args:
            decision: prediction of the same bundle's head.
            truth: the frame's label.
            name: name of the frame, for errors.

        Returns:
            The ground truth in the words of the prediction's label.

        Raises:
            InputError: the model has no such label.
        """

    def add_batch(
        self, outputs: tuple[Tensor, ...], data: LabelledImages[Any], targets: Sequence[Any]
    ) -> Sequence[Decision]:
        """Take a batch of a dataset.

        Args:
            outputs: the model's outputs, ``N x ...`` each.
            data: dataset from `Task.open_dataset`.
            targets: targets of the ``N`` samples, from ``data``.

        Returns:
            The predictions.
        """

    def truth_of(self, data: LabelledImages[Any], target: Any) -> str:
        """Return a sample's ground truth in the words of the prediction's label."""

    def row(self, data: LabelledImages[Any], target: Any, decision: Any) -> dict[str, str | float | bool | None]:
        """Return what a table of images says of a sample: ``ground_truth``, ``label``, ``correct``, then figures.

        Args:
            data: dataset from `Task.open_dataset`.
            target: the sample's target, from ``data``.
            decision: its prediction, from `add_batch`.

        Returns:
            The same keys in the same order for every sample.
        """

    def notes(self, data: LabelledImages[Any]) -> list[str]:
        """List what people should know about the samples so far, in sentences."""

    def label_gates(self) -> list[Gate]:
        """Return the failed gates of a dataset whose labels cannot be right; empty if they may be."""

    def counts(self) -> dict[str, int]:
        """Return further counts for the report."""

    def reference_gate(self, reference: Mapping[str, Any], max_drop: float) -> Gate | None:
        """Return the gate on the drop from PyTorch on the same samples; None if the export did not measure it.

        Args:
            reference: the metric's section in the report of the export.
            max_drop: largest drop of the metric, 0..1.
        """

    def figures(self) -> dict[str, float | None]:
        """Return the figures that a gate may bound, by name; empty before the first labelled frame."""

    def sections(self) -> dict[str, Any]:
        """Return the report's sections, by key; empty before the first labelled frame."""


class OpenDataset(Protocol):
    """Opens labelled samples for a bundle."""

    def __call__(self, bundle: Bundle, path: str | Path, options: DataOptions) -> LabelledImages[Any]:
        """Open a dataset.

        Args:
            bundle: its classes are the samples' classes.
            path: a folder or a file.
            options: split, order of the classes, EXIF.

        Raises:
            InputError: the dataset cannot be read, or its labels do not match the model's.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The figure by which a task's models are compared.

    Attributes:
        key: its key in `Judge.figures`, such as ``top1``.
        name: short name of the figure and of its gate, such as ``top-1``.
        what: what is measured, in one clause: ``top-1 accuracy``.
        section: section of the report that holds it under ``key``.
        option: command-line option that bounds it, such as ``--min-top1``.
    """

    key: str
    name: str
    what: str
    section: str
    option: str

    def gate(self, figures: Mapping[str, float | None], minimum: float, of: str = "") -> Gate:
        """Return the gate of a lower bound; without labelled samples it fails.

        Args:
            figures: from `Judge.figures`.
            minimum: the bound.
            of: the samples, for people, such as `` of the labelled frames``.
        """
        value = figures.get(self.key)
        measured = {self.key: float("nan") if value is None else value}
        what = f"{self.what}{of} with {self.option}"
        return Gate.judge(self.name, what, measured, at_least={self.key: minimum})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Everything that is true of one task. `edgeproof_runtime.tasks.registry` lists them.

    Attributes:
        name: name in ``bundle.json`` and reports.
        summary: what its models do, in one clause: ``classifies images``.
        shape: requirements on its manifests, such as whether the model takes frames.
        ranked: the outputs are scores of classes, so that parity compares the top-1 prediction.
        golden_inputs: builds the inputs of the golden cases.
        metric: figure by which models are compared; None if the task is not evaluated on datasets.
        head: builds predictions; None if the model takes no frames.
        unknown_head: builds predictions that may be ``unknown`` by a rule; None if the task has no such predictions.
        judge: evaluates predictions; None if the task is not evaluated on datasets.
        open_dataset: opens labelled samples; None if the task is not evaluated on datasets.
        first_use: arguments of the first command for a new bundle; ``{bundle}`` stands for its path.
        unactivated: what outputs without an activation hold, for people: ``logits``.
        cpp: stem of the C++ counterpart in ``runtime/cpp/app/tasks``.
    """

    name: str
    summary: str
    shape: TaskShape
    ranked: bool
    golden_inputs: Callable[[Bundle], GoldenInputs]
    metric: Metric | None
    head: Callable[[Bundle], Head] | None
    judge: Callable[[Bundle], Judge] | None
    open_dataset: OpenDataset | None
    unknown_head: Callable[[Bundle, UnknownRule], Head] | None = None
    first_use: str = "run {bundle} --source 0"
    unactivated: str = "as it is"
    cpp: str

    @property
    def takes_frames(self) -> bool:
        """Whether the model's input is made of a frame; if False, it is a latent vector."""
        return self.shape.takes_frames

    def __post_init__(self) -> None:
        measured = (self.metric, self.judge, self.open_dataset)
        if any(part is None for part in measured) != all(part is None for part in measured):
            raise ValueError(f"task {self.name}: metric, judge and open_dataset belong together")

    def require_metric(self, option: str) -> Metric:
        """Return the metric that ``option`` bounds.

        Raises:
            InputError: the option bounds another task's metric.
        """
        if self.metric is None or self.metric.option != option:
            fix = "leave it out" if self.metric is None else f"use {self.metric.option}"
            raise InputError(f"{option}: does not apply to this bundle", got=f"task {self.name}", fix=fix)
        return self.metric
