"""``anomalib:CKPT``: checkpoints in anomalib's form, with a small package in its place where it is not installed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anomalib_files import NORMALIZE, RESIZE, checkpoint, forget, spec, write_package
from edgeproof.cli import main
from edgeproof_export.anomalib.preprocessing import Preprocessing
from edgeproof_export.anomalib.record import Scale, read_checkpoint
from edgeproof_export.contracts import ContractFlags
from edgeproof_export.models import resolve
from edgeproof_export.pipeline import export_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.engines import available, load
from edgeproof_runtime.errors import GateError, InputError, UnavailableError

CPU = [name for name in ("onnxruntime", "openvino", "opencv") if name in available()]


@pytest.fixture
def anomalib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a package of anomalib's shape on the path."""
    root = tmp_path / "site"
    write_package(root)
    monkeypatch.syspath_prepend(str(root))
    forget()
    yield root
    forget()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        smooth = cv2.resize(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8), (50, 40))
        cv2.imwrite(str(folder / f"{number}.png"), smooth)
    return folder


@pytest.mark.usefixtures("anomalib")
def test_score_map_and_threshold_are_the_checkpoints(tmp_path: Path, images: Path) -> None:
    path = checkpoint(tmp_path / "model.ckpt")
    exported = export_bundle(f"anomalib:{path}", tmp_path / "a.edge", data=str(images))
    names = [gate.name for gate in exported.report.gates]
    assert "training's preprocessing" in names
    assert all(gate.passed for gate in exported.report.gates)
    bundle = Bundle.open(tmp_path / "a.edge")
    assert bundle.manifest.task == "reconstruct"
    assert bundle.manifest.anomaly is not None
    assert bundle.manifest.anomaly.threshold == 0.5
    assert bundle.manifest.provenance["weights"] == "in model.ckpt, Padim of anomalib 2.7.0"
    # anomalib's own arithmetic on a tensor: (raw - threshold) / (max - min) + 0.5, within 0..1.
    state = torch.load(path, weights_only=True)["state_dict"]
    tensor = np.random.default_rng(1).normal(size=(2, 3, 16, 16)).astype(np.float32)
    values = torch.nn.functional.conv2d(
        torch.from_numpy(tensor), state["model.layer.weight"], state["model.layer.bias"], padding=1
    )
    raw = (values - state["model.mean"]).square().sum(1).numpy()
    for engine in CPU:
        with load(engine, bundle.artifact("fp32")) as loaded:
            heat, score = loaded.run(tensor)
        assert np.allclose(heat, np.clip((raw - 4.0) / 7.5 + 0.5, 0, 1), atol=1e-4)
        assert np.allclose(score[:, 0], np.clip((raw.max(axis=(1, 2)) - 4.0) / 8.0 + 0.5, 0, 1), atol=1e-4)


@pytest.mark.usefixtures("anomalib")
def test_another_preprocessing_than_the_trainings_fails_its_gate(tmp_path: Path, images: Path) -> None:
    path = checkpoint(tmp_path / "model.ckpt", image_max=1e3, pixel_max=1e3)
    flags = ContractFlags(mean=(0.0, 0.0, 0.0), std=(0.05, 0.05, 0.05))
    with pytest.raises(GateError) as caught:
        export_bundle(f"anomalib:{path}", tmp_path / "a.edge", data=str(images), contract=flags)
    assert "training's preprocessing" in str(caught.value)
    assert not (tmp_path / "a.edge").exists()


@pytest.mark.usefixtures("anomalib")
def test_the_class_is_found_by_its_arguments_and_nothing_is_downloaded(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "model.ckpt", hyper={"backbone": "lcnet_035", "layers": ["a"]})
    with pytest.raises(InputError, match="does not fit anomalib's Stfpm") as caught:
        resolve(f"anomalib:{path}")
    assert "state_dict" in str(caught.value)  # built without weights of the internet, then compared
    path = checkpoint(tmp_path / "model.ckpt", hyper={"backbone": "mobilenet_v3_small", "gamma_c": 1})
    with pytest.raises(InputError, match="does not fit anomalib's Cfa") as caught:
        resolve(f"anomalib:{path}")
    assert "state_dict" in str(caught.value)  # torchvision's weights as well
    unknown = checkpoint(tmp_path / "unknown.ckpt", hyper={"radius": 3})
    with pytest.raises(InputError, match="no model of the installed anomalib"):
        resolve(f"anomalib:{unknown}")


@pytest.mark.usefixtures("anomalib")
def test_a_model_without_an_anomaly_map_is_refused(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "model.ckpt", hyper={"n_pca_components": 4})
    with pytest.raises(InputError, match="anomaly map: not found") as caught:
        resolve(f"anomalib:{path}")
    assert "Patchcore" in (caught.value.fix or "")


def test_without_anomalib_the_exit_code_says_that_the_machine_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "anomalib" else find(name))
    path = checkpoint(tmp_path / "model.ckpt")
    with pytest.raises(UnavailableError, match="requires anomalib"):
        resolve(f"anomalib:{path}")
    monkeypatch.setattr("sys.argv", ["edgeproof", "export", f"anomalib:{path}", "--out", str(tmp_path / "a.edge")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 3
    assert "pip install anomalib" in capsys.readouterr().err


def test_a_package_that_cannot_be_imported_is_said(anomalib: Path, tmp_path: Path) -> None:
    (anomalib / "anomalib/models.py").write_text("import a_missing_dependency")
    with pytest.raises(UnavailableError, match="cannot be imported") as caught:
        resolve(f"anomalib:{checkpoint(tmp_path / 'model.ckpt')}")
    assert "a_missing_dependency" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"_image_threshold": math.nan, "image_min": math.nan, "image_max": math.nan}, "never validated"),
        ({"image_max": 1.0}, "degenerate"),
        ({"fitted": False}, "not fitted"),
        ({"post": False}, "post-processor"),
        ({"drop": "anomalib_pre_processor_config"}, "not a checkpoint of anomalib 2.7"),
        ({"hyper": {"backbone": torch.nn.Linear(1, 1).weight}}, "holds an object"),
        ({"config": {"image_sensitivity": 1.0}}, "no threshold"),
        ({"transform": None}, "without Resize"),
        ({"transform": spec(NORMALIZE)}, "without Resize"),
        ({"transform": spec(NORMALIZE, RESIZE)}, "no exact input contract"),
        ({"transform": spec(("Grayscale", {"num_output_channels": 3}), RESIZE)}, "Grayscale"),
        ({"transform": spec(("Resize", {"size": [16, 16], "antialias": False}))}, "antialias"),
        ({"transform": spec(("Resize", {"size": [0]}))}, "no exact input contract"),
        ({"transform": "evil"}, "no exact input contract"),
    ],
)
def test_what_cannot_be_right_is_refused(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError) as caught:
        read_checkpoint(checkpoint(tmp_path / "model.ckpt", **changes))
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "score", "heat", "threshold"),
    [
        ({}, Scale(4.0, 8.0), Scale(4.0, 7.5), 0.5),
        ({"config": {"enable_threshold_matching": False}}, Scale(4.0, 8.0), Scale(4.25, 7.5), 0.5),
        ({"_pixel_threshold": 2.0, "config": {"image_sensitivity": 0.75}}, Scale(4.0, 8.0), Scale(2.0, 7.5), 0.25),
        ({"_image_threshold": math.nan, "_pixel_threshold": 3.0}, Scale(3.0, 8.0), Scale(3.0, 7.5), 0.5),
        ({"_image_threshold": math.nan}, Scale(5.0, 8.0), Scale(4.25, 7.5), 0.5),
        ({"config": {"enable_normalization": False}}, None, None, 4.0),
    ],
)
def test_normalisation_and_threshold(
    tmp_path: Path, changes: dict[str, Any], score: Scale | None, heat: Scale | None, threshold: float
) -> None:
    found = read_checkpoint(checkpoint(tmp_path / "model.ckpt", **changes))
    assert (found.score, found.heat) == (score, heat)
    assert found.threshold == pytest.approx(threshold)


@settings(max_examples=25)
@given(
    st.one_of(st.integers(8, 40), st.tuples(st.integers(8, 40), st.integers(8, 40))),
    st.booleans(),
    st.booleans(),
    st.integers(20, 90),
    st.integers(20, 90),
)
def test_the_contract_is_the_transform_but_for_rounding(
    size: int | tuple[int, int], crop: bool, normalize: bool, height: int, width: int
) -> None:
    steps: list[tuple[str, dict[str, Any]]] = [("Resize", {"size": size if isinstance(size, int) else list(size)})]
    if crop or isinstance(size, int):
        smallest = size if isinstance(size, int) else min(size)
        steps.append(("CenterCrop", {"size": [smallest - 3, smallest - 1]}))
    steps += [NORMALIZE] if normalize else []
    found = Preprocessing.of(spec(*steps), "model.ckpt")
    frame = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ours = Preprocessor(found.contract())(frame)
    theirs = found.transform(Image.fromarray(np.ascontiguousarray(frame[..., ::-1]))).numpy()
    # Pillow rounds to uint8 after each of two passes.
    assert np.abs(ours - theirs).max() <= 1.1 / 255 / (0.2 if normalize else 1.0)
