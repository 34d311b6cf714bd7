"""Frame health in the device program: what Python finds, leaves out and counts in the same video."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bundles import make_bundle
from edgeproof.library.run import run
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.sources import HealthOptions
from reference.drawn import drawn
from scenes import SHARP


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "tiny.edge")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three healthy frames, two black ones, two healthy ones, ten that are the same."""
    healthy = [np.roll(drawn(SHARP | {"width": 320, "height": 240, "period": 24}), 7 * i, axis=1) for i in range(6)]
    path = tmp_path_factory.mktemp("clip") / "faulty.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    for frame in (*healthy[:3], *[np.zeros_like(healthy[0])] * 2, *healthy[3:5], *[healthy[5]] * 10):
        writer.write(frame)
    writer.release()
    return path


def on_the_device(program: Path, bundle: Bundle, clip: Path, folder: Path, *options: str) -> tuple[Any, list[Any]]:
    report, lines = folder / "device.json", folder / "device.jsonl"
    command = [program, bundle.path, "--source", clip, "--json", report, "--predictions", lines, *options]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    read = [json.loads(line) for line in lines.read_text().splitlines()]
    return json.loads(report.read_text()), [line for line in read if "index" in line]


def test_both_programs_leave_out_the_same_frames(
    device_program: Path, bundle: Bundle, clip: Path, tmp_path: Path
) -> None:
    device, lines = on_the_device(
        device_program, bundle, clip, tmp_path, "--health", "frozen=4", "--classify-unhealthy", "black"
    )
    health = HealthOptions(limits="frozen=4", classify="black")
    python = run(bundle, str(clip), engine="null", health=health, predictions=tmp_path / "python.jsonl").to_json()
    found, expected = device["health"]["streams"][0], python["health"]["streams"][0]
    for key in ("frames_in", "left_out", "classified", "at_the_end", "limits"):
        assert found[key] == expected[key], key
    assert found["left_out"] == {"frozen": 7}
    assert found["classified"] == {"black": 2}
    for key in ("frames_in", "frames_classified", "frames_dropped", "frames_unhealthy", "frames_failed"):
        assert device["counts"][key] == python["counts"][key], key
    assert [line["index"] for line in lines if line.get("health") == "black"] == [3, 4]
    assert len(lines) == device["counts"]["frames_classified"] == 10
    assert device["streams"][0].keys() == python["streams"][0].keys()
    assert sum(device["timeline"]["frames"]) == device["counts"]["frames_in"] == 17


def test_invalid_limits_are_refused_before_anything_opens(device_program: Path, tmp_path: Path) -> None:
    for options, what in ((("--health", "frozen=1"), "out of range"), (("--classify-unhealthy", "x"), "unknown cause")):
        command = [str(device_program), str(tmp_path / "none.edge"), "--source", "0", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert what in done.stderr
