"""Commands on a bundle of many channels: files are read, cameras refused, images shown in visible colours."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from bundles import LABELS, band_frames, make_band_bundle
from command_line import Cli
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.sources import StreamSpec
from serving import PLAIN, serving


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_band_bundle(tmp_path / "five.edge", 5, "uint16")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, frame in enumerate(band_frames(5, "uint16", 10)):
        folder = tmp_path / "data" / LABELS[number % len(LABELS)]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{number}.npy", frame)
    return tmp_path / "data"


@pytest.mark.slow
def test_verify_evaluate_and_run(cli: Cli, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    assert cli("verify", bundle.path, "--engine", "onnxruntime")[0] == 0
    code, out, err = cli("evaluate", bundle.path, "--data", data, "--engine", "onnxruntime", "--json", "e.json")
    assert (code, "n = 10" in out) == (0, True), err
    code, out, err = cli(
        "run", bundle.path, "--source", data, "--labels-from", "parent", "--engine", "onnxruntime",
        "--json", "r.json", "--save", "shown.mp4",
    )  # fmt: skip
    assert (code, "10 frames in = 10 classified" in out) == (0, True), out + err
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["accuracy"]["n"] == 10
    assert report["samples"]
    assert (tmp_path / "shown.mp4").stat().st_size > 0
    assert "5 channels of uint16 16x16" in cli("inspect", bundle.path)[1]


def test_hops_leave_the_camera_out_with_a_note(
    cli: Cli, bundle: Bundle, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeproof.chain._torch_hops", lambda *_: ([], []))  # PyTorch takes seconds to import
    code, out, err = cli("evaluate", bundle.path, "--data", data, "--engine", "opencv", "--hops")
    assert code in (0, 1)
    assert "No camera hop: a camera gives 3 channels of uint8, the model takes 5." in out + err


@pytest.mark.parametrize("source", ["0", "synthetic://64x64@5", "rtsp://127.0.0.1:9/x"])
def test_cameras_are_refused_with_the_reason(cli: Cli, bundle: Bundle, source: str) -> None:
    code, _, err = cli("run", bundle.path, "--source", source, "--engine", "onnxruntime")
    assert code == 2
    assert "the model takes frames of 5 channels of uint16" in err
    with (
        pytest.raises(InputError, match="frames of 5 channels"),
        serving(bundle, [StreamSpec(name="a", source=source)]),
    ):
        pass


def test_files_of_other_channels_are_named(cli: Cli, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.jpg"), np.zeros((20, 20, 3), np.uint8))
    code, out, err = cli("run", bundle.path, "--source", tmp_path / "photos", "--engine", "onnxruntime")
    assert code == 2
    assert "wrong dtype" in out + err


def test_serve_takes_npy_and_png(tmp_path: Path) -> None:
    bundle = make_band_bundle(tmp_path / "four.edge")
    (frame,) = band_frames(4, "uint8", 1)
    stream = io.BytesIO()
    np.save(stream, frame)
    png = cv2.imencode(".png", frame[:, :, [2, 1, 0, 3]])[1].tobytes()
    with serving(bundle) as served:
        answers = [
            httpx.post(f"{served.model}/predict", content=body, **PLAIN)
            for body in (stream.getvalue(), png, b"II*\0xx")
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 400]
    assert answers[0].json()["prediction"] == answers[1].json()["prediction"]
    assert ".npy" in answers[2].text
