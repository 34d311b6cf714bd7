"""Lower bounds of a task's metric, as options name them."""

from __future__ import annotations

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.tasks.record import Metric
from edgeproof_runtime.tasks.registry import task_of

__all__ = ["Bound", "bound_of"]

Bound = tuple[Metric, float]


def bound_of(bundle: Bundle, *, min_top1: float | None, min_auroc: float | None, min_map: float | None) -> Bound | None:
    """Return the metric of a bundle's task and its lower bound; None where no bound is given.

    Raises:
        InputError: a bound is of another task's metric.
    """
    task = task_of(bundle)
    given = {"--min-top1": min_top1, "--min-auroc": min_auroc, "--min-map": min_map}
    found = [(task.require_metric(option), value) for option, value in given.items() if value is not None]
    return found[0] if found else None
