"""Multi-label metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_recall_fscore_support

from edgeproof_runtime._native import average_precision, logit_interval
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.multilabel import MultilabelMeter
from edgeproof_runtime.metrics.threshold import best_f1_threshold


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with ties, and targets in which classes may be missing or everywhere."""
    n, classes = draw(st.integers(1, 60)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets = rng.random((n, classes)) < rng.choice([0.0, 0.1, 0.5, 1.0], classes)
    scores = np.clip(rng.random((n, classes)) + 0.4 * targets * draw(st.floats(0, 1)), 0, 1)
    levels = draw(st.sampled_from([2, 5, 1000]))
    return (np.round(scores * levels) / levels).astype(np.float32), targets


@given(batches())
def test_average_precision_is_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = case
    for column, positives, found in zip(scores.T, targets.T, average_precision(scores, targets)[0], strict=True):
        if positives.any():
            assert found == pytest.approx(average_precision_score(positives, column), abs=1e-12)
        else:
            assert found is None


@given(batches(), st.integers(0, 2**32 - 1))
def test_decisions_are_scikit_learns(case: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    scores, targets = case
    thresholds = np.random.default_rng(seed).random(scores.shape[1])
    meter = MultilabelMeter(thresholds.tolist())
    for part in np.array_split(np.arange(len(scores)), 3):
        meter.update(scores[part], targets[part])
    result = meter.result()
    given_labels = scores >= thresholds
    present = np.flatnonzero(targets.any(axis=0))

    assert (result.n, result.classes_present) == (len(scores), len(present))
    assert result.exact_match == pytest.approx(accuracy_score(targets, given_labels))
    for average, found in (("micro", result.micro), ("macro", result.macro)):
        if not present.size:
            continue
        labels = present if average == "macro" else np.arange(targets.shape[1])
        # A single column would be taken for a binary problem.
        truth, answers = (np.pad(values, ((0, 0), (0, 1))) for values in (targets, given_labels))
        expected = precision_recall_fscore_support(truth, answers, average=average, labels=labels, zero_division=0)
        np.testing.assert_allclose([found.precision, found.recall, found.f1], expected[:3], atol=1e-12)
    if present.size:
        expected_map = np.mean([average_precision_score(targets[:, i], scores[:, i]) for i in present])
        assert result.mean_average_precision == pytest.approx(expected_map, abs=1e-12)
    assert [m.support for m in result.per_class] == targets.sum(axis=0).tolist()
    assert [m.predicted for m in result.per_class] == given_labels.sum(axis=0).tolist()


@given(batches())
def test_no_threshold_has_a_better_f1(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = case
    for column, positives in zip(scores.T, targets.T, strict=True):
        chosen = best_f1_threshold(column, positives)
        if not positives.any():
            assert chosen == 0.5
            continue
        assert 0.0 <= chosen <= 1.0
        best = f1_score(positives, column >= chosen)
        others = {float(t): f1_score(positives, column >= t, zero_division=0) for t in np.unique(column)}
        assert best == pytest.approx(max(others.values()))
        # Of equals the highest: what gets the label reaches every other threshold as good.
        equal = [t for t, f1 in others.items() if f1 == pytest.approx(best)]
        assert column[column >= chosen].min() == np.float32(max(equal))


def test_threshold_lies_in_the_middle_of_the_gap() -> None:
    assert best_f1_threshold([0.9, 0.8, 0.3, 0.2], [1, 1, 0, 0]) == pytest.approx(0.55)
    assert best_f1_threshold([0.9, 0.4], [1, 1]) == pytest.approx(0.2)
    # F1 is 2/3 after the first image and after the last: the fewer labels.
    assert best_f1_threshold([0.9, 0.8, 0.7, 0.6], [1, 0, 0, 1]) == pytest.approx(0.85)


@given(batches())
def test_influence_is_the_derivative_by_an_images_weight(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = case
    _, value, influence = average_precision(scores, targets)
    present = np.flatnonzero(targets.any(axis=0))
    if value is None:
        assert not present.size
        return
    assert sum(influence) == pytest.approx(0, abs=1e-9)
    step = 1e-6
    for image in range(min(len(scores), 5)):
        sides = []
        for change in (step, -step):
            weights = np.ones(len(scores))
            weights[image] += change
            sides.append(
                np.mean([average_precision_score(targets[:, i], scores[:, i], sample_weight=weights) for i in present])
            )
        assert influence[image] == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-6)
    assert 0 <= value <= 1


def test_interval_covers_the_true_value_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    means = np.array([0.8, 1.5, 2.2])

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        # The classes depend on each other: one hidden number moves labels and scores of all three.
        hidden = rng.normal(size=(n, 1))
        targets = rng.normal(size=(n, 3)) + hidden > 1.0
        return (rng.normal(size=(n, 3)) + means * targets + 0.3 * hidden).astype(np.float32), targets

    large = average_precision(*draw(200_000))[1]
    assert large is not None
    covered = 0
    for _ in range(400):
        _, mean, influence = average_precision(*draw(300))
        assert mean is not None
        interval = logit_interval(mean, influence)
        assert interval is not None
        assert 0 <= interval[0] <= mean <= interval[1] <= 1
        covered += interval[0] <= large <= interval[1]
    assert 0.91 <= covered / 400 <= 0.98


def test_perfect_ranking_has_no_interval() -> None:
    meter = MultilabelMeter([0.5])
    meter.update([[0.9], [0.8], [0.1]], [[1], [1], [0]])
    result = meter.result()
    assert (result.mean_average_precision, result.ci95) == (1.0, None)
    assert result.to_json(["dog"])["per_class"][0]["label"] == "dog"


def test_data_without_any_label() -> None:
    meter = MultilabelMeter([0.5, 0.5])
    meter.update([[0.9, 0.1]], [[0, 0]])
    result = meter.result()
    assert result.mean_average_precision is None
    assert result.per_class[0].average_precision is None
    assert (result.per_class[0].predicted, result.exact) == (1, 0)
    assert result.to_json()["ci95"] is None


@pytest.mark.parametrize(
    ("scores", "targets", "reason"),
    [
        ([[0.1, 0.2]], [[1]], "shapes do not match"),
        ([[0.1]], [[2]], "other than 0 and 1"),
        ([[np.nan]], [[1]], "not a number"),
    ],
)
def test_bad_batches_are_refused_whole(scores: object, targets: object, reason: str) -> None:
    meter = MultilabelMeter([0.5])
    with pytest.raises(InputError, match=reason):
        meter.update(scores, targets)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no images"):
        meter.result()
