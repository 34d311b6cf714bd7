"""A chain of hops made of plain functions, so that what each loses is known; and the camera's codecs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bundles import frames
from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.verify.camera_codec import CODECS, CompressedCamera
from edgeproof_runtime.verify.hop_walk import walk
from edgeproof_runtime.verify.hops import NOT_A_NUMBER, Frames, Hop, Walk

CLASSES = 4


def data(count: int) -> LabelledData:
    """Picture i is filled with i, and its class is i modulo the classes."""
    pictures = np.stack([np.full((8, 8, 3), i % 256, np.uint8) for i in range(count)])
    return LabelledData.from_arrays(pictures, np.arange(count) % CLASSES, classes=CLASSES, name="drawn")


def numbers(pictures: Frames) -> NDArray[np.float32]:
    return np.array([[frame[0, 0, 0]] for frame in pictures], np.float32)


def answering(wrong: set[int], *, value: float = 1.0) -> Hop:
    """Right but for some pictures, which are taken for the next class."""

    def infer(batch: NDArray[np.generic]) -> NDArray[np.generic]:
        scores = np.zeros((len(batch), CLASSES), np.float32)
        for row, (number,) in zip(scores, batch.astype(int), strict=True):
            row[(int(number) + (int(number) in wrong)) % CLASSES] = value
        return scores

    return Hop(f"wrong {len(wrong)}", "made for this test", numbers, infer)


def walked(hops: list[Hop], count: int = 60, **options: object) -> Walk:
    return walk(hops, data(count), str, batch=7, **options)  # type: ignore[arg-type]


def test_each_hop_costs_what_it_loses_and_the_worst_is_named() -> None:
    first, second, third = set[int](), {3}, set(range(2, 30))
    found = walked([answering(first), answering(second), answering(third)])
    assert [cost.correct for cost in found.costs] == [60, 59, 32]
    assert [cost.change.lost for cost in found.costs[1:] if cost.change] == [1, 27]
    assert found.culprit is found.costs[2]
    assert found.losses == [found.costs[2]]
    assert found.verdict().startswith("Accuracy lost at hop wrong 28: top-1 drop 45.00 points")
    assert [flip.hop for flip in found.flips].count("wrong 1") == 1
    assert len(found.flips) == 28
    assert sum(flip.thumbnail is not None for flip in found.flips) == 7
    assert found.total.lost == 28
    document = found.to_json()
    assert document["flips_by_hop"] == {"wrong 1": 1, "wrong 28": 27}
    assert document["hops"][2]["cost_points"] == pytest.approx(45.0)


def test_nothing_lost_is_said_with_what_could_have_been_seen() -> None:
    found = walked([answering(set()), answering({5})])
    assert found.culprit is None
    assert "No hop loses accuracy measurably on 60 images: 1.67 points" in found.verdict()


def test_answers_that_are_no_numbers_are_wrong_and_named() -> None:
    found = walked([answering(set()), answering(set(), value=float("nan"))])
    assert found.costs[1].not_finite == 60
    assert found.costs[1].correct == 0
    assert found.culprit is found.costs[1]
    assert found.flips[0].answers == ("0", "not a number")
    assert NOT_A_NUMBER not in range(CLASSES)


def test_tensors_and_outputs_are_held_against_those_before() -> None:
    plain = answering(set())
    shifted = Hop("shifted", "", lambda pictures: numbers(pictures) + 0.25, plain.infer, compared="tensors")
    scaled = Hop("scaled", "", numbers, lambda batch: 1.01 * plain.infer(batch), compared="outputs")
    same = Hop("same", "", lambda pictures: numbers(pictures), plain.infer, compared="tensors")
    for hop, missed in ((shifted, ["differing_tensors"]), (scaled, ["relative_diff"]), (same, [])):
        (gate,) = walked([plain, hop]).gates
        assert gate.missed() == missed
    found = walked([plain, shifted])
    assert found.culprit is found.costs[1]
    assert "its input tensors differ: differing_tensors 60" in found.verdict()
    dearer = walked([plain, Hop("dear", "", numbers, answering({1, 2}).infer, compared="outputs")], max_drop=0.01)
    assert "drop" in dearer.gates[0].missed()


def test_a_chain_that_cannot_be_walked_is_one_message() -> None:
    wide = Hop("wide", "", numbers, lambda batch: np.zeros((len(batch), 9)))
    with pytest.raises(InputError, match="another number of classes"):
        walked([answering(set()), wide])
    with pytest.raises(ValueError, match="at least two hops"):
        walked([answering(set())])
    assert walked([answering(set()), answering(set())], limit=10).total.n == 10


@pytest.mark.parametrize("codec", ["mp4v", "mjpeg"])
@settings(max_examples=10)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_a_camera_keeps_size_and_content(codec: str, height: int, width: int) -> None:
    # Without colour: at half its resolution the colour of a few pixels is another one.
    grey = cv2.resize(frames(1)[0][..., 0], (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    frame = np.repeat(grey[..., None], 3, axis=2)
    seen = CompressedCamera(codec)(frame)
    assert seen.shape == frame.shape
    assert seen.dtype == np.uint8
    assert np.abs(seen.astype(int) - frame).mean() < 40
    assert CompressedCamera(codec)(grey).shape == frame.shape


def test_a_codec_that_is_not_here_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="unknown camera codec"):
        CompressedCamera("film")
    monkeypatch.setattr(CompressedCamera, "_coded", lambda *_: None)
    for codec in CODECS:
        with pytest.raises(UnavailableError, match="--camera mp4v"):
            CompressedCamera(codec)


def test_the_hop_whose_gate_failed_is_the_culprit_and_a_gain_is_no_cost() -> None:
    # Another preprocessing that happens to gain, and a camera that loses more than any other hop.
    trained = answering({1, 5, 9})

    def brighter(pictures: Frames) -> NDArray[np.float32]:
        return numbers(pictures) + np.float32(0.25)

    contract = Hop("contract", "the contract's tensors", brighter, answering(set()).infer, compared="tensors")
    camera = Hop("camera", "a codec", numbers, answering(set(range(2, 40))).infer)
    found = walked([trained, contract, camera], max_drop=0.01)
    assert found.culprit is found.costs[1]
    assert [cost.name for cost in found.losses] == ["contract", "camera"]
    assert found.to_json()["culprit"] == "contract"
    assert found.verdict().startswith(
        "Bound missed at hop contract: top-1 gain 5.00 points (95 % interval -1.86 to 13.70; 0 images lost, 3 gained); "
        "its input tensors differ: differing_tensors 60"
    )
    assert "Accuracy lost at hop camera: top-1 drop 63.33 points" in found.verdict()
    assert found.to_json()["hops"][1]["cost_points"] == pytest.approx(-5.0)


def test_labels_that_are_wrong_before_the_first_hop_are_said() -> None:
    everything = set(range(256))
    found = walked([answering(everything), answering(everything)])
    assert found.culprit is None
    assert found.verdict().startswith(
        "The fault is before the first hop. Under another order of the classes top-1 would"
    )
    assert "every class index one higher" in found.verdict()
