"""A rule for unknown images is chosen on one half of them and measured on the other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bundles import make_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.auroc import auroc
from edgeproof_runtime.tasks.unknown import SCORES, UnknownRule
from edgeproof_runtime.verify.unknown import KnownScores, choose_rule, limit_at


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("unknown") / "tiny.edge")


def scores(bundle: Bundle, logits: np.ndarray) -> KnownScores:
    found = KnownScores(bundle)
    found.add((logits.astype(np.float32),))
    return found


def drawn(bundle: Bundle, count: int, height: float, seed: int) -> KnownScores:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (count, 5))
    logits[:, 0] += rng.normal(height, 1, count)
    return scores(bundle, logits)


@pytest.mark.parametrize("count", [1, 19, 20, 100, 101])
def test_the_limit_accepts_95_percent_and_no_higher_one_does(count: int) -> None:
    values = np.random.default_rng(count).permutation(np.arange(count) / 10).tolist()
    limit = limit_at(values)
    assert sum(value >= limit for value in values) / count >= 0.95
    above = min((value for value in values if value > limit), default=math.inf)
    assert sum(value >= above for value in values) / count < 0.95


def test_the_figures_are_those_of_the_half_that_chose_nothing(bundle: Bundle) -> None:
    known, unknown = drawn(bundle, 400, 6, 1), drawn(bundle, 300, 0, 2)
    found = choose_rule(known, unknown)
    rule = UnknownRule.parse(found.rule)
    best = max(SCORES, key=lambda score: auroc(unknown.values[score][::2], known.values[score][::2]))
    assert rule.score == best
    assert rule.limit == pytest.approx(limit_at(known.values[best][::2]), rel=1e-5)
    assert rule.limit <= limit_at(known.values[best][::2])
    kept, accepted = known.values[best][1::2], unknown.values[best][1::2]
    assert found.known_kept == sum(map(rule.knows, kept)) / 200
    assert found.unknown_accepted == sum(map(rule.knows, accepted)) / 150
    assert found.scores[best].auroc == auroc(accepted, kept)
    assert found.scores[best].fpr95 == sum(value >= limit_at(kept) for value in accepted) / 150
    assert (found.chosen_on, found.measured_on) == ({"known": 200, "unknown": 150},) * 2
    assert found.known_kept_ci95[0] < found.known_kept < found.known_kept_ci95[1]
    assert set(found.to_json()["scores"]) == set(SCORES)
    assert choose_rule(known, unknown) == found, "the halves are drawn by position"


def test_a_score_that_tells_nothing_is_not_chosen(bundle: Bundle) -> None:
    """All probabilities are the same; only the height of the logits differs."""
    pattern = np.tile([2.0, 1.0, 0.0, 0.0, 0.0], (40, 1))
    known, unknown = scores(bundle, pattern + 5 + np.arange(40)[:, None] / 100), scores(bundle, pattern)
    found = choose_rule(known, unknown)
    assert found.rule.startswith("energy:")
    assert (found.scores["energy"].auroc, found.unknown_accepted) == (1.0, 0.0)
    assert found.known_kept >= 0.95


def test_a_limit_near_one_still_accepts_what_chose_it(bundle: Bundle) -> None:
    certain, even = np.tile([60.0, 0, 0, 0, 0], (40, 1)), np.zeros((40, 5))
    found = choose_rule(scores(bundle, certain), scores(bundle, even))
    assert found.known_kept >= 0.95
    assert UnknownRule.parse(found.rule).limit <= 1


def test_too_few_or_broken_images_choose_nothing(bundle: Bundle) -> None:
    many, few = drawn(bundle, 40, 5, 1), drawn(bundle, 19, 0, 2)
    with pytest.raises(InputError, match="--unknown: too few images"):
        choose_rule(many, few)
    with pytest.raises(InputError, match="--data: too few images"):
        choose_rule(few, many)
    with pytest.raises(InputError, match="no limit accepts 95 %"):
        choose_rule(scores(bundle, np.full((40, 5), np.nan)), many)
