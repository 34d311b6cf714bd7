"""Lower bounds of a task's metric, as options name them."""

from __future__ import annotations

from typing import NamedTuple

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.tasks.record import Metric
from edgeproof_runtime.tasks.registry import task_of

__all__ = ["Bound", "bound_of"]


class Bound(NamedTuple):
    """Lower bound of a metric.

    Attributes:
        metric: the task's metric.
        least: lowest value that passes, 0..1.
    """

    metric: Metric
    least: float


def bound_of(bundle: Bundle, *, min_top1: float | None, min_auroc: float | None, min_map: float | None) -> Bound | None:
    """Return the metric of a bundle's task and its lower bound; None where no bound is given.

    Raises:
        InputError: a bound is of another task's metric.
    """
    task = task_of(bundle)
    given = {"--min-top1": min_top1, "--min-auroc": min_auroc, "--min-map": min_map}
    found = [Bound(task.require_metric(option), value) for option, value in given.items() if value is not None]
    return found[0] if found else None
