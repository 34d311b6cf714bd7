"""When a classifier says "unknown": the scores and rules of tests/golden/unknown.json, and what becomes of a frame."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import make_bundle, make_defect_bundle, make_multilabel_bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.tasks.classify import ClassifyHead
from edgeproof_runtime.tasks.registry import head_of
from edgeproof_runtime.tasks.unknown import SCORES, UnknownRule, known_scores, scores_for

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "unknown.json").read_text(encoding="utf-8"))
LABELS = ("cat", "dog", "fish")


@pytest.mark.parametrize("case", GOLDEN["scores"])
def test_scores_are_those_of_the_golden_cases(case: dict[str, Any]) -> None:
    row = np.array([math.nan if value is None else value for value in case["values"]], np.float32)
    (found,) = known_scores(case["score"], row, row)
    assert math.isnan(found) if case["is"] is None else found == pytest.approx(case["is"], abs=1e-6)


def test_rows_are_scored_each() -> None:
    rows = np.array([[0.1, 0.9], [0.5, 0.5]], np.float32)
    assert known_scores("margin", rows, rows) == pytest.approx([0.8, 0.0], abs=1e-6)


@pytest.mark.parametrize("case", GOLDEN["rules"])
def test_rules_are_those_of_the_golden_cases(case: dict[str, Any]) -> None:
    if case["limit"] is None:
        with pytest.raises(InputError, match="unknown: invalid rule"):
            UnknownRule.parse(case["rule"])
    else:
        rule = UnknownRule.parse(case["rule"])
        assert (rule.score, rule.limit) == (case["rule"].partition(":")[0], case["limit"])
        assert UnknownRule.parse(str(rule)) == rule


def predict(rule: str | None, *logits: float) -> Any:
    head = ClassifyHead(LABELS, "none", None if rule is None else UnknownRule.parse(rule))
    return head((np.array([logits], np.float32),))


def test_a_frame_below_the_limit_is_unknown_and_says_its_nearest_class() -> None:
    sure, unsure = predict("margin:0.5", 4, 0, 0), predict("margin:0.5", 1, 0.9, 0)
    assert (sure.unknown, sure.label, sure.headline) == (False, "cat", "cat 96%")
    assert sure.rows(1)[0].label == "cat"
    assert (unsure.unknown, unsure.label, unsure.probability) == (True, "unknown", None)
    assert unsure.headline == "unknown (nearest: cat 44%)"
    assert [row.label for row in unsure.rows(3)] == ["unknown", "cat", "dog"]
    assert not unsure.is_right("cat")
    found = unsure.to_json(1)
    assert found["top"][0]["label"] == "cat"
    told = found["unknown"]
    assert (told["unknown"], told["score"], told["limit"]) == (True, "margin", 0.5)
    assert told["value"] == pytest.approx(float(unsure.probabilities[0] - unsure.probabilities[1]), abs=1e-6)
    assert "unknown" not in predict(None, 1, 0.9, 0).to_json(1)


def test_an_unknown_frame_counts_for_no_event_and_is_never_sure() -> None:
    settings = EventSettings(threshold=0.0)
    assert (predict("energy:9", 4, 0, 0).event_values(0.5, 1).values == 0).all()
    assert not settings.is_sure(predict("energy:9", 4, 0, 0))
    assert settings.is_sure(predict("energy:3", 4, 0, 0))
    assert predict("energy:3", 4, 0, 0).event_values(0.5, 1).values[0] > 0.9


def test_what_is_not_a_number_is_unknown() -> None:
    assert all(predict(f"{score}:0", math.nan, 0, 0).unknown for score in SCORES)


def test_only_classifiers_have_unknown_frames_and_only_logits_an_energy(tmp_path: Path) -> None:
    rule = UnknownRule.parse("margin:0.2")
    for bundle in (make_multilabel_bundle(tmp_path / "m.edge"), make_defect_bundle(tmp_path / "d.edge")):
        with pytest.raises(InputError, match="--unknown: does not apply"):
            head_of(bundle, rule)
    assert head_of(make_bundle(tmp_path / "c.edge"), rule) is not None
    assert scores_for("softmax") == ("max-probability", "margin")


def test_energy_is_refused_after_a_softmax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "c.edge")
    object.__setattr__(bundle.manifest.outputs[0], "activation", "softmax")
    with pytest.raises(InputError, match="energy requires logits"):
        head_of(bundle, UnknownRule.parse("energy:1"))
