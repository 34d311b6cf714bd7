"""Multi-label predictions: thresholds, labels, metrics, events; and the checks of their settings in a bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bundles import LABELS, frames, make_bundle, make_multilabel_bundle
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.manifest import OutputEntry
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.task_settings import MultilabelSettings
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.multilabel import MultilabelData
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.engines import available
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.tasks.multilabel import MultilabelHead, MultilabelJudge, MultilabelPrediction
from edgeproof_runtime.tasks.registry import head_of, judge_of, task_of
from edgeproof_runtime.verify.golden import frame_gates, output_gate

THRESHOLDS = (0.2, 0.4, 0.5, 0.6, 0.8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_multilabel_bundle(tmp_path_factory.mktemp("bundle") / "labels.edge", THRESHOLDS)


def prediction(*probabilities: float) -> MultilabelPrediction:
    return MultilabelHead(THRESHOLDS, LABELS)((np.array([probabilities], np.float32),))


def test_a_label_is_given_from_its_own_threshold_upwards() -> None:
    found = prediction(0.2, 0.39, 0.5, 0.9, 0.1)
    # 0.2 in float32 is a little more than 0.2, and 0.5 is exactly its threshold.
    assert found.present_indices == [0, 2, 3]
    assert [label for label, _ in found.present] == ["cat", "fish", "bird"]
    assert found.label == "cat, fish, bird"
    assert found.headline == "cat 20%, fish 50%, bird 90%"
    assert found.probability is None
    assert [label for label, _ in found.top(2)] == ["bird", "fish"]
    assert [row.label for row in found.rows(4)] == ["bird", "fish", "cat", "dog"]
    assert found.rows(4)[3].figure == "39.0 % < 40.0 %"
    assert found.rows(4)[0].figure == "90.0 % ≥ 60.0 %"
    written = found.to_json(1)
    assert [one["label"] for one in written["labels"]] == ["cat", "fish", "bird"]
    assert [one["label"] for one in written["top"]] == ["bird"]
    json.dumps(written)


def test_a_frame_may_have_no_label() -> None:
    found = prediction(0, 0, 0, 0, float("nan"))
    assert (found.label, found.headline, found.present) == ("none", "none", [])
    assert found.is_right("none")
    assert not found.is_right("cat")


def test_right_means_all_labels_and_no_other() -> None:
    found = prediction(0.9, 0.9, 0, 0, 0)
    assert found.is_right("dog | cat")
    assert not found.is_right("cat")
    assert not found.is_right("cat|dog|fish")
    assert not found.is_right("cat|dog|unicorn")


def test_every_label_has_events_of_its_own() -> None:
    found = prediction(0.9, 0.9, 0.1, 0.1, 0.1).event_values(threshold=0.99, top_k=1)
    assert found.limits.tolist() == list(THRESHOLDS)
    assert found.at_once == len(LABELS)
    assert (found.label_of(1), found.quantity) == ("dog", "probability")


def test_the_judge_measures_sets_of_labels(bundle: Bundle) -> None:
    judge = judge_of(bundle)
    assert isinstance(judge, MultilabelJudge)
    assert (judge.figures(), judge.sections()) == ({}, {})
    assert judge.add(prediction(0.9, 0.1, 0.1, 0.7, 0.1), "bird|cat", "a.png") == "cat, bird"
    assert judge.add(prediction(0.3, 0.1, 0.1, 0.1, 0.1), "none", "b.png") == "none"
    with pytest.raises(InputError, match=r"c\.png: the model does not know this label"):
        judge.add(prediction(0, 0, 0, 0, 0), "cat|unicorn", "c.png")
    assert judge.n == 2
    section = judge.sections()["multilabel"]
    assert section["mean_average_precision"] == 1.0
    assert section["micro"] == {"precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8)}
    assert section["exact_match"] == 0.5
    assert [entry["label"] for entry in section["per_class"]] == list(LABELS)


def test_golden_cases_and_a_dataset_on_every_engine(bundle: Bundle, tmp_path: Path) -> None:
    cases = load_golden(bundle)
    assert task_of(bundle).metric is not None
    assert [gate.name for gate in frame_gates(bundle, cases)] == ["preprocessing", "labels"]
    assert all(gate.passed for gate in frame_gates(bundle, cases))
    pictures = np.stack([frame[:20, :20] for frame in frames(12)])
    shown = np.random.default_rng(0).random((12, len(LABELS))) < 0.4
    np.savez(tmp_path / "d.npz", x_test=pictures[..., ::-1], y_test=shown)
    open_dataset = task_of(bundle).open_dataset
    assert open_dataset is not None
    with pytest.raises(InputError, match="no split val"):
        open_dataset(bundle, tmp_path / "labels.csv", DataOptions(split="val"))
    data = open_dataset(bundle, tmp_path / "d.npz", DataOptions())
    assert isinstance(data, MultilabelData)
    samples = list(data)
    preprocess = Preprocessor(bundle.contract)
    for engine in available():
        judge, head = judge_of(bundle), head_of(bundle)
        with load_engine(bundle, engine, "fp32") as loaded:
            assert output_gate(bundle, loaded, cases).passed
            outputs = [loaded.run(preprocess(sample.frame)[None].copy())[0].copy() for sample in samples]
        scores = np.concatenate(outputs)
        decisions = judge.add_batch((scores,), data, [sample.target for sample in samples])
        assert [decision.label for decision in decisions] == [head((row[None],)).label for row in scores]
        assert judge.truth_of(data, (1, 3)) == "dog, bird"
        present = shown.any(axis=0)
        expected = np.mean([average_precision_score(shown[:, i], scores[:, i]) for i in np.flatnonzero(present)])
        assert judge.figures()["mean_average_precision"] == pytest.approx(expected, abs=1e-9)


def test_the_manifest_keeps_the_thresholds(bundle: Bundle) -> None:
    raw = json.loads((bundle.path / "bundle.json").read_text())
    assert raw["multilabel"] == {"thresholds": list(THRESHOLDS), "criterion": "best-f1", "images": 10}
    assert bundle.manifest.settings == MultilabelSettings(thresholds=THRESHOLDS, images=10)
    assert bundle.manifest.settings.summary() == (
        "labels",
        "from probabilities of 0.200 to 0.800 upwards, best-f1 on 10 images",
    )


def test_bundles_of_other_tasks_hold_no_such_key(tmp_path: Path) -> None:
    assert "multilabel" not in make_bundle(tmp_path / "b.edge").manifest.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": [0.5, 1.5, 0.5, 0.5, 0.5]}, r"multilabel.thresholds: must be in \[0, 1\]"),
        ({"thresholds": [0.5, "a", 0.5, 0.5, 0.5]}, r"multilabel.thresholds: must be in \[0, 1\]"),
        ({"thresholds": []}, "multilabel.thresholds"),
        ({"thresholds": 0.5}, "multilabel.thresholds: must be a list"),
        ({"thresholds": [0.5]}, "multilabel.thresholds: must be one per class"),
        ({"criterion": "guess"}, "multilabel.criterion: unknown"),
        ({"images": 0}, "multilabel.images: must be at least 1"),
        ({"more": 0}, "invalid fields of multilabel"),
    ],
)
def test_settings_are_checked(bundle: Bundle, change: dict[str, Any], message: str) -> None:
    raw = json.loads(json.dumps(bundle.manifest.to_json()))
    with pytest.raises(BundleError, match=message):
        type(bundle.manifest).from_json({**raw, "multilabel": {**raw["multilabel"], **change}})


def test_thresholds_and_task_belong_together(bundle: Bundle) -> None:
    manifest = bundle.manifest
    with pytest.raises(BundleError, match="multilabel requires label thresholds"):
        replace(manifest, multilabel=None)
    with pytest.raises(BundleError, match="classify does not allow label thresholds"):
        replace(manifest, task="classify")
    with pytest.raises(BundleError, match="not those of the task multilabel"):
        replace(manifest, outputs=(OutputEntry("logits", (5,)),))
    with pytest.raises(InputError, match="no label thresholds"):
        MultilabelJudge(Bundle(bundle.path, replace(manifest, task="classify", multilabel=None)))
