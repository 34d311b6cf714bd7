"""Export and optimisation of multi-label models, counted in mAP."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from bundles import evidence_of
from edgeproof.training import Trained, TrainOptions, train
from edgeproof_export import export_bundle
from edgeproof_export.optimize import OptimizeOptions, optimize_bundle
from edgeproof_export.tasks.map_budget import MapBudget
from edgeproof_export.tasks.paired_figure import PairedFigure
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.multilabel import MultilabelData
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.tasks.multilabel import MultilabelHead
from multilabel_data import SHAPES, shapes

TARGETS = [(0,), (0, 1), (), (1,), (0,)]
REFERENCE = np.array([[0.9, 0.2], [0.8, 0.7], [0.4, 0.1], [0.3, 0.9], [0.6, 0.3]], np.float32)
BUDGET = MapBudget(MultilabelHead((0.5, 0.5), ("cat", "dog")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    folder = tmp_path_factory.mktemp("shapes")
    np.savez(folder / "shapes.npz", **shapes())
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in SHAPES))
    options = TrainOptions(
        data=str(folder / "shapes.npz"), labels=folder / "labels.txt", out=folder / "run", epochs=12, batch=32
    )
    return folder, train("multilabel:lenet", options)


@pytest.fixture(scope="module")
def bundle(trained: tuple[Path, Trained]) -> Bundle:
    folder, done = trained
    data = str(folder / "shapes.npz")
    return export_bundle(str(done.checkpoint), folder / "shapes.edge", data=data, golden_images=4).bundle


def test_the_graph_ends_in_the_sigmoid_and_the_bundle_has_the_thresholds(
    trained: tuple[Path, Trained], bundle: Bundle
) -> None:
    (output,) = bundle.manifest.outputs
    assert (output.name, output.shape, output.activation) == ("probabilities", (3,), "sigmoid")
    assert bundle.labels == SHAPES
    report = json.loads((trained[1].checkpoint.parent / "report.json").read_text())
    assert bundle.manifest.multilabel is not None
    thresholds = [one["threshold"] for one in report["multilabel"]["per_class"]]
    assert list(bundle.manifest.multilabel.thresholds) == thresholds
    evidence = evidence_of(bundle, "export")
    for key in ("mean_average_precision", "micro", "exact_match"):
        assert evidence["multilabel"][key] == pytest.approx(report["multilabel"][key], abs=1e-6)
    assert all(gate["passed"] for gate in evidence["gates"])
    assert evidence["samples"][0]["truth"]


def test_images_without_labels_are_enough_for_the_gates(trained: tuple[Path, Trained], tmp_path: Path) -> None:
    done = export_bundle(str(trained[1].checkpoint), tmp_path / "x.edge", golden_images=2, gate_images=4)
    assert "multilabel" not in done.report.sections
    with pytest.raises(InputError, match="no such file"):
        export_bundle(str(trained[1].checkpoint), tmp_path / "y.edge", data=str(tmp_path / "none.csv"))


def test_a_checkpoint_without_thresholds_is_refused(trained: tuple[Path, Trained], tmp_path: Path) -> None:
    content = torch.load(trained[1].checkpoint, weights_only=True)
    content["edgeproof"]["facts"] = {}
    torch.save(content, tmp_path / "early.ckpt")
    with pytest.raises(InputError, match="has no label thresholds"):
        export_bundle(str(tmp_path / "early.ckpt"), tmp_path / "z.edge")


def test_the_budget_is_counted_in_map(trained: tuple[Path, Trained], bundle: Bundle) -> None:
    data = MultilabelData.open(trained[0] / "shapes.npz", SHAPES)
    outcome = optimize_bundle(bundle, data, OptimizeOptions(precisions=("fp16",), max_drop=0.02))
    found = json.loads(json.dumps(outcome.to_json()))
    assert found["metric"] == "mAP"
    assert 0.9 < found["fp32"]["mean_average_precision"] <= 1
    (point,) = found["models"]["fp16"]["points"]
    assert point["chosen"]
    assert point["candidate"] == point["paired"]["candidate_map"]
    assert abs(point["paired"]["drop"]) < 0.02
    assert outcome.fp32_summary.startswith("mAP 0.9")
    assert "fp16" in outcome.bundle.models


def test_a_drop_has_an_interval_of_the_paired_difference() -> None:
    candidate = REFERENCE.copy()
    candidate[2, 0] = 0.85  # an image without the class now ranks second
    paired = BUDGET.compare(REFERENCE, candidate, TARGETS)
    shown = np.array([[1, 0], [1, 1], [0, 0], [0, 1], [1, 0]])
    expected = [average_precision_score(shown, scores) for scores in (REFERENCE, candidate)]
    assert (paired.reference, paired.candidate) == pytest.approx(expected)
    assert paired.drop == pytest.approx(expected[0] - expected[1])
    low, high = paired.drop_ci95
    assert low < paired.drop < high
    assert 0 < paired.p_value < 1
    assert (paired.lost, paired.gained) == (1, 0)
    assert paired.pictures_to_resolve(0.1) > paired.pictures_to_resolve(0.5) >= 2
    same = BUDGET.compare(REFERENCE, REFERENCE, TARGETS)
    assert (same.drop, same.drop_ci95, same.p_value, same.pictures_to_resolve(0.25)) == (0.0, (0.0, 0.0), 1.0, 4)
    assert PairedFigure(key="map", n=9, reference=1.0, candidate=0.5, error=0.0, lost=0, gained=0).p_value == 0.0


def test_answers_that_are_not_numbers_are_never_right() -> None:
    candidate = REFERENCE.copy()
    candidate[0] = np.nan
    assert BUDGET.right(candidate, TARGETS).tolist() == [False, True, True, True, True]
    assert BUDGET.compare(REFERENCE, candidate, TARGETS).drop > 0
    assert BUDGET.answer(candidate[0]) == "not a number"
    assert BUDGET.answer(REFERENCE[1]) == "cat, dog"
    assert BUDGET.truth((1,)) == "dog"
    with pytest.raises(InputError, match="requires images with labels"):
        BUDGET.compare(REFERENCE[:1], REFERENCE[:1], [()])


def test_divergence_and_changes() -> None:
    assert BUDGET.divergence(REFERENCE, REFERENCE) == 0.0
    one, other = np.array([[0.5, 0.5]], np.float32), np.array([[0.25, 0.5]], np.float32)
    assert BUDGET.divergence(one, other) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75))
    candidate = REFERENCE.copy()
    candidate[3, 1], candidate[4, 1] = 0.1, 0.9
    (change,) = BUDGET.changes(REFERENCE, candidate, TARGETS)
    assert (change.index, change.support, change.lost, change.gained) == (1, 2, 2, 0)
    assert BUDGET.class_label(1) == "dog"
    assert BUDGET.figures(REFERENCE, TARGETS)["exact"] == 5
