"""Labels that cannot be right: at chance, or far better in another order; and what must not be accused."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from numpy.typing import ArrayLike

from edgeproof_runtime.metrics.accuracy import AccuracyMeter
from edgeproof_runtime.metrics.label_check import LabelCheck, check_labels


def checked(truth: ArrayLike, predicted: ArrayLike, classes: int, labels: tuple[str, ...] = ()) -> LabelCheck:
    meter = AccuracyMeter(classes)
    meter.update(np.eye(classes)[np.asarray(predicted)], np.asarray(truth))
    return check_labels(meter.halves, classes, labels)


def predictions(classes: int, each: int, right: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), each)
    return truth, np.where(rng.random(truth.size) < right, truth, rng.integers(0, classes, truth.size))


def test_a_good_model_is_not_accused() -> None:
    for classes, right in ((2, 0.7), (10, 0.3), (1000, 0.1)):
        found = checked(*predictions(classes, 2000 // classes, right), classes)
        assert (found.at_chance, found.better, found.gates()) == (False, None, [])
        assert found.sentences() == []


@pytest.mark.parametrize("shift", [1, -1])
def test_indices_off_by_one_are_named(shift: int) -> None:
    truth, predicted = predictions(1000, 1, 0.95)
    found = checked(truth, (predicted + shift) % 1000, 1000)
    assert found.better is not None
    assert found.better.top1 == pytest.approx(0.95, abs=0.02)
    assert ("higher" if shift == 1 else "lower") in found.sentences()[0]
    (gate,) = found.gates()
    assert (gate.name, gate.passed) == ("class order", False)


def test_sorting_as_text_and_as_numbers_is_named() -> None:
    names = tuple(str(i) for i in range(12))
    rank = np.array([sorted(names).index(name) for name in names])
    truth, predicted = predictions(12, 10, 0.95)
    for model, what in ((rank[predicted], "sorted as text"), (np.argsort(rank)[predicted], "sorted as numbers")):
        found = checked(truth, model, 12, names)
        assert what in found.sentences()[0]
        assert "under another order of the classes top-1 would be 9" in found.sentences()[0].lower()


def test_any_permutation_is_found_on_images_that_did_not_choose_it() -> None:
    order = np.random.default_rng(3).permutation(10)
    truth, predicted = predictions(10, 20, 0.9)
    found = checked(truth, order[predicted], 10, tuple("abcdefghij"))
    assert found.better is not None
    assert found.better.top1 > 0.85
    swapped = np.array([1, 0])
    truth, predicted = predictions(2, 20, 0.9)
    assert checked(truth, swapped[predicted], 2).better is not None


def test_chance_is_named_where_there_are_enough_images() -> None:
    truth, predicted = predictions(10, 20, 0.0)
    found = checked(truth, predicted, 10)
    assert found.at_chance
    assert "not better than guessing among 10 classes" in found.sentences()[0]
    assert [(gate.name, gate.passed) for gate in found.gates()] == [("above chance", False)]
    assert found.gates(trained=False) == found.gates(trained=None) == []
    # Three images prove nothing.
    assert not checked([0, 1, 2], [3, 4, 5], 10).at_chance
    # None right of many is worse than chance.
    assert checked(np.zeros(200, int), np.ones(200, int), 1000).at_chance


def test_noise_has_hardly_ever_a_better_order() -> None:
    """Chance finds one in 2 of 400: too many for a property that holds for any noise."""
    found = 0
    for seed, classes, n in product(range(20), (2, 3, 10, 50), (10, 40, 67, 120, 300)):
        truth, predicted = np.random.default_rng(seed).integers(0, classes, (2, n))
        found += checked(truth, predicted, classes).better is not None
    assert found <= 4


def test_the_halves_do_not_depend_on_the_batches() -> None:
    truth, predicted = predictions(5, 7, 0.5)
    whole = AccuracyMeter(5)
    whole.update(np.eye(5)[predicted], truth)
    batches = AccuracyMeter(5)
    for start in range(0, truth.size, 3):
        batches.update(np.eye(5)[predicted[start : start + 3]], truth[start : start + 3])
    assert whole.halves == batches.halves
    expected = [Counter(zip(truth[i::2].tolist(), predicted[i::2].tolist(), strict=True)) for i in (0, 1)]
    assert list(whole.halves) == expected
