"""The main job on real weights, real photographs and a real clip, as one would type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from growing_files import predictions_in
from run_wide import once

pytestmark = pytest.mark.slow

ENGINES = ("onnxruntime", "openvino", "opencv")
PHOTOGRAPHS = 500


def edgeproof(*arguments: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "edgeproof", *(str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def torch_correct(data_dir: Path) -> int:
    """PyTorch's own count, with timm's transforms on Pillow and none of our preprocessing."""
    counted = once("lite0-correct.txt", lambda out: out.write_text(str(count_with_timm(data_dir))))
    return int(counted.read_text())


def count_with_timm(data_dir: Path) -> int:
    import timm
    import torch
    from PIL import Image

    from edgeproof.demo import weights_file

    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.to(memory_format=torch.channels_last)  # a quarter less time
    tensors = torch.load(weights_file(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), tensors.values(), strict=True)))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    wnids = (data_dir / "imagenet-wnids.txt").read_text().split()
    paths = sorted((data_dir / "imagenet-samples").rglob("*.JPEG"))
    correct = 0
    for start in range(0, len(paths), 50):
        group = paths[start : start + 50]
        batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in group])
        batch = batch.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            answers = model(batch).argmax(dim=1).tolist()
        correct += sum(a == wnids.index(path.parent.name) for a, path in zip(answers, group, strict=True))
    return correct


@pytest.mark.parametrize("engine", ENGINES)
def test_top1_is_pytorchs_within_one_photograph(
    lite0: Path, torch_correct: int, engine: str, data_dir: Path, tmp_path: Path
) -> None:
    report = tmp_path / "evaluate.json"
    # One thread: an engine's other threads spin while the next photograph is read.
    how = ("--engine", engine, "--threads", 1)
    edgeproof("evaluate", lite0, "--data", data_dir / "imagenet-samples", *how, "--json", report)
    found = json.loads(report.read_text())
    assert found["counts"]["frames_classified"] == PHOTOGRAPHS
    assert abs(found["counts"]["correct"] - torch_correct) <= 1
    assert any(gate["name"] == "drop from PyTorch" for gate in found["gates"])


def test_the_bottle_clip_is_classified_frame_by_frame(lite0: Path, data_dir: Path, tmp_path: Path) -> None:
    clip = data_dir / "videos/bottle-detection.mp4"
    saved, lines, report = (tmp_path / name for name in ("out.mp4", "out.jsonl", "run.json"))
    edgeproof("run", lite0, "--source", clip, "--save", saved, "--predictions", lines, "--json", report)
    found: dict[str, Any] = json.loads(report.read_text())
    counts = found["counts"]
    assert counts["frames_in"] == counts["frames_classified"] + counts["frames_dropped"] == 1189
    assert counts["frames_dropped"] == 0
    predictions = predictions_in(lines)
    assert [p["index"] for p in predictions] == list(range(1189))
    assert sum("bottle" in p["top"][0]["label"] for p in predictions) > len(predictions) / 2
    assert all(found["latency_ms"]["end_to_end"][q] is not None for q in ("p50", "p90", "p99"))
    original, copy = cv2.VideoCapture(str(clip)), cv2.VideoCapture(str(saved))
    assert int(copy.get(cv2.CAP_PROP_FRAME_COUNT)) == 1189
    first, annotated = original.read()[1], copy.read()[1]
    original.release()
    copy.release()
    assert np.abs(first[: first.shape[0] // 2].astype(int) - annotated[: first.shape[0] // 2]).mean() < 8
