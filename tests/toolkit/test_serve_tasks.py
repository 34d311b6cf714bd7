"""`serve` with bundles that do something else than classify."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import httpx
import numpy as np

from bundles import LABELS, frames, make_defect_bundle, make_generator_bundle, make_multilabel_bundle
from command_line import Cli
from edgeproof.dashboard.tensors import HEADER_LENGTH
from edgeproof_runtime.bundle.latent import latents
from edgeproof_runtime.engines import load
from edgeproof_runtime.sources import StreamSpec
from serving import PLAIN, serving


def test_defects_are_scored_and_drawn(tmp_path: Path) -> None:
    bundle = make_defect_bundle(tmp_path / "blur.edge", threshold=0.01)
    picture = cv2.imencode(".png", frames()[0])[1].tobytes()
    with serving(bundle, [StreamSpec(name="line", source="synthetic://64x48@30")]) as served:
        anomaly = httpx.post(f"{served.model}/predict", content=picture, **PLAIN).json()["prediction"]["anomaly"]
        assert anomaly["defect"]
        assert anomaly["score"] > anomaly["threshold"]
        deadline_s = time.monotonic() + 30
        while not (stream := served.get("/api/state").json()["streams"][0])["rows"] and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert "defect" in stream["headline"]
        shown = cv2.imdecode(np.frombuffer(served.get("/streams/0.jpg").content, np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == (48, 64, 3)


def test_labels_reach_predict_tensors_panel_and_metrics(tmp_path: Path) -> None:
    bundle = make_multilabel_bundle(tmp_path / "labels.edge", thresholds=(0.0, 1.0, 0.0, 1.0, 1.0))
    picture = cv2.imencode(".png", frames()[0])[1].tobytes()
    with serving(bundle, [StreamSpec(name="line", source="synthetic://64x48@30")]) as served:
        prediction = httpx.post(f"{served.model}/predict", content=picture, **PLAIN).json()["prediction"]
        assert [one["label"] for one in prediction["labels"]] == ["cat", "fish"]
        assert len(prediction["top"]) == 5
        (described,) = httpx.get(served.model, **PLAIN).json()["outputs"]
        assert (described["name"], described["shape"]) == ("probabilities", [-1, len(LABELS)])
        tensor = np.load(bundle.path / bundle.manifest.golden[0].tensor)[None]
        given = {"name": "input", "shape": tensor.shape, "datatype": "FP32", "data": tensor.ravel().tolist()}
        (output,) = httpx.post(f"{served.model}/infer", json={"inputs": [given]}, **PLAIN).json()["outputs"]
        expected = np.load(bundle.path / bundle.manifest.golden[0].outputs[0])
        np.testing.assert_allclose(output["data"], expected, atol=1e-5)
        deadline_s = time.monotonic() + 30
        while not (stream := served.get("/api/state").json()["streams"][0])["rows"] and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert "cat" in stream["headline"]
        assert "fish" in stream["headline"]
        assert {row[0] for row in stream["rows"][:2]} == {"cat", "fish"}
        assert "edgeproof_frames_total" in served.get("/metrics").text


def test_a_generator_answers_tensors_and_takes_no_pictures(tmp_path: Path, cli: Cli) -> None:
    bundle = make_generator_bundle(tmp_path / "linear.edge")
    latent = latents(7, 0, 2, 8)
    with serving(bundle) as served:
        body, headers = latent.tobytes(), {HEADER_LENGTH: "0"}
        answer = httpx.post(f"{served.model}/infer", content=body, headers=headers, **PLAIN)
        got = np.frombuffer(answer.content[int(answer.headers[HEADER_LENGTH]) :], np.float32)
        (expected,) = load("onnxruntime", bundle.artifact(), threads=1).run(latent)
        np.testing.assert_array_equal(got.reshape(expected.shape), expected)
        assert httpx.post(f"{served.model}/predict", content=b"", **PLAIN).status_code == 404
        assert "/v2/models/{model}/predict" not in served.get("/openapi.json").json()["paths"]
        assert not served.get("/api/state").json()["server"]["takes_pictures"]
    code, _, stderr = cli(
        "serve", bundle.path, "--source", "synthetic://64x48@30", "--port", 0, "--engine", "onnxruntime"
    )
    assert code == 2
    assert "error:" in stderr
