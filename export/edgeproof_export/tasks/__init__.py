"""Export and optimisation steps of each task: one module per task, listed here.

PyTorch is imported only when a model is exported: `optimize` works without it.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeproof_export.tasks import classify, generate, multilabel, reconstruct
from edgeproof_export.tasks.budget import Budget
from edgeproof_export.tasks.record import ExportSteps
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError

__all__ = ["FOREIGN_TASKS", "STEPS", "budget_of", "steps_of"]

FOREIGN_TASKS = ("classify", "multilabel")
"""Tasks of models that were not trained by `edgeproof train`."""

STEPS: dict[str, ExportSteps] = {
    steps.task: steps for steps in (classify.STEPS, multilabel.STEPS, reconstruct.STEPS, generate.STEPS)
}


def steps_of(task: str) -> ExportSteps:
    """Return the export steps of a task.

    Raises:
        InputError: the task is unknown.
    """
    if task not in STEPS:
        raise InputError("unknown task", got=task, expected=", ".join(STEPS), fix="upgrade edgeproof")
    return STEPS[task]


def budget_of(bundle: Bundle, names: Sequence[str] = ()) -> Budget:
    """Return the metric of a bundle's accuracy budget.

    Args:
        bundle: the bundle.
        names: names of the dataset's targets.

    Raises:
        InputError: the task does not support an accuracy budget.
    """
    steps = steps_of(bundle.manifest.task)
    if steps.budget is None:
        able = ", ".join(name for name, other in STEPS.items() if other.can_optimize)
        raise InputError(
            f"{bundle.path}: cannot be optimised within an accuracy budget",
            got=f"task {steps.task}, which has no accuracy",
            expected=f"a bundle of task {able}",
        )
    return steps.budget(bundle, names)
