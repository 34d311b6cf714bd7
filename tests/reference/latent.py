"""Seeded normal numbers one by one, in Python's own integers and mathematics: the oracle of `latents`."""

from __future__ import annotations

import math

import numpy as np

_MASK = 2**64 - 1


def number(seed: int, index: int) -> float:
    """Number ``index`` of a seed's sequence, rounded to float32."""
    a, b = (_word(seed, index // 2 * 2 + i) >> 11 for i in range(2))
    radius, angle = math.sqrt(-2 * math.log((a + 1) / 2**53)), 2 * math.pi * (b / 2**53)
    return float(np.float32(radius * (math.sin(angle) if index % 2 else math.cos(angle))))


def _word(seed: int, index: int) -> int:
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    return z ^ z >> 31
