"""`--threshold` and `--unknown` of the device program: what Python says of the same images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import pytest

from bundles import frames, make_bundle, make_multilabel_bundle
from edgeproof.library.run import run
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.tasks.classify import Prediction
from edgeproof_runtime.tasks.unknown import SCORES
from growing_files import predictions_in

NONE = {"max-probability": "0", "margin": "0", "energy": "-1e9"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    for number, frame in enumerate(frames(9, seed=3)):
        cv2.imwrite(str(root / f"{number}.png"), frame)
    return root


def on_the_device(program: Path, bundle: Bundle, source: Path, out: Path, *options: str) -> tuple[Any, list[Any], str]:
    report, lines = out / "device.json", out / "device.jsonl"
    lines.unlink(missing_ok=True)
    command = [program, bundle.path, "--source", source, "--json", report, "--predictions", lines, *options]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text()), predictions_in(lines), done.stdout


@pytest.mark.parametrize("score", SCORES)
def test_both_programs_call_the_same_images_unknown(
    device_program: Path, bundle: Bundle, folder: Path, tmp_path: Path, score: str
) -> None:
    _, lines, _ = on_the_device(device_program, bundle, folder, tmp_path, "--unknown", f"{score}:{NONE[score]}")
    values = sorted(line["unknown"]["value"] for line in lines)
    rule = f"{score}:{(values[3] + values[4]) / 2:.6g}"
    device, lines, said = on_the_device(device_program, bundle, folder, tmp_path, "--unknown", rule)
    python = run(
        bundle, str(folder), engine="onnxruntime", unknown=rule, predictions=tmp_path / "python.jsonl"
    ).to_json()
    expected = {line["name"]: line["unknown"] for line in predictions_in(tmp_path / "python.jsonl")}
    assert len(lines) == len(expected) == 9
    for line in lines:
        found, wanted = line["unknown"], expected[line["name"]]
        assert (found["unknown"], found["score"]) == (wanted["unknown"], wanted["score"])
        assert found["value"] == pytest.approx(wanted["value"], abs=1e-4)
        assert found["limit"] == wanted["limit"]
    assert device["counts"]["frames_unknown"] == python["counts"]["frames_unknown"] == 4
    assert device["settings"]["unknown"] == python["settings"]["unknown"]
    assert said.count(": unknown (nearest: ") == 4


def test_a_prediction_below_the_threshold_is_unsure(
    device_program: Path, bundle: Bundle, folder: Path, tmp_path: Path
) -> None:
    _, lines, _ = on_the_device(device_program, bundle, folder, tmp_path)
    assert "sure" not in lines[0]
    limit = f"{median(line['top'][0]['probability'] for line in lines) + 1e-4:.6f}"
    device, lines, said = on_the_device(device_program, bundle, folder, tmp_path, "--threshold", limit)
    settings = EventSettings(threshold=float(limit))
    for line in lines:
        top = [entry["probability"] for entry in line["top"]]
        assert line["sure"] == settings.is_sure(Prediction(np.array(top, np.float32)))
    assert device["counts"]["frames_unsure"] == 5
    assert device["settings"]["threshold"] == float(limit)
    assert said.count(": unsure: ") == 5


def test_invalid_rules_are_refused(device_program: Path, bundle: Bundle, tmp_path: Path) -> None:
    labels = make_multilabel_bundle(tmp_path / "m.edge")
    for path, options, what in (
        (bundle.path, ("--unknown", "entropy:1"), "unknown: invalid rule"),
        (bundle.path, ("--threshold", "2"), "--threshold: not a number in range"),
        (labels.path, ("--unknown", "margin:0.1"), "--unknown: does not apply to"),
    ):
        command = [str(device_program), str(path), "--source", str(tmp_path), *options]
        (tmp_path / "a.png").write_bytes(cv2.imencode(".png", frames(1)[0])[1].tobytes())
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert what in done.stderr
