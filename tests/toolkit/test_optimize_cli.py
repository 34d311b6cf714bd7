"""`edgeproof optimize` as one types it, and its report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bundles import LABELS, make_bundle
from command_line import Cli
from edgeproof_export.optimize import judge, recipes
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.measure import Plan


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's quantiser for both shapes: importing NNCF takes seconds; and little time for times."""
    plain = (recipes.RECIPES["tensorrt"][0],)
    monkeypatch.setitem(recipes.RECIPES, "cpu", plain)
    monkeypatch.setitem(recipes.RECIPES, "tensorrt", plain)
    monkeypatch.setattr(judge, "_PLAN", Plan(turns=2, duration_s=0.1, block_ms=1.0, min_runs=1, warm_up_s=0.01))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    arrays = {f"x_{part}": rng.integers(0, 256, (120, 20, 20, 3), dtype=np.uint8) for part in ("train", "test")}
    arrays |= {f"y_{part}": np.arange(120) % len(LABELS) for part in ("train", "test")}
    np.savez(tmp_path / "data.npz", **arrays)
    return tmp_path / "data.npz"


@pytest.mark.slow
def test_optimize_adds_what_holds_and_shows_the_evidence(cli: Cli, tmp_path: Path, data: Path) -> None:
    path = make_bundle(tmp_path / "tiny.edge").path
    code, out, err = cli(
        "optimize", path, "--data", data, "--calibration", data, "--max-drop", "0.2",
        "--json", "o.json", "--report", "o.html",
    )  # fmt: skip
    assert code == 0, err
    assert "model.int8-tensorrt.onnx" in out
    opened = Bundle.open(path)
    assert opened.precisions == ("fp32", "fp16", "int8")
    assert "evidence/optimize.json" in opened.evidence
    found = json.loads((tmp_path / "o.json").read_text())
    assert (found["kind"], found["passed"]) == ("optimize", True)
    assert (found["counts"]["calibration_pictures"], found["counts"]["validation_pictures"]) == (120, 120)
    models = found["optimization"]["models"]
    assert set(models) == {"fp16", "int8", "int8-tensorrt"}
    point = models["int8"]["points"][0]
    assert point["chosen"]
    assert {"drop_ci95", "p_value", "lost", "gained"} <= set(point["paired"])
    assert point["speed"]["speedup"]["estimate"] > 0
    assert models["int8-tensorrt"]["points"][0]["speed"] is None
    assert len(models["int8"]["flips"]) == min(12, models["int8"]["lost"] + models["int8"]["gained"])
    page = (tmp_path / "o.html").read_text()
    assert "Accuracy and speed by precision" in page
    assert "Accuracy against speed" in page


def test_a_budget_of_nothing_says_that_fp32_stays(cli: Cli, tmp_path: Path, data: Path) -> None:
    path = make_bundle(tmp_path / "tiny.edge").path
    code, out, err = cli("optimize", path, "--data", data, "--max-drop", "0", "--report", "o.html")
    assert code == 0
    assert "A budget of 0 permits fp32 only" in err
    assert out.strip().endswith("model.onnx")
    assert Bundle.open(path).precisions == ("fp32",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "int4"), "--precision: unsupported by optimize"),
        (("--calibration-pictures", "20"), "too few images"),
        (("--engine", "opencv"), "--engine: unsupported by optimize"),
        (("--split", "train", "--calibration", "data.npz"), "shares images with --data"),
        (("--json", "data.npz"), "would be overwritten"),
        (("--json", "data.npz/report.json"), "data.npz is a file"),
    ],
)
def test_what_cannot_be_is_one_message(
    cli: Cli, tmp_path: Path, data: Path, arguments: tuple[str, ...], message: str
) -> None:
    path = make_bundle(tmp_path / "tiny.edge").path
    code, _, err = cli("optimize", path, "--data", data, *arguments)
    assert code == 2
    assert message in err
    assert Bundle.open(path).precisions == ("fp32",)
