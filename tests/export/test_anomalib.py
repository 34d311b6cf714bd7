"""A model of anomalib, fitted here: the same score from anomalib, its ONNX export, its checkpoint and every engine."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edgeproof_export.pipeline import export_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import available, load

CPU = [name for name in ("onnxruntime", "openvino", "opencv") if name in available()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_padim_scores_alike_everywhere(tmp_path: Path) -> None:
    models = pytest.importorskip("anomalib.models", reason="anomalib is not installed")
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    rng = np.random.default_rng(0)
    good = rng.integers(90, 110, (12, 64, 64, 3), dtype=np.uint8)
    bad = good[:2].copy()
    bad[:, 20:40, 20:40] = 250
    (tmp_path / "images").mkdir()
    for number, image in enumerate((*good[:4], *bad)):
        cv2.imwrite(str(tmp_path / f"images/{number}.png"), image)
    torch.manual_seed(0)
    model = models.Padim(
        backbone="resnet18",
        pre_trained=False,
        layers=["layer1", "layer2"],
        n_features=20,
        pre_processor=PreProcessor(transform=Compose([Resize((64, 64)), Normalize([0.4] * 3, [0.2] * 3)])),
    )
    known, asked = (torch.from_numpy(i).permute(0, 3, 1, 2).float() / 255 for i in (good, np.concatenate([good, bad])))
    model.model.train()
    with torch.no_grad():
        model.model(model.pre_processor(known))
        model.model.fit()
        raw = model.eval().model(model.pre_processor(known))
    # What anomalib's validation epoch stores: the normalisation and the threshold.
    for name, values in (("image", raw.pred_score), ("pixel", raw.anomaly_map)):
        setattr(model.post_processor, f"_{name}_threshold", 1.1 * values.max())
        setattr(model.post_processor, f"{name}_min", values.min())
        setattr(model.post_processor, f"{name}_max", 3 * values.max())
    with torch.no_grad():
        expected = model(asked)
    path = model.to_onnx(tmp_path, input_size=(64, 64), opset_version=18)
    export_bundle(str(path), tmp_path / "padim.edge", data=str(tmp_path / "images"))
    bundle = Bundle.open(tmp_path / "padim.edge")
    settings = bundle.manifest.anomaly
    assert settings is not None
    assert settings.threshold == 0.5
    for engine in CPU:
        with load(engine, bundle.artifact("fp32")) as loaded:
            heat, score = loaded.run(np.ascontiguousarray(asked.numpy()))
        assert np.allclose(score.ravel(), expected.pred_score.numpy().ravel(), atol=1e-3)
        assert np.allclose(heat, expected.anomaly_map.numpy()[:, 0], atol=1e-3)
        assert ((score.ravel() > settings.threshold) == expected.pred_label.numpy().ravel()).all()
    model._is_fitted.fill_(True)  # by anomalib at the end of training
    content = {
        "state_dict": model.state_dict(),
        "hyper_parameters": {"backbone": "resnet18", "layers": ["layer1", "layer2"], "pre_trained": False}
        | {"n_features": 20},
    }
    model.on_save_checkpoint(content)
    torch.save(content, tmp_path / "model.ckpt")
    export_bundle(f"anomalib:{tmp_path / 'model.ckpt'}", tmp_path / "checkpoint.edge", data=str(tmp_path / "images"))
    bundle = Bundle.open(tmp_path / "checkpoint.edge")
    assert bundle.contract.mean == (0.4, 0.4, 0.4)
    settings = bundle.manifest.anomaly
    assert settings is not None
    assert settings.threshold == 0.5
    for engine in CPU:
        with load(engine, bundle.artifact("fp32")) as loaded:
            heat, score = loaded.run(np.ascontiguousarray(model.pre_processor.transform(asked).numpy()))
        assert np.allclose(score.ravel(), expected.pred_score.numpy().ravel(), atol=1e-3)
        assert np.allclose(heat, expected.anomaly_map.numpy()[:, 0], atol=1e-3)
