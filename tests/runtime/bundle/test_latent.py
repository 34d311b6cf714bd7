"""Seeded latents: the same numbers on every machine, in every batch, as the golden file that C++ reads too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof_runtime.bundle.latent import latents, uniform_bits
from edgeproof_runtime.errors import InputError

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "latent.json").read_text(encoding="utf-8"))


def test_the_words_are_those_of_the_published_splitmix64() -> None:
    # First outputs for seed 1234567 of Vigna's public-domain reference implementation, splitmix64.c.
    words = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert uniform_bits(1234567, np.arange(5, dtype=np.uint64)).tolist() == words


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['seed']}-{case['first']}x{case['size']}")
def test_the_golden_latents_come_again(case: dict[str, int | list[list[float]]]) -> None:
    numbers = np.array(case.pop("numbers"), np.float32)
    found = latents(**{**case, "count": len(numbers)})  # type: ignore[arg-type]
    # A mathematical library may differ in the last bit, see `latents`.
    np.testing.assert_allclose(found, numbers, rtol=0, atol=2.0**-22)


@given(st.integers(0, 2**64 - 1), st.integers(0, 50), st.integers(1, 9), st.integers(1, 33))
def test_a_vector_does_not_depend_on_its_batch(seed: int, first: int, count: int, size: int) -> None:
    together = latents(seed, first, count, size)
    for number in range(count):
        assert np.array_equal(together[number], latents(seed, first + number, 1, size)[0])


def test_they_are_normal() -> None:
    numbers = latents(5, 0, 2000, 100).astype(np.float64)
    assert abs(numbers.mean()) < 0.01
    assert abs(numbers.std() - 1) < 0.01
    assert abs((numbers**4).mean() - 3) < 0.1
    assert abs(np.corrcoef(numbers[:, 0], numbers[:, 1])[0, 1]) < 0.1


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(InputError, match="seed"):
        latents(seed, 0, 1, 4)
