"""Paired comparison: against SciPy's binomial test, and by its own symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.paired import Paired, class_changes, flipped, mcnemar_p

COUNTS = st.tuples(*[st.integers(0, 400)] * 4).filter(lambda c: sum(c) > 0)


def paired(both: int, lost: int, gained: int, neither: int) -> Paired:
    return Paired(both + lost + gained + neither, both, lost, gained, lost + gained)


@given(st.integers(0, 3_000), st.integers(0, 3_000))
def test_the_exact_test_is_the_binomial_one(lost: int, gained: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    if expected == 0:  # SciPy's sum falls to 0 before ours
        assert mcnemar_p(lost, gained) < 1e-290
    else:
        assert mcnemar_p(lost, gained) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_published_p_values() -> None:
    assert mcnemar_p(0, 0) == 1.0
    assert mcnemar_p(5, 0) == 2 / 32
    assert mcnemar_p(4, 4) == 1.0


@given(COUNTS)
def test_the_interval_holds_the_drop_and_mirrors(counts: tuple[int, int, int, int]) -> None:
    both, lost, gained, neither = counts
    found, swapped = paired(both, lost, gained, neither), paired(both, gained, lost, neither)
    low, high = found.drop_ci95
    assert -1 <= low <= found.drop + 1e-12
    assert found.drop - 1e-12 <= high <= 1
    assert high > low
    assert swapped.drop_ci95 == pytest.approx((-high, -low))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    shares = (0.80, 0.06, 0.03, 0.11)
    hits = 0
    for both, lost, gained, neither in rng.multinomial(300, shares, size=2_000).tolist():
        low, high = paired(both, lost, gained, neither).drop_ci95
        hits += low <= shares[1] - shares[2] <= high
    assert 0.935 <= hits / 2_000 <= 0.985


def test_answers_become_counts_flips_and_classes() -> None:
    truth = [0, 0, 1, 1, 2, 2]
    first = [0, 0, 1, 0, 2, 1]
    second = [0, 1, 1, 1, 0, 0]
    found = Paired.of(first, second, truth)
    assert (found.n, found.both_right, found.lost, found.gained, found.changed) == (6, 2, 2, 1, 4)
    assert found.drop == pytest.approx(1 / 6)
    assert flipped(first, second, truth) == ([1, 4], [3])
    changes = class_changes(first, second, truth)
    assert [(c.index, c.support, c.lost, c.gained) for c in changes] == [(0, 2, 1, 0), (2, 2, 1, 0), (1, 2, 0, 1)]
    assert found.to_json()["reference_top1"] == pytest.approx(4 / 6)


def test_how_many_pictures_a_budget_takes() -> None:
    # 50 of 1,000 discordant, balanced: 1.96² · (52 / 1,004) / 0.01² = 1,990.
    assert paired(850, 25, 25, 100).pictures_to_resolve(0.01) == 1_990
    assert paired(900, 0, 0, 100).pictures_to_resolve(0.5) == 2
    with pytest.raises(ValueError, match="must be above 0"):
        paired(1, 0, 0, 0).pictures_to_resolve(0.0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="same images"):
        Paired.of([1, 2], [1], [1, 2])
    with pytest.raises(InputError, match="same images"):
        Paired.of([], [], [])
    with pytest.raises(ValueError, match="contradict each other"):
        Paired(3, 2, 1, 1, 2)
    with pytest.raises(ValueError, match="must not be negative"):
        mcnemar_p(-1, 0)
