"""Anomaly scores judged, decided and drawn; their settings as a hand-edited bundle may have them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from bundles import make_defect_bundle, make_generator_bundle
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.manifest import Manifest
from edgeproof_runtime.bundle.task_settings import AnomalySettings, LatentInput
from edgeproof_runtime.contract.contract import Filter, InputContract, ResizeMode
from edgeproof_runtime.contract.region import tensor_region
from edgeproof_runtime.engines import available
from edgeproof_runtime.errors import BundleError, EdgeproofError, InputError
from edgeproof_runtime.metrics.auroc import AnomalyMeter, auroc, auroc_ci95
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.tasks.generate import contact_sheet, to_pictures
from edgeproof_runtime.tasks.reconstruct import ReconstructHead
from edgeproof_runtime.tasks.registry import head_of
from edgeproof_runtime.verify.golden import frame_gates, output_gate
from edgeproof_runtime.verify.sampling import sample_pictures
from reference import region as reference_region
from reference.geometry import Axis, plan

SETTINGS = AnomalySettings(threshold=2.0, quantile=0.95, good_images=50, score="largest residual")
CONTRACT = InputContract(resize="squash", resize_size=(32, 64), crop_size=None)
SCORES = st.lists(st.integers(0, 20).map(float), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_auroc_is_scikit_learns(good: list[float], defect: list[float]) -> None:
    truth = [0] * len(good) + [1] * len(defect)
    assert auroc(good, defect) == pytest.approx(roc_auc_score(truth, good + defect), abs=1e-12)
    low, high = auroc_ci95(good, defect)
    assert 0 <= low <= auroc(good, defect) <= high <= 1
    assert low < high
    assert auroc_ci95(defect, good) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_an_area_of_1_is_not_certain_and_the_surer_the_more_pictures_say_so() -> None:
    lows = [auroc_ci95([0.0] * n, [1.0] * n)[0] for n in (3, 10, 100, 1000)]
    assert lows == sorted(lows)
    assert 0.3 < lows[0] < 0.8
    assert 0.99 < lows[-1] < 1
    assert auroc_ci95([0.0] * 3, [1.0] * 3)[1] == 1


def test_the_interval_of_many_pictures_is_hanley_and_mcneils() -> None:
    rng = np.random.default_rng(0)
    good, defect = rng.normal(0, 1, 2000), rng.normal(1, 1, 2000)
    area = auroc(good, defect)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + 1999 * (q1 - area**2 + q2 - area**2)) / 2000**2
    half = 1.96 * math.sqrt(variance)
    assert auroc_ci95(good, defect) == pytest.approx((area - half, area + half), abs=1e-3)


def test_kinds_are_judged_one_by_one() -> None:
    meter = AnomalyMeter(2.0)
    for kind, score in (("good", 1.0), ("good", 3.0), ("crack", 4.0), ("hole", 2.0), ("hole", math.nan)):
        meter.update(kind, score)
    result = meter.result()
    assert result.false_alarms == 0.5
    assert [(kind.kind, kind.n, kind.auroc, kind.detected) for kind in result.kinds] == [
        ("crack", 1, 1.0, 1.0),
        ("hole", 2, 0.75, 0.5),
    ]
    assert result.mean_auroc == 0.875
    assert AnomalyMeter(2.0).result().mean_auroc is None


def decided(score: float, heat: np.ndarray | None = None, contract: InputContract = CONTRACT) -> Any:
    outputs = (np.zeros((1, 3, 32, 64)), np.zeros((1, 8, 16)) if heat is None else heat[None], np.array([[score]]))
    return ReconstructHead(SETTINGS, contract)(outputs)


def test_a_score_that_is_no_number_is_a_defect() -> None:
    assert decided(2.0).label == "good"
    assert decided(2.1).label == "defect"
    broken = decided(math.nan)
    assert broken.defect
    assert json.dumps(broken.to_json(5), allow_nan=False) == json.dumps(
        {"anomaly": {"score": None, "threshold": 2.0, "defect": True}}
    )
    assert broken.rows(3)[0].bar == 1.0


def test_every_name_but_good_is_a_defect() -> None:
    assert decided(1.0).is_right("good")
    assert not decided(1.0).is_right("crack")
    assert decided(3.0).is_right("crack")


@pytest.mark.parametrize(
    "contract",
    [
        CONTRACT,
        InputContract(resize="letterbox", resize_size=(48, 48), crop_size=None),
        InputContract(resize="shortest", resize_size=(40, 40), crop_size=(32, 32)),
    ],
    ids=lambda contract: contract.resize,
)
def test_heat_is_drawn_where_it_was_found(contract: InputContract) -> None:
    frame = np.full((60, 120), 90, np.uint8)
    frame[20:32, 64:76] = 255
    seen = cv2.resize(frame, (120, 60))
    geometry = plan(contract, *frame.shape)
    resized = cv2.resize(seen, (geometry.x.resized, geometry.y.resized), interpolation=cv2.INTER_AREA)
    tensor = np.zeros(contract.tensor_size, np.float32)
    y, x = geometry.y, geometry.x
    kept = resized[y.keep_start : y.keep_start + y.keep, x.keep_start : x.keep_start + x.keep]
    tensor[y.pad_start : y.pad_start + y.keep, x.pad_start : x.pad_start + x.keep] = kept
    shown = decided(9.0, (tensor > 200).astype(np.float32) * 9, contract).over(frame).astype(int)
    rows, columns = np.nonzero(np.abs(shown - frame[:, :, None]).max(axis=2) > 60)
    assert abs(rows.mean() - 25.5) < 2
    assert abs(columns.mean() - 69.5) < 2
    assert np.array_equal(decided(1.0).over(frame)[0, 0], [90, 90, 90])


@settings(max_examples=60)
@given(st.sampled_from(["shortest", "cover", "squash", "letterbox", "crop_fraction"]), st.data())
def test_the_region_is_the_geometrys(mode: ResizeMode, data: st.DataObject) -> None:
    side = st.integers(8, 60)
    size = data.draw(st.tuples(side, side))
    size = (size[0], size[0]) if mode == "shortest" else size
    filter_: Filter = "bilinear"
    contract = InputContract(
        resize=mode,
        resize_size=size,
        crop_size=(size[0] - 2, size[1] - 1) if mode in ("shortest", "cover") else None,
        crop_fraction=0.8 if mode == "crop_fraction" else None,
        filter=filter_,
    )
    height, width = data.draw(st.tuples(st.integers(8, 400), st.integers(8, 400)))
    region = tensor_region(contract, height, width)
    found = (region.top, region.left, region.height, region.width)
    assert found == reference_region.tensor_region(contract, height, width)
    geometry = plan(contract, height, width)

    def span(axis: Axis, out: int) -> tuple[float, float]:
        scale = axis.box / axis.resized
        return axis.box_start + (axis.keep_start - axis.pad_start) * scale, out * scale

    out_h, out_w = contract.tensor_size
    assert (region.top, region.height) == pytest.approx(span(geometry.y, out_h))
    assert (region.left, region.width) == pytest.approx(span(geometry.x, out_w))


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {**SETTINGS.to_json(), "more": 1},
        {**SETTINGS.to_json(), "threshold": "2"},
        {**SETTINGS.to_json(), "threshold": float("nan")},
        {**SETTINGS.to_json(), "threshold": 10**400},
        {**SETTINGS.to_json(), "quantile": 0},
        {**SETTINGS.to_json(), "good_images": True},
        {**SETTINGS.to_json(), "score": ""},
        {**SETTINGS.to_json(), "quantile": None},
        {**SETTINGS.to_json(), "good_images": None},
    ],
)
def test_damaged_anomaly_settings_are_one_message(raw: Any) -> None:
    with pytest.raises(BundleError):
        AnomalySettings.from_json(raw)
    assert AnomalySettings.from_json(SETTINGS.to_json()) == SETTINGS
    with_the_model = replace(SETTINGS, quantile=None, good_images=None)
    assert AnomalySettings.from_json(json.loads(json.dumps(with_the_model.to_json()))) == with_the_model


@pytest.mark.skipif(not available(), reason="no engine is installed")
def test_a_model_without_a_reconstruction_decides_and_draws_alike(tmp_path: Path) -> None:
    whole = make_defect_bundle(tmp_path / "whole.edge")
    bundle = make_defect_bundle(tmp_path / "blur.edge", reconstructs=False)
    tensor, frame = np.random.default_rng(0).random((1, 1, 16, 16), np.float32), np.zeros((40, 30, 3), np.uint8)
    with load_engine(whole, available()[0], "fp32") as first, load_engine(bundle, available()[0], "fp32") as second:
        one, other = head_of(whole)(first.run(tensor)), head_of(bundle)(second.run(tensor))
    assert other.to_json(1) == one.to_json(1)
    assert np.array_equal(other.over(frame), one.over(frame))
    raw = json.loads(json.dumps(bundle.manifest.to_json()))
    raw["outputs"] = raw["outputs"][1:]
    for case in raw["golden"]:
        case["outputs"] = case["outputs"][1:]
    with pytest.raises(BundleError, match="outputs are not those"):
        Manifest.from_json(raw)


@pytest.mark.parametrize(
    "change",
    [{"size": 0}, {"normal": "mersenne"}, {"color": "bgr"}, {"low": 1.0}, {"high": None}, {"batch": {"min": 0}}],
    ids=str,
)
def test_a_damaged_latent_input_is_one_message(change: dict[str, Any]) -> None:
    latent = LatentInput(size=8)
    with pytest.raises((EdgeproofError, TypeError)):
        LatentInput.from_json({**latent.to_json(), **change})
    assert LatentInput.from_json(json.loads(json.dumps(latent.to_json()))) == latent


def test_a_generators_values_become_pixels() -> None:
    latent = LatentInput(size=4, color="rgb", low=-1.0, high=1.0)
    output = np.array([-2.0, 0.0, 1.0], np.float32).reshape(1, 3, 1, 1)
    assert to_pictures(output, latent).tolist() == [[[[255, 128, 0]]]]
    with pytest.raises(EdgeproofError, match="values are not finite"):
        to_pictures(output * np.nan, latent)
    sheet = contact_sheet([np.full((4, 4), 200, np.uint8)] * 3, 2)
    assert sheet.shape == (14, 14)
    assert (sheet == 200).sum() == 48


def test_golden_latents_are_read_by_both_languages() -> None:
    golden = json.loads((Path(__file__).parents[2] / "golden" / "latent.json").read_text(encoding="utf-8"))
    assert all(case["seed"] < 2**53 for case in golden), "a JSON number in C++ is a double"


@pytest.mark.parametrize("engine", available())
def test_every_engine_passes_the_golden_cases_of_every_task(engine: str, tmp_path: Path) -> None:
    for bundle in (make_defect_bundle(tmp_path / "blur.edge"), make_generator_bundle(tmp_path / "dense.edge")):
        cases = load_golden(bundle)
        with load_engine(bundle, engine, "fp32") as loaded:
            gates = [*frame_gates(bundle, cases), output_gate(bundle, loaded, cases)]
        assert len(gates) == 2
        if engine != "null":
            assert all(gate.passed for gate in gates), gates


def test_a_batch_draws_what_single_pictures_are(tmp_path: Path) -> None:
    bundle = make_generator_bundle(tmp_path / "dense.edge")
    with load_engine(bundle, "onnxruntime", "fp32", max_batch=4) as loaded:
        together = list(sample_pictures(bundle, loaded, seed=3, count=6, batch=4))
        alone = [next(sample_pictures(bundle, loaded, seed=3, count=1, first=i)) for i in range(6)]
    assert np.abs(np.stack(together).astype(int) - np.stack(alone)).max() <= 1
    with pytest.raises(InputError, match="takes no frames"):
        head_of(bundle)


@pytest.mark.parametrize(
    "change",
    [{"anomaly": None}, {"task": "generate"}, {"task": "classify"}, {"outputs": ()}, {"latent": LatentInput(size=3)}],
    ids=lambda change: next(iter(change)),
)
def test_a_manifest_that_contradicts_its_task_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    manifest = make_defect_bundle(tmp_path / "blur.edge").manifest
    with pytest.raises(BundleError):
        replace(manifest, **change)
