"""A fixed piece of work, timed beside what is measured: it tells a slower machine from a slower engine."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.measure.turns import Block, Plan, timed_block

__all__ = ["yardstick"]

_SIDE = 96  # small enough that BLAS libraries keep to one thread, which would spin on into the next block


@cache
def _matrix() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(_SIDE, _SIDE)).astype(np.float32)


def yardstick() -> Block:
    """One block of small matrix products."""
    matrix = _matrix()

    def work() -> None:
        for _ in range(8):
            matrix @ matrix

    return timed_block(work, Plan(block_ms=5.0, untimed_ms=1.0))()
