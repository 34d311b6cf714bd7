"""Latent vectors of a seed: the same normal numbers on every machine, engine and program."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError

__all__ = ["latents", "uniform_bits"]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_LARGEST_SEED = 2**64 - 1


def latents(seed: int, first: int, count: int, size: int) -> NDArray[np.float32]:
    """Compute latent vectors number ``first`` to ``first + count - 1`` of a seed: ``splitmix64-box-muller``.

    Vector ``i`` holds the numbers ``i * size`` to ``(i + 1) * size - 1`` of one endless sequence, so an image does not
    depend on the batch that generated it. Pair ``p`` of the sequence is computed in float64 from the words
    ``a = word(2p)`` and ``b = word(2p + 1)`` of `uniform_bits`, then rounded to float32 (Box and Muller 1958, "A note
    on the generation of random normal deviates")::

        u = ((a >> 11) + 1) / 2**53        # 0 < u <= 1: the logarithm is finite
        v = (b >> 11) / 2**53              # 0 <= v < 1
        number(2p)     = sqrt(-2 * ln u) * cos(2 * pi * v)
        number(2p + 1) = sqrt(-2 * ln u) * sin(2 * pi * v)

    Math libraries may differ in the last bit of a float64; rounding to float32 nearly always hides it.

    Args:
        seed: 0 to 2**64 - 1.
        first: number of the first vector, from 0.
        count: number of vectors.
        size: numbers per vector.

    Returns:
        float32 ``count x size``.

    Raises:
        InputError: the seed is out of range.
    """
    if not 0 <= seed <= _LARGEST_SEED:
        raise InputError("seed: out of range", got=seed, expected="0 to 2**64 - 1")
    begin, end = first * size, (first + count) * size
    pairs = np.arange(begin // 2, (end + 1) // 2, dtype=np.uint64)
    words = uniform_bits(seed, np.stack([2 * pairs, 2 * pairs + np.uint64(1)], axis=1)) >> np.uint64(11)
    u, v = (words[:, 0] + np.uint64(1)) * 2.0**-53, words[:, 1] * 2.0**-53
    radius, angle = np.sqrt(-2.0 * np.log(u)), 2.0 * np.pi * v
    numbers = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    offset = begin - 2 * (begin // 2)
    return numbers[offset : offset + count * size].astype(np.float32).reshape(count, size)


def uniform_bits(seed: int, index: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Compute words number ``index`` (from 0) of SplitMix64 seeded with ``seed``.

    SplitMix64 scrambles a counter, ``state = seed + (index + 1) * 0x9E3779B97F4A7C15`` modulo 2**64 (Steele, Lea and
    Flood 2014, "Fast splittable pseudorandom number generators"; the constants are variant 13 of Stafford's mixers, as
    in Java's ``SplittableRandom``).

    Args:
        seed: 0 to 2**64 - 1.
        index: uint64 of any shape.

    Returns:
        uint64 of the same shape.
    """
    with np.errstate(over="ignore"):  # modulo 2**64 by definition
        z: NDArray[np.uint64] = np.uint64(seed) + (index + np.uint64(1)) * _GAMMA
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed
