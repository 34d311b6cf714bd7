"""Stop validating a graph as soon as it surely misses the budget."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["surely_above"]

_ALPHA = 0.01
_BETS = np.linspace(0.05, 0.95, 19)  # shares of the largest bet that cannot ruin


def surely_above(values: ArrayLike, bound: float, total: int, alpha: float = _ALPHA) -> bool:
    """Return whether the mean of all ``total`` values is above a bound, judged by those seen so far.

    The values are drawn at random without replacement. A bettor wins if they exceed what the bound leaves for the rest;
    if the mean is at most the bound, the capital is a nonnegative supermartingale, which reaches 1 / alpha with
    probability at most alpha (Ville). So it may be asked after every image. Source: I. Waudby-Smith, A. Ramdas,
    "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B 86 (2024), section 5 (without
    replacement); the capital is averaged over fixed shares to bet.

    Args:
        values: the values seen, in the order of drawing, within -1..1.
        bound: bound of the mean.
        total: number of all values.
        alpha: largest probability of a wrong True, over all looks together.
    """
    seen = np.asarray(values, np.float64)
    capital = np.ones_like(_BETS)
    left = bound * total
    for number, value in enumerate(seen):
        expected = left / (total - number)  # largest possible mean of the rest under the hypothesis
        if expected < -1.0:
            return True
        capital *= 1.0 + _BETS / (1.0 + expected) * (value - expected) if expected > -1.0 else 1.0
        if capital.mean() >= 1.0 / alpha:
            return True
        left -= value
    return False
