"""Anomaly models in anomalib's ONNX form: outputs, threshold and score are the file's, on every engine."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edgeproof_export.contracts import ContractFlags
from edgeproof_export.onnx_files.anomaly import is_anomaly_model, reduced
from edgeproof_export.pipeline import export_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import available, load
from edgeproof_runtime.errors import InputError
from onnx_files import anomalib_like

CPU = [name for name in ("onnxruntime", "openvino", "opencv") if name in available()]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 60 + 60 * number, (40, 50, 3), dtype=np.uint8))
    return folder


@pytest.mark.parametrize(("batch", "size"), [("batch", 32), (1, 32), ("batch", "height")])
def test_score_map_and_threshold_are_the_files(tmp_path: Path, images: Path, batch: int | str, size: int | str) -> None:
    path = anomalib_like(tmp_path / "model.onnx", batch=batch, size=size)
    assert is_anomaly_model(onnx.load(path))
    flags = ContractFlags(input_size=(32, 32) if size == "height" else None)
    exported = export_bundle(str(path), tmp_path / "a.edge", data=str(images), contract=flags)
    bundle = Bundle.open(tmp_path / "a.edge")
    assert bundle.manifest.task == "reconstruct"
    assert [(output.name, output.shape) for output in bundle.manifest.outputs] == [
        ("heat_map", (32, 32)),
        ("score", (1,)),
    ]
    settings = bundle.manifest.anomaly
    assert settings is not None
    assert (round(settings.threshold, 6), settings.quantile, settings.good_images) == (0.6, None, None)
    assert all(gate.passed for gate in exported.report.gates)
    assert bundle.contract.batch.max == (1 if batch == 1 else 32)
    tensor = np.random.default_rng(1).random((1, 3, 32, 32), np.float32)
    for engine in CPU:
        with load(engine, bundle.artifact("fp32")) as loaded:
            heat, score = loaded.run(tensor)
        assert np.allclose(heat, tensor.mean(axis=1), atol=1e-5)
        assert float(score[0, 0]) == pytest.approx(float(tensor.mean(axis=1).max()), abs=1e-5)


def test_what_the_bundle_does_not_need_is_cut_off(tmp_path: Path) -> None:
    graph = reduced(onnx.load(anomalib_like(tmp_path / "model.onnx")), (32, 32)).model.graph
    assert not {"pred_label", "pred_mask"} & {output for node in graph.node for output in node.output}
    assert "limit" not in {tensor.name for tensor in graph.initializer}


def test_what_is_missing_is_said(tmp_path: Path, images: Path) -> None:
    open_size = anomalib_like(tmp_path / "open.onnx", size="height")
    without = anomalib_like(tmp_path / "without.onnx", threshold=False)
    fixed = anomalib_like(tmp_path / "fixed.onnx", batch=4)
    for path, word in ((open_size, "--input-size"), (without, "threshold was not found"), (fixed, "batch is fixed")):
        with pytest.raises(InputError) as caught:
            export_bundle(str(path), tmp_path / "b.edge", data=str(images))
        assert word in str(caught.value)
    assert not (tmp_path / "b.edge").exists()
