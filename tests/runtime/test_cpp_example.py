"""Build the C++ example against an installed edgeproof and compare its probabilities with the Python runtime's."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import onnx
import pytest
from onnx import helper

from bundles import frames, make_bundle, make_defect_bundle, tiny_onnx
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.classifier import Classifier

ROOT = Path(__file__).resolve().parents[2]
Classify = Callable[[Path, Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Classify:
    """The example, built against what ``cmake --install`` of a build tree leaves; skips without that tree."""
    openvino = pytest.importorskip("openvino")
    trees = (ROOT / "build/app", ROOT / "build/default")
    tree = next((tree for tree in trees if (tree / "runtime/cpp/bundle/libedgeproof_bundle.a").is_file()), None)
    if tree is None:
        pytest.skip("no C++ build: cmake --preset default && cmake --build --preset default")
    if not Path("/usr/include/opencv4").is_dir():
        pytest.skip("no OpenCV headers: apt install libopencv-dev")
    prefix, build = tmp_path_factory.mktemp("prefix"), tmp_path_factory.mktemp("build")
    _run("cmake", "--install", str(tree), "--prefix", str(prefix))
    _run(
        *("cmake", "-S", str(ROOT / "examples/cpp"), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"),
        *("-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror -Wno-maybe-uninitialized", f"-DCMAKE_PREFIX_PATH={prefix}"),
        f"-DOpenVINO_DIR={Path(openvino.__path__[0]) / 'cmake'}",
    )
    _run("cmake", "--build", str(build))

    def call(bundle: Path, image: Path) -> subprocess.CompletedProcess[str]:
        command = [str(build / "classify"), str(bundle), str(image)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return call


def _run(*command: str) -> None:
    # CMake takes a compiler's flags from the environment; the example must build without them.
    environment = {name: value for name, value in os.environ.items() if name != "CXXFLAGS"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), frames(1, seed=5)[0])
    return path


def _softmax_bundle(out: Path) -> Bundle:
    """A bundle whose graph ends in a softmax, as its manifest says."""
    model = tiny_onnx()
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.append(helper.make_node("Softmax", ["raw"], ["logits"], axis=-1))
    onnx.checker.check_model(model)
    bundle = make_bundle(out, model=model)
    path = bundle.path / "bundle.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["outputs"][0]["activation"] = "softmax"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return Bundle.open(out)


@pytest.mark.parametrize("make", [make_bundle, _softmax_bundle])
def test_probabilities_are_pythons(
    classify: Classify, tmp_path: Path, image: Path, make: Callable[[Path], Bundle]
) -> None:
    bundle = make(tmp_path / "tiny.edge")
    done = classify(bundle.path, image)
    assert done.returncode == 0, done.stderr
    with Classifier(bundle, engine="openvino") as classifier:
        expected = classifier(cv2.imread(str(image))).top(5)
    found = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [label for _, label in found] == [label for label, _ in expected]
    assert [float(probability) for probability, _ in found] == pytest.approx([p for _, p in expected], abs=2e-6)


@pytest.mark.parametrize("file", ["model.onnx", "labels.txt", "golden/2.logits.npy"])
def test_a_tampered_bundle_is_refused(classify: Classify, tmp_path: Path, image: Path, file: str) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge")
    path = bundle.path / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = classify(bundle.path, image)
    assert done.returncode == 2
    assert ": modified" in done.stderr
    assert done.stdout == ""


def test_what_it_cannot_classify_is_refused(classify: Classify, tmp_path: Path, image: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge")
    for folder, file in ((tmp_path / "missing.edge", image), (bundle.path, tmp_path / "missing.png")):
        assert classify(folder, file).returncode == 2
    done = classify(make_defect_bundle(tmp_path / "blur.edge").path, image)
    assert (done.returncode, "wrong task" in done.stderr) == (2, True)
