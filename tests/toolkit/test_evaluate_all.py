"""`edgeproof evaluate` of several bundles: the reports of one each, and their paired comparison."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

import edgeproof
from bundles import LABELS, make_bundle, make_defect_bundle, tiny_onnx, write_sorted
from command_line import Cli
from edgeproof.library.evaluate_all import one_cluster
from edgeproof.scale import pools
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.metrics.accuracy import wilson_interval

ENGINE = ("--engine", "onnxruntime")
ORDER = tuple(reversed(range(len(LABELS))))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A classifier, another one, the first with its classes in another order, and images that the first has right."""
    first = make_bundle(tmp_path / "first.edge")
    make_bundle(tmp_path / "other.edge", model=tiny_onnx(seed=1))
    model = tiny_onnx()
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.shape[-1:] == (len(LABELS),):
            constant.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values[..., list(ORDER)]), constant.name))
    make_bundle(tmp_path / "turned.edge", labels=tuple(LABELS[i] for i in ORDER), model=model)
    write_sorted(tmp_path / "sorted", first)
    image = sorted((tmp_path / "sorted").rglob("*.png"))[0]
    (image.parent / "cut.png").write_bytes(image.read_bytes()[:60])
    return tmp_path


def rows_of(cli: Cli, place: Path, bundle: str) -> list[dict[str, Any]]:
    cli("evaluate", bundle, "--data", "sorted", *ENGINE, "--no-evidence", "--predictions", "p.jsonl")
    return [json.loads(line) for line in (place / "p.jsonl").read_text().splitlines()]


def same(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("bundle", "counts", "accuracy", "gates", "samples", "settings")}


def test_reports_are_those_of_one_each_and_the_comparison_is_paired(cli: Cli, place: Path) -> None:
    names = ("first.edge", "other.edge", "turned.edge")
    code, out, err = cli("evaluate", *names, "--data", "sorted", *ENGINE, "--json", "all.json")
    found = json.loads((place / "all.json").read_text())
    assert (found["schema"], found["data"]) == ("edgeproof.evaluations/1", "sorted")
    assert [one["bundle"] for one in found["bundles"]] == list(names)
    assert code == (0 if found["passed"] else 1), err
    assert "3 bundles on sorted" in out
    for one in found["bundles"]:
        alone, _, _ = cli("evaluate", one["bundle"], "--data", "sorted", *ENGINE, "--json", "one.json")
        report = json.loads((place / "one.json").read_text())
        assert same(one["report"]) == same(report)
        assert alone == (0 if one["passed"] else 1)
        assert one["value"] == report["accuracy"]["top1"]
        assert one["ci95"] == pytest.approx(wilson_interval(report["counts"]["correct"], one["n"]))
        assert (one["metric"], one["n"]) == ("top-1", 12)
        assert report["counts"]["frames_failed"] == 1
    first, other, turned = (one["against_first"] for one in found["bundles"])
    assert first is None
    rows = [rows_of(cli, place, name) for name in names]
    lost = sum(a["correct"] and not b["correct"] for a, b in zip(rows[0], rows[1], strict=True))
    changed = sum(a["label"] != b["label"] for a, b in zip(rows[0], rows[1], strict=True))
    assert (other["n"], other["lost"], other["gained"], other["changed"]) == (12, lost, 0, changed)
    assert lost > 0
    assert (turned["lost"], turned["changed"], turned["both_right"]) == (0, 0, 12)


def test_a_failed_gate_of_any_bundle_exits_1_after_all_of_them(cli: Cli, place: Path) -> None:
    command = ("evaluate", "other.edge", "first.edge", "--data", "sorted", *ENGINE, "--min-top1", "0.99")
    code, out, err = cli(*command, "--json", "-")
    found = json.loads(out)
    assert code == 1
    assert [one["passed"] for one in found["bundles"]] == [False, True]
    assert "1 bundle of 2 failed gates on sorted" in err
    assert "other.edge: " in err
    assert found["bundles"][1]["against_first"]["gained"] > 0


def test_other_tasks_and_other_images_are_not_paired(place: Path) -> None:
    make_defect_bundle(place / "d.edge")
    make_defect_bundle(place / "e.edge", threshold=0.25)
    full = next((place / "sorted").rglob("0*.png")).parent
    full.rename(place / "sorted" / "good")
    found = edgeproof.evaluate_all(
        [place / "d.edge", place / "e.edge"], place / "sorted", engine="onnxruntime", evidence=False
    )
    assert found.changes == [None, None]
    assert [quality.metric for quality in found.qualities if quality] == ["AUROC", "AUROC"]
    (place / "sorted" / "good").rename(full)
    given: dict[str, Any] = {"engine": "onnxruntime", "evidence": False}
    first = edgeproof.evaluate(place / "first.edge", place / "sorted", **given)
    fewer = edgeproof.evaluate(place / "first.edge", place / "sorted", limit=5, **given)
    assert fewer.top_one.against(first.top_one) is None
    change = first.top_one.against(first.top_one)
    assert change is not None
    assert (change.both_right, change.changed) == (12, 0)
    others = make_bundle(place / "names.edge", labels=tuple(f"x{label}" for label in LABELS))
    image = next((place / "sorted").rglob("*.png"))
    for label in others.labels:
        (place / "renamed" / label).mkdir(parents=True)
    (place / "renamed" / others.labels[0] / "a.png").write_bytes(image.read_bytes())
    renamed = edgeproof.evaluate(others, place / "renamed", **given)
    assert renamed.top_one.against(first.top_one) is None


def test_what_several_bundles_refuse(cli: Cli, place: Path) -> None:
    several = ("evaluate", "first.edge", "other.edge", "--data", "sorted", *ENGINE)
    for more, said in (
        (("--predictions", "p.csv"), "--predictions: requires one bundle"),
        (("--report", "p.html"), "--report: requires one bundle"),
        (("--hops", "--weights", "w.pth"), "--weights: requires one bundle"),
        (("--workers", "2"), "--workers: requires --on"),
    ):
        code, out, err = cli(*several, *more)
        assert (code, out) == (2, ""), (more, err)
        assert said in err
    code, _, err = cli("evaluate", "first.edge", "./first.edge", "--data", "sorted")
    assert code == 2
    assert "given twice" in err
    code, _, err = cli("evaluate", "first.edge", "sorted", "--data", "sorted")
    assert code == 2
    assert "sorted" in err
    with pytest.raises(InputError, match="requires a bundle"):
        edgeproof.evaluate_all([], "sorted")
    with pytest.raises(BundleError):
        edgeproof.evaluate_all([place / "first.edge", place / "sorted"], place / "sorted")


def test_a_cluster_is_started_and_stopped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    ray = SimpleNamespace(
        is_initialized=lambda: calls[-1:] == ["start"],
        cluster_resources=lambda: {"CPU": 2.0},
        get_runtime_context=lambda: SimpleNamespace(gcs_address="here"),
        shutdown=lambda: calls.append("stop"),
    )
    monkeypatch.setattr(pools, "_ray", lambda: ray)
    monkeypatch.setattr(pools, "_connect", lambda _ray, _on: calls.append("start"))
    with one_cluster("ray"):
        for _ in range(3):
            with pools.opened_pool("ray", engine="onnxruntime") as pool:
                assert (pool.place, pool.workers) == ("here", 2)
            assert calls == ["start"]
    assert calls == ["start", "stop"]
    with pools.opened_pool("ray", engine="onnxruntime"):
        pass
    assert calls == ["start", "stop"] * 2
    with one_cluster(None):
        pass
    assert len(calls) == 4
