"""Say in notes why a model was added or not."""

from __future__ import annotations

from collections.abc import Sequence

from edgeproof_export.optimize.points import Point, Ranked

__all__ = ["remarks"]

_NAMED = 3


def remarks(last: Point, ranking: Sequence[Ranked], max_drop: float) -> list[str]:
    """Return notes on the last point of a search, if any.

    Args:
        last: the added point, or the last one that was tried.
        ranking: layers by cost of their quantisation, most sensitive first; may be empty.
        max_drop: accuracy budget.
    """
    name, drop = last.model, f"{100 * last.paired.drop:.2f} points below fp32"
    layers = f" with {len(last.restored)} layers restored to fp32" if last.restored else ""
    slow = "" if last.pays() or last.speed is None else f"not faster than fp32 on this machine ({last.speed.sentence})"
    if last.chosen:
        return [f"{name}: within the budget, {slow}; auto decides on the device."] if slow else []
    missed = f"and {slow}" if slow else f"misses the budget of {100 * max_drop:g} %"
    what = f"{drop}{layers}, {missed}" if slow else f"{missed}, {drop}{layers}"
    return [f"{name}: not added: {what}.{_why(ranking)}"]


def _why(ranking: Sequence[Ranked]) -> str:
    """Name the layers whose rounding costs most, or say that the cost is spread."""
    costly = [one for one in ranking if one.cost > 0]
    if not costly:
        return ""
    total = sum(one.cost for one in costly)
    named = ", ".join(f"{one.layer} ({one.operator}, {one.cost / total:.0%})" for one in costly[:_NAMED])
    return f" Of the divergence that rounding causes, most comes from {named} of {len(ranking)} layers."
