"""Metrics against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.accuracy import AccuracyMeter, target_ranks, wilson_interval


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, np.ndarray, np.ndarray]:
    """Scores without ties, and targets that may leave classes of the model out."""
    classes = draw(st.integers(2, 12))
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    used = draw(st.integers(1, classes))
    targets = rng.choice(rng.permutation(classes)[:used], n)
    scores = rng.normal(size=(n, classes))
    scores[np.arange(n), targets] += draw(st.floats(0, 3))
    return classes, scores, targets


@given(batches())
def test_agrees_with_scikit_learn(case: tuple[int, np.ndarray, np.ndarray]) -> None:
    classes, scores, targets = case
    meter = AccuracyMeter(classes)
    for part in np.array_split(np.arange(len(targets)), 3):
        meter.update(scores[part], targets[part])
    result = meter.result()
    predicted = scores.argmax(axis=1)
    present = sorted(set(targets.tolist()))

    assert result.n == len(targets)
    assert result.top1 == pytest.approx(accuracy_score(targets, predicted), abs=1e-12)
    per_class = precision_recall_fscore_support(targets, predicted, labels=present, zero_division=0)
    assert [m.index for m in result.per_class] == present
    assert [m.support for m in result.per_class] == per_class[3].tolist()
    for name, expected in zip(("precision", "recall", "f1"), per_class[:3], strict=True):
        np.testing.assert_allclose([getattr(m, name) for m in result.per_class], expected, atol=1e-12)
    for average, prefix in (("macro", ""), ("weighted", "weighted_")):
        expected = precision_recall_fscore_support(targets, predicted, labels=present, average=average, zero_division=0)
        found = [getattr(result, prefix + name) for name in ("precision", "recall", "f1")]
        np.testing.assert_allclose(found, expected[:3], atol=1e-12)
    occurring, counts = result.matrix()
    everything = confusion_matrix(targets, predicted, labels=range(classes))
    assert np.array_equal(counts, everything[np.ix_(occurring, occurring)])
    if classes > 5:
        expected_top5 = top_k_accuracy_score(targets, scores, k=5, labels=range(classes))
        assert result.top5 == pytest.approx(expected_top5, abs=1e-12)
    else:
        assert result.top5 is None


def test_macro_recall_is_balanced_accuracy() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 7, 500)
    scores = rng.normal(size=(500, 7))
    meter = AccuracyMeter(7)
    meter.update(scores, targets)
    assert meter.result().recall == pytest.approx(balanced_accuracy_score(targets, scores.argmax(axis=1)), abs=1e-12)


def test_classes_that_the_data_lacks_take_no_part_but_their_predictions_are_errors() -> None:
    meter = AccuracyMeter(10)
    scores = np.zeros((4, 10))
    scores[[0, 1, 2, 3], [3, 3, 7, 9]] = 1.0  # nothing in the data is a 9
    meter.update(scores, np.array([3, 3, 7, 7]))
    result = meter.result()
    assert (result.classes, result.classes_present, result.top1) == (10, 2, 0.75)
    assert (result.precision, result.recall) == (1.0, 0.75)
    assert [(c.truth, c.predicted, c.count) for c in result.confused] == [(7, 9, 1)]
    assert result.matrix()[0] == [3, 7, 9]


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(case: tuple[int, int]) -> None:
    successes, n = case
    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_wilson_known_value() -> None:
    # CIFAR-10's 10,000 test images with 9,173 right.
    low, high = wilson_interval(9173, 10_000)
    assert (round(low, 4), round(high, 4)) == (0.9117, 0.9225)
    with pytest.raises(ValueError, match="not a proportion"):
        wilson_interval(0, 0)


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=20))
def test_ties_go_to_the_lower_index_as_argmax_has_it(rows: list[list[int]]) -> None:
    scores = np.array(rows, np.float32)
    ranks = np.stack([target_ranks(scores, np.full(len(rows), c)) for c in range(6)], axis=1)
    assert np.array_equal(np.sort(ranks, axis=1), np.tile(np.arange(6), (len(rows), 1)))
    assert np.array_equal(ranks.argmin(axis=1), scores.argmax(axis=1))


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 1]), "shapes do not match"),
        (np.zeros((2, 4)), np.array([0]), "shapes do not match"),
        (np.zeros((2, 4)), np.array([0, 4]), "not a class of the model"),
        (np.zeros((2, 4)), np.array([-1, 0]), "not a class of the model"),
        (np.zeros((2, 4)), np.array([0.0, 1.0]), "not class indices"),
        (np.full((2, 4), np.nan), np.array([0, 1]), "NaN in 2 of 2"),
    ],
)
def test_bad_batches_are_refused_and_not_counted(scores: np.ndarray, targets: np.ndarray, message: str) -> None:
    meter = AccuracyMeter(4)
    with pytest.raises(InputError, match=message):
        meter.update(scores, targets)
    assert meter.n == 0
    with pytest.raises(InputError, match="accuracy: no samples"):
        meter.result()


def test_an_empty_batch_adds_nothing() -> None:
    meter = AccuracyMeter(4)
    meter.update(np.zeros((0, 4)), [])
    assert meter.n == 0


def test_json_carries_labels_and_drops_an_unreadable_matrix() -> None:
    meter = AccuracyMeter(60)
    meter.update(np.eye(60)[[1, 2, 2]], np.array([1, 2, 1]))
    document = meter.result().to_json([f"label {i}" for i in range(60)])
    assert document["confusion"] == {"labels": ["label 1", "label 2"], "counts": [[1, 1], [0, 1]]}
    assert document["confused"] == [{"truth": "label 1", "predicted": "label 2", "count": 1}]
    meter.update(np.eye(60), np.arange(60))
    assert meter.result().to_json()["confusion"] is None
    with pytest.raises(ValueError, match="2 labels for 60 classes"):
        meter.result().to_json(["a", "b"])
