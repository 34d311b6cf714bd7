"""The accuracy budget of anomaly models: AUROC with labelled defects, scores of good images without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from anomalib_files import checkpoint, forget, write_package
from bundles import make_defect_bundle
from edgeproof import optimize, verify
from edgeproof.report.headline import tiles
from edgeproof_export.pipeline import export_bundle
from edgeproof_export.tasks import budget_of
from edgeproof_export.tasks.anomaly_budget import AurocBudget, GoodBudget, open_judged
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.auroc import AnomalyMeter

NAMES = ("crack", "good", "hole")
TARGETS = (1, 1, 1, 1, 0, 0, 0, 2, 2)
AUROC, GOOD = AurocBudget(0.5, NAMES), GoodBudget(0.5)
SCORES = arrays(np.float32, (len(TARGETS), 1), elements=st.sampled_from([0.0, 0.2, 0.4, 0.5, 0.6, 0.9, float("nan")]))


def column(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None]


@given(SCORES, SCORES)
def test_the_auroc_is_that_of_evaluate(first: NDArray[np.float32], second: NDArray[np.float32]) -> None:
    paired = AUROC.compare(first, second, TARGETS)
    for scores, value in ((first, paired.reference), (second, paired.candidate)):
        meter = AnomalyMeter(0.5)
        for score, target in zip(scores[:, 0].tolist(), TARGETS, strict=True):
            meter.update(NAMES[target], score)
        assert value == pytest.approx(meter.result().mean_auroc)
        assert AUROC.figures(scores, TARGETS)["mean_auroc"] == pytest.approx(value)
    assert AUROC.compare(second, first, TARGETS).drop == pytest.approx(-paired.drop)
    same = AUROC.compare(first, first, TARGETS)
    assert (same.drop, same.error, same.lost, same.gained) == (0.0, 0.0, 0, 0)


def test_the_error_of_the_drop_is_delongs() -> None:
    rng = np.random.default_rng(0)
    names, targets = ("bad", "good"), [0] * 60 + [1] * 80
    budget = AurocBudget(0.5, names)
    drops, errors = [], []
    for _ in range(200):
        true = rng.normal(size=140) + np.array([1.0] * 60 + [0.0] * 80)
        first, second = ((true + rng.normal(0, 0.5, 140)).astype(np.float32)[:, None] for _ in range(2))
        paired = budget.compare(first, second, targets)
        drops.append(paired.drop)
        errors.append(paired.error)
    assert np.mean(errors) == pytest.approx(np.std(drops), rel=0.2)


@given(SCORES, SCORES)
def test_good_images_lose_by_what_their_scores_change(first: NDArray[np.float32], second: NDArray[np.float32]) -> None:
    targets = [0] * len(first)
    losses = GOOD.losses(first, second, targets)
    assert ((losses >= 0) & (losses <= 1)).all()
    assert GOOD.compare(first, second, targets).drop == pytest.approx(losses.mean())
    alarms = (first[:, 0] <= 0.5) & ~(second[:, 0] <= 0.5)
    assert (losses[alarms] == 1).all()


def test_a_model_that_finds_nothing_any_more_is_over_the_budget() -> None:
    """It raises no false alarm, so that the alarms alone would let it pass."""
    assert GOOD.compare(column(0.3, 0.4), column(0.0, 0.0), [0, 0]).drop == pytest.approx(0.7)
    assert not np.isnan(GOOD.divergence(column(0.3), column(float("nan"))))


def test_kinds_lost_and_gained() -> None:
    before, after = column(0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.9, 0.9), column(*[0.1] * 4, *[0.1, 0.9, 0.9], 0.9, 0.9)
    changes = {AUROC.class_label(c.index): (c.support, c.lost, c.gained) for c in AUROC.changes(before, after, TARGETS)}
    assert changes == {"good": (4, 0, 1), "crack": (3, 1, 1)}
    assert AUROC.answer(before[3]) == "defect 0.9"
    assert GOOD.summary(before[:4], [0] * 4) == "1 of 4 good validation images above the threshold (25.00%)"
    with pytest.raises(InputError, match="requires good images and defects"):
        AUROC.compare(before[:4], after[:4], TARGETS[:4])


def write(folder: Path, count: int, spot: int = 0) -> None:
    rng = np.random.default_rng(spot)
    folder.mkdir(parents=True)
    for number in range(count):
        image = cv2.resize(rng.integers(90, 130, (5, 5, 3), dtype=np.uint8), (24, 24))
        if spot:
            image[4 : 4 + spot, 4 : 4 + spot] = 255
        cv2.imwrite(str(folder / f"{number}.png"), image)


def test_the_data_decides_which_budget(tmp_path: Path) -> None:
    bundle = make_defect_bundle(tmp_path / "a.edge")
    write(tmp_path / "all/good", 3)
    write(tmp_path / "plain", 3)
    write(tmp_path / "split/test/good", 2)
    write(tmp_path / "defects/crack", 2, 6)
    write(tmp_path / "both/good", 2)
    write(tmp_path / "both/crack", 2, 6)
    for name, count in (("all", 3), ("plain", 3), ("split", 2)):
        data = open_judged(bundle, tmp_path / name, DataOptions())
        assert (data.names, len(data)) == (("good",), count)
        assert isinstance(budget_of(bundle, data.names), GoodBudget)
    assert isinstance(budget_of(bundle, open_judged(bundle, tmp_path / "both", DataOptions()).names), AurocBudget)
    for wrong in ("defects", "none"):
        with pytest.raises(InputError, match="good images and defects not found"):
            open_judged(bundle, tmp_path / wrong, DataOptions())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle of a convolutional anomaly model, and images."""
    root = tmp_path_factory.mktemp("anomalies")
    write(root / "test/good", 60)
    write(root / "test/hole", 30, 6)
    write_package(root / "site")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "site"))
        forget()
        path = checkpoint(root / "model.ckpt", image_max=90.0, pixel_max=90.0)
        export_bundle(f"anomalib:{path}", root / "a.edge", data=str(root / "test"))
        forget()
    return root


@pytest.mark.parametrize(("data", "metric"), [("test", "AUROC"), ("test/good", "score agreement")])
def test_precisions_are_added_and_the_report_says_by_what(
    exported: Path, data: str, metric: str, tmp_path: Path
) -> None:
    done: Any = optimize(exported / "a.edge", exported / data, max_drop=0.05, force=True, work=tmp_path)
    found = done.report.to_json()
    assert found["optimization"]["metric"] == metric
    assert set(found["optimization"]["models"]) == {"fp16", "int8", "int8-tensorrt"}
    assert found["optimization"]["models"]["fp16"]["added"]
    unmeasured = any("Whether defects are still found was not measured" in note for note in found["warnings"])
    assert unmeasured == (metric != "AUROC")
    assert any(metric.split()[0].lower() in tile.label.lower() or "Good" in tile.label for tile in tiles(found))
    bundle = Bundle.open(exported / "a.edge")
    assert {"fp32", "fp16"} <= set(bundle.models)
    assert all(gate.passed for gate in verify(bundle).gates)
