"""A task that is registered in one place is seen by verify, evaluate, run, events, bench, inspect and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

import toy_task
from bundles import frames, make_bundle
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import BundleError
from edgeproof_runtime.tasks.registry import registered
from growing_files import predictions_in


@pytest.fixture
def bundle(tmp_path: Path) -> Iterator[Bundle]:
    with registered(toy_task.TASK):
        yield make_bundle(tmp_path / "toy.edge", task="toy")


@pytest.fixture
def images(tmp_path: Path, bundle: Bundle) -> Path:
    """Two images of each class."""
    for number, frame in enumerate(frames(2 * len(bundle.labels))):
        folder = tmp_path / "images" / bundle.labels[number % len(bundle.labels)]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return tmp_path / "images"


def report_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_verify_replays_its_golden_cases(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, _, err = cli("verify", bundle.path, "--engine", "onnxruntime", "--json", tmp_path / "report.json")
    assert code == 0, err
    gates = {gate["name"]: gate["passed"] for gate in report_of(tmp_path / "report.json")["gates"]}
    assert gates == {"preprocessing": True, "labels": True, "parity onnxruntime fp32": True}


def test_evaluate_and_its_report_hold_its_figures(cli: Cli, bundle: Bundle, images: Path, tmp_path: Path) -> None:
    code, out, err = cli(
        "evaluate", bundle.path, "--data", images, "--engine", "opencv", "--json", tmp_path / "r.json",
        "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert code == 0, err
    report = report_of(tmp_path / "r.json")
    assert report["toy"]["n"] == 10
    assert report["counts"]["hits"] == round(10 * report["toy"]["hit_rate"])
    assert "A toy was evaluated." in report["warnings"]
    assert report["accuracy"] is None
    assert "hit_rate" in out
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert '<section id="toy">' in page
    assert "Hit rate" in page


def test_run_judges_labelled_frames_and_makes_events(cli: Cli, bundle: Bundle, images: Path, tmp_path: Path) -> None:
    code, out, err = cli(
        "run", bundle.path, "--source", images, "--engine", "opencv", "--labels-from", "parent",
        "--json", tmp_path / "r.json", "--sink", tmp_path / "events.csv", "--predictions", tmp_path / "p.jsonl",
    )  # fmt: skip
    assert code == 0, err
    assert "lowest: " in out
    report = report_of(tmp_path / "r.json")
    assert report["toy"]["n"] == 10
    assert {sample["label"] for sample in report["samples"]} <= set(bundle.labels)
    assert all("lowest" in line for line in predictions_in(tmp_path / "p.jsonl"))
    assert (tmp_path / "events.csv").is_file()


def test_another_tasks_option_is_refused_with_its_own(cli: Cli, bundle: Bundle, images: Path) -> None:
    code, _, err = cli("evaluate", bundle.path, "--data", images, "--min-top1", "0.5")
    assert code == 2
    assert "--min-top1: does not apply to this bundle" in err
    assert "use --min-hits" in err
    code, _, err = cli("evaluate", bundle.path, "--data", images, "--hops")
    assert code == 2
    assert "--hops: requires a classifier" in err


@pytest.mark.slow
def test_inspect_names_it_and_bench_times_it(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    code, out, _ = cli("inspect", bundle.path)
    assert code == 0
    assert "task toy" in out
    code, _, err = cli(
        "bench", bundle.path, "--engine", "opencv", "--duration", "1", "--driver", "builtin",
        "--json", tmp_path / "b.json",
    )  # fmt: skip
    assert code == 0, err
    assert report_of(tmp_path / "b.json")["bench"]["configurations"][0]["stages_ms"]["postprocess"]["count"] > 0


def test_without_the_record_it_is_an_error(cli: Cli, tmp_path: Path) -> None:
    with registered(toy_task.TASK):
        bundle = make_bundle(tmp_path / "toy.edge", task="toy")
    with pytest.raises(BundleError, match="unknown task"):
        Bundle.open(bundle.path)
    for command in (("verify",), ("run", "--source", "0"), ("inspect",)):
        code, _, err = cli(command[0], bundle.path, *command[1:])
        assert code == 2
        assert "unknown task" in err
