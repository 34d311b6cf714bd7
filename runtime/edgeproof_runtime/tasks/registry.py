"""The registry of tasks, one record each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_shapes import SHAPES
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.tasks import classify, generate, multilabel, reconstruct
from edgeproof_runtime.tasks.record import GoldenInputs, Head, Judge, Task
from edgeproof_runtime.tasks.unknown import UnknownRule

__all__ = ["TASKS", "golden_inputs_of", "head_of", "judge_of", "registered", "task_named", "task_of"]

TASKS: dict[str, Task] = {task.name: task for task in (classify.TASK, multilabel.TASK, reconstruct.TASK, generate.TASK)}


def task_named(name: str) -> Task:
    """Return the record of a task.

    Raises:
        InputError: the name is unknown.
    """
    if name not in TASKS:
        raise InputError("unknown task", got=name, expected=", ".join(TASKS), fix="upgrade edgeproof")
    return TASKS[name]


def task_of(bundle: Bundle) -> Task:
    """Return the record of a bundle's task.

    Raises:
        InputError: the task is unknown.
    """
    return task_named(bundle.manifest.task)


def head_of(bundle: Bundle, unknown: UnknownRule | None = None) -> Head:
    """Build the head that turns the model's outputs for one frame into a prediction.

    Args:
        bundle: its task decides.
        unknown: when a frame shows none of the model's classes; None: it always shows one.

    Raises:
        InputError: the bundle's task takes no frames, or has no unknown ones.
    """
    task = task_of(bundle)
    if task.head is None:
        raise InputError(
            f"{bundle.path}: takes no frames",
            got=f"task {task.name}, which {task.summary}",
            expected="a bundle that takes frames",
            fix=f"edgeproof {task.first_use.format(bundle=bundle.path)}",
        )
    if unknown is None:
        return task.head(bundle)
    if task.unknown_head is None:
        raise InputError(
            f"--unknown: does not apply to {bundle.path}",
            got=f"task {task.name}, which {task.summary} by thresholds of its own",
            expected="task classify, whose prediction is always one of the classes without a rule",
            fix="leave it out",
        )
    return task.unknown_head(bundle, unknown)


def judge_of(bundle: Bundle) -> Judge:
    """Build the judge that evaluates predictions for labelled frames.

    Raises:
        InputError: the bundle's task is not evaluated on datasets.
    """
    task = task_of(bundle)
    if task.judge is None:
        raise InputError(f"{bundle.path}: cannot be evaluated", got=f"task {task.name}, which {task.summary}")
    return task.judge(bundle)


def golden_inputs_of(bundle: Bundle) -> GoldenInputs:
    """Build the inputs of the bundle's golden cases, computed on this machine."""
    return task_of(bundle).golden_inputs(bundle)


@contextmanager
def registered(task: Task) -> Iterator[None]:
    """Add a task within a ``with`` block: for tests, and for packages that bring another task."""
    if task.name in TASKS:
        raise ValueError(f"task {task.name}: already registered")
    TASKS[task.name], SHAPES[task.name] = task, task.shape
    try:
        yield
    finally:
        del TASKS[task.name], SHAPES[task.name]
