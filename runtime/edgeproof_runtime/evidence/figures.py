"""Figures of a report that a comparison may rely on: finite, in range, or an error that names them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.tasks.registry import TASKS

__all__ = ["Quality", "figure", "optional_figure", "quality_of", "times"]


@dataclass(frozen=True, slots=True)
class Quality:
    """What labelled data says about a configuration.

    Attributes:
        metric: name of the figure by which models of the task are compared, such as ``top-1``.
        value: the figure, 0..1.
        ci95: ends of its 95 % interval, if the report has one.
    """

    metric: str
    value: float
    ci95: tuple[float, float] | None


def figure(value: Any, what: str, *, least: float = -math.inf, most: float = math.inf, above: bool = False) -> float:
    """Return a number of a report.

    Args:
        value: the value read.
        what: the figure and its configuration, for the error.
        least: smallest valid number.
        most: largest valid number.
        above: whether ``least`` itself is invalid.

    Raises:
        InputError: not a number, not finite or out of range.
    """
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not (math.isfinite(number) and least <= number <= most) or (above and number == least):
        lower = "" if least == -math.inf else f" {'above' if above else 'from'} {least:g}"
        upper = "" if most == math.inf else f" to {most:g}"
        raise InputError(
            f"report: {what}: not a valid figure",
            got=str(number if isinstance(value, int) else value)[:80],
            expected=f"a finite number{lower}{upper}",
            fix="measure again",
        )
    return number


def optional_figure(value: Any, what: str) -> float | None:
    """Return a number above 0 of a report, or None for null.

    Raises:
        InputError: neither.
    """
    return None if value is None else figure(value, what, least=0, above=True)


def times(values: Any, what: str) -> NDArray[np.float64]:
    """Return a series of numbers above 0.

    Raises:
        InputError: not a list of such numbers, or an empty one.
    """
    if not isinstance(values, list | tuple) or not values:
        raise InputError(f"report: {what}: not a list of figures", got=str(values)[:80], fix="measure again")
    return np.array([figure(value, what, least=0, above=True) for value in values], np.float64)


def quality_of(sections: Mapping[str, Any], what: str) -> Quality | None:
    """Return the figure of the first section of labelled data that a report or configuration holds.

    Raises:
        InputError: the figure or its interval is invalid.
    """
    for metric in (task.metric for task in TASKS.values() if task.metric is not None):
        section = sections.get(metric.section)
        if not isinstance(section, Mapping) or section.get(metric.key) is None:
            continue
        name = f"{metric.name} of {what}"
        ends = section.get("ci95") if metric.section != "anomaly" else None
        interval = None
        if ends is not None:
            if not isinstance(ends, list | tuple) or len(ends) != 2:
                raise InputError(f"report: interval of {name}: not two figures", got=str(ends)[:80])
            interval = (
                figure(ends[0], f"interval of {name}", least=0, most=1),
                figure(ends[1], f"interval of {name}", least=0, most=1),
            )
        return Quality(metric.name, figure(section[metric.key], name, least=0, most=1), interval)
    return None
