"""Classifier: frames of every kind, one or many, give the same answers; predictions show themselves."""

from __future__ import annotations

import gc
import pickle
import re
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bundles import CONTRACT, LABELS, frames, make_bundle, tiny_onnx
from edgeproof_runtime import Bundle, Classifier, InputError
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.errors import FrameError, SourceError

PIL = pytest.importorskip("PIL.Image", exc_type=ImportError)
FRAME = frames(1, seed=5)[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("classifier") / "tiny.edge")


@pytest.fixture
def classifier(bundle: Bundle) -> Classifier:
    return Classifier(bundle, "onnxruntime", threads=1)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "photograph.png"
    cv2.imwrite(str(path), FRAME)
    return path


def rgb() -> Any:
    return PIL.fromarray(np.ascontiguousarray(FRAME[:, :, ::-1]))


def transparent() -> Any:
    picture = rgb().convert("RGBA")
    picture.putalpha(7)
    return picture


class Tensor:
    """Of another library: it gives its array, and nothing else."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self) -> Any:
        return self.array


KINDS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "name": str,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "PIL": lambda _: rgb(),
    "PIL with alpha": lambda _: transparent(),
    "PIL of a file": PIL.open,
    "tensor": lambda _: Tensor(FRAME),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame_gives_the_answer_of_its_array(classifier: Classifier, photograph: Path, kind: str) -> None:
    expected = classifier(FRAME).probabilities
    assert classifier(KINDS[kind](photograph)).probabilities.tobytes() == expected.tobytes()


def test_a_tensor_of_torch_follows_the_colour_that_is_given(classifier: Classifier) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(np.ascontiguousarray(FRAME[:, :, ::-1]))
    expected = classifier(FRAME).probabilities
    assert classifier(tensor, color="rgb").probabilities.tobytes() == expected.tobytes()


def test_grey_and_palette_pictures_are_converted_as_files_are(classifier: Classifier, tmp_path: Path) -> None:
    for mode in ("L", "P"):
        path = tmp_path / f"{mode}.png"
        picture = rgb().convert(mode)
        picture.save(path)
        assert classifier(picture).probabilities.tobytes() == classifier(path).probabilities.tobytes()


def test_a_photograph_is_turned_by_its_exif_and_a_picture_is_not(classifier: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = PIL.Exif()
    exif[0x0112] = 6  # to be rotated by 90 degrees clockwise
    rgb().save(path, exif=exif)
    clockwise = cv2.rotate(FRAME, cv2.ROTATE_90_CLOCKWISE)
    if cv2.imread(str(path)).shape != clockwise.shape:
        pytest.skip("this OpenCV does not read the orientation of PNG files")
    assert classifier(path).probabilities.tobytes() == classifier(clockwise).probabilities.tobytes()
    assert classifier(PIL.open(path)).probabilities.tobytes() == classifier(FRAME).probabilities.tobytes()


@pytest.mark.parametrize("batch", [None, 1, 2, 3, 32])
def test_many_frames_give_a_list_in_their_order(bundle: Bundle, batch: int | None) -> None:
    some = frames(7, seed=9)
    with Classifier(bundle, "onnxruntime", threads=1, batch=batch) as classifier:
        expected = [classifier(frame) for frame in some]
        for given in (list(some), tuple(some), iter(some), (frame for frame in some)):
            found = classifier(given)
            assert [one.label for one in found] == [one.label for one in expected]
            np.testing.assert_allclose(
                [one.probabilities for one in found], [one.probabilities for one in expected], atol=1e-6
            )
        assert classifier([]) == []


def test_a_list_may_hold_frames_of_every_kind(classifier: Classifier, photograph: Path) -> None:
    found = classifier([make(photograph) for make in KINDS.values()])
    assert len({one.probabilities.tobytes() for one in found}) == 1


def test_a_model_of_a_fixed_batch_classifies_any_number_of_frames(tmp_path: Path) -> None:
    contract = InputContract(**{**_fields(CONTRACT), "batch": BatchBounds(4, 4, 4)})
    model = tiny_onnx(contract)
    with Classifier(make_bundle(tmp_path / "four.edge", contract, model=model), "onnxruntime", threads=1) as four:
        some = frames(6, seed=2)
        assert [one.label for one in four(list(some))] == [four(frame).label for frame in some]


def test_a_batch_that_the_model_does_not_take_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InputError, match=r"(?s)batch: outside the model's bounds.*33.*1\.\.32"):
        Classifier(bundle, "onnxruntime", batch=33)


def test_a_source_gives_each_frame_with_its_prediction(classifier: Classifier, tmp_path: Path) -> None:
    for number, frame in enumerate(frames(3, seed=4)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
    seen = list(classifier.stream(tmp_path))
    assert [frame.name for frame, _ in seen] == ["0.png", "1.png", "2.png"]
    assert all(one.prediction.label == classifier(one.frame.image).label for one in seen)


def test_a_source_that_cannot_be_opened_is_named_at_once(classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        classifier.stream(tmp_path / "absent")


class OnGpu:
    def __array__(self) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy.")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (7, FrameError, "frame: not a frame got: int"),
        ({"image": FRAME}, FrameError, "frame: not a frame got: dict"),
        (OnGpu(), FrameError, r"cannot be read.*cuda:0.*tensor\.detach\(\)\.cpu\(\)"),
        (b"", SourceError, "bytes of an image file: empty"),
        (b"<html>", SourceError, "bytes of an image file: unsupported got: an HTML page"),
        (b"\x00\x01\x02\x03", SourceError, "bytes of an image file: damaged, or not an image"),
        ("absent.png", SourceError, "absent.png: cannot be read"),
        (".", SourceError, r"\.: cannot be read.*classifier\.stream\(source\)"),
        (np.zeros((3, 8, 8), np.uint8), FrameError, r"wrong shape.*transpose\(1, 2, 0\)"),
        (np.zeros((8, 8, 3), np.float32), FrameError, "wrong dtype.*before it is normalised"),
    ],
)
def test_what_is_no_frame_is_refused_with_the_mend(
    classifier: Classifier, given: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as found:
        classifier(given)
    assert re.search(message, " ".join(str(found.value).split()))


def test_a_picture_of_sixteen_bits_is_refused(classifier: Classifier) -> None:
    with pytest.raises(FrameError, match="more than 8 bits"):
        classifier(PIL.fromarray(np.zeros((8, 8), np.uint16)))


def test_a_prediction_shows_itself(classifier: Classifier) -> None:
    found = classifier(FRAME)
    label, probability = found.top(1)[0]
    assert repr(found).startswith(f"Prediction({label} {100 * probability:.1f} %, ")
    assert "\n" not in repr(found)
    page = found._repr_html_()
    assert page.count("<tr>") == len(LABELS)
    assert 'src="data:image/jpeg;base64,' in page


def test_a_prediction_keeps_no_pixels(classifier: Classifier) -> None:
    frame = FRAME.copy()
    alive = weakref.ref(frame)
    found = classifier(frame)
    del frame
    gc.collect()
    assert alive() is None
    assert "<img" not in found._repr_html_()


def test_a_prediction_of_a_file_shows_it_while_it_is_there(classifier: Classifier, photograph: Path) -> None:
    found = classifier(photograph)
    assert "<img" in found._repr_html_()
    photograph.unlink()
    assert "<img" not in found._repr_html_()


def test_a_picture_is_shown_in_its_own_colours(classifier: Classifier) -> None:
    picture = PIL.new("RGB", (32, 32), (200, 0, 0))
    shown = classifier(picture).shown
    assert shown is not None
    image = shown()
    assert image is not None
    assert image[0, 0].tolist() == [0, 0, 200]


def test_a_prediction_can_be_pickled(classifier: Classifier) -> None:
    found = pickle.loads(pickle.dumps(classifier(FRAME)))  # noqa: S301 - our own bytes
    assert found.top(1) == classifier(FRAME).top(1)
    assert "<img" not in found._repr_html_()


def test_labels_cannot_write_html(tmp_path: Path) -> None:
    labels = ("<script>", "a&b", "c", "d", "e")
    with Classifier(make_bundle(tmp_path / "odd.edge", labels=labels), "onnxruntime", threads=1) as classifier:
        page = classifier(FRAME)._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_classifier_bundle_and_contract_show_themselves(classifier: Classifier) -> None:
    assert repr(classifier).startswith("Classifier(tiny: classify, 5 classes; onnxruntime ")
    assert repr(classifier).endswith("fp32 on CPU, threads 1)")
    assert repr(classifier.bundle) == (
        f"Bundle(tiny: classify, 5 classes; {classifier.bundle.contract.summary()}; fp32)"
    )
    assert repr(CONTRACT) == f"InputContract({CONTRACT.summary()}; float32 NCHW, batch 1..32)"
    card = classifier.bundle._repr_html_()
    assert all(word in card for word in ("classify, 5 classes", "fp32", "cases"))


@pytest.mark.parametrize("resize", ["shortest", "letterbox", "squash", "cover"])
def test_a_contract_is_drawn(resize: Any) -> None:
    contract = InputContract(resize=resize, resize_size=(64, 64), crop_size=(48, 48) if resize != "letterbox" else None)
    page = contract._repr_html_()
    assert page.count("<rect") == 3
    assert contract.summary() in page


def _fields(contract: InputContract) -> dict[str, Any]:
    return {name: getattr(contract, name) for name in contract.__dataclass_fields__}


def test_features_are_what_the_last_layer_reads(bundle: Bundle, classifier: Classifier) -> None:
    features = classifier.features(FRAME)
    assert (features.shape, features.dtype) == ((8,), np.float32)
    model = onnx.load(str(bundle.path / "model.onnx"))
    weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    logits = features @ weights["fc"] + weights["bias"]
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(shares, classifier(FRAME).probabilities, rtol=1e-4)
    others = frames(3, seed=9)
    rows = classifier.features(iter([*others, FRAME]))
    assert rows.shape == (4, 8)
    np.testing.assert_array_equal(rows[3], features)
    assert classifier.features([]).shape == (0, 0)
    classifier.close()


@pytest.mark.parametrize("engine", ["openvino", "opencv"])
def test_features_of_other_engines(bundle: Bundle, classifier: Classifier, engine: str) -> None:
    if catalog.find(engine).load_class().unavailable_reason() is not None:
        pytest.skip(f"{engine} is not installed")
    with Classifier(bundle, engine) as other:
        if engine == "opencv":
            with pytest.raises(InputError, match="opencv does not load the model with a further output") as caught:
                other.features(FRAME)
            assert caught.value.fix == 'Classifier(bundle, "onnxruntime")'
            return
        np.testing.assert_allclose(other.features(FRAME), classifier.features(FRAME), rtol=1e-3, atol=1e-5)


def test_a_graph_without_a_last_linear_layer_has_no_features(tmp_path: Path) -> None:
    model = tiny_onnx()
    pooled = next(node for node in model.graph.node if node.op_type == "Gemm")
    pooled.output[0] = "scores"
    model.graph.node.append(helper.make_node("Relu", ["scores"], ["logits"]))
    classifier = Classifier(make_bundle(tmp_path / "x.edge", model=model), "onnxruntime")
    with pytest.raises(InputError, match="does not end in one linear layer"):
        classifier.features(FRAME)


def test_one_classifier_per_thread_or_a_lock(bundle: Bundle) -> None:
    """As docs/python.md says; each thread must get the answers that one alone gets."""
    images = frames(12, seed=4)
    with Classifier(bundle, "onnxruntime", threads=1) as alone:
        expected = [alone(image).probabilities for image in images]
    shared, lock = Classifier(bundle, "onnxruntime", threads=1), threading.Lock()

    def own(_: int) -> list[Any]:
        with Classifier(bundle, "onnxruntime", threads=1) as classifier:
            return [classifier(image).probabilities for image in images for _ in range(5)][::5]

    def locked(_: int) -> list[Any]:
        found = []
        for image in images:
            with lock:
                found.append(shared(image).probabilities)
        return found

    with ThreadPoolExecutor(8) as pool:
        for found in [*pool.map(own, range(4)), *pool.map(locked, range(4))]:
            np.testing.assert_array_equal(found, expected)
    shared.close()
