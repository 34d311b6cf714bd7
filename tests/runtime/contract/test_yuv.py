"""YUV frames on the CPU: the definition, golden values, OpenCV, and tensors of YUV against tensors of BGR."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.contract.yuv import YuvFrame
from edgeproof_runtime.errors import FrameError
from reference import yuv

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
OPENCV = {"nv12": cv2.COLOR_YUV2BGR_NV12, "i420": cv2.COLOR_YUV2BGR_I420, "yuyv": cv2.COLOR_YUV2BGR_YUYV}
MATRICES, RANGES = st.sampled_from(("bt601", "bt709")), st.sampled_from(("limited", "full"))


def test_golden_values() -> None:
    for case in json.loads((GOLDEN / "yuv.json").read_text()):
        height, width = case["height"], case["width"]
        shape = (height, width, 2) if case["format"] == "yuyv" else (height * 3 // 2, width)
        pixels = np.array(case["frame"], np.uint8).reshape(shape)
        frame = YuvFrame(pixels, case["format"], case["matrix"], case["range"])
        assert frame.size == (height, width)
        assert frame.to_bgr().ravel().tolist() == case["bgr"]


@pytest.mark.parametrize("format_", yuv.FORMATS)
def test_bt601_in_limited_range_equals_opencv(format_: Any) -> None:
    pixels = yuv.noise(format_, 480, 642)
    assert np.array_equal(YuvFrame(pixels, format_).to_bgr(), cv2.cvtColor(pixels, OPENCV[format_]))


def test_grays_are_grays_and_white_is_white() -> None:
    for matrix, range_ in (("bt601", "limited"), ("bt709", "limited"), ("bt601", "full"), ("bt709", "full")):
        ends = (16, 235) if range_ == "limited" else (0, 255)
        pixels = np.full((4, 2, 2), 128, np.uint8)
        pixels[:, :, 0] = np.array([ends[0], ends[0], ends[1], ends[1]])[:, None]
        bgr = YuvFrame(pixels, "yuyv", matrix, range_).to_bgr()  # type: ignore[arg-type]
        assert (bgr[:2] == 0).all()
        assert (bgr[2:] == 255).all()


@settings(max_examples=60)
@given(
    format_=st.sampled_from(yuv.FORMATS),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    matrix=MATRICES,
    range_=RANGES,
    color=st.sampled_from(("rgb", "bgr", "gray")),
    resize=st.sampled_from(("squash", "letterbox", "crop_fraction")),
)
def test_any_frame_becomes_the_tensor_of_its_bgr_image(
    format_: Any, height: int, width: int, matrix: Any, range_: Any, color: Any, resize: Any
) -> None:
    pixels = yuv.noise(format_, 2 * height, 2 * width, seed=height)
    frame = YuvFrame(pixels, format_, matrix, range_)
    bgr = yuv.bgr_of(pixels, format_, matrix, range_)
    assert np.array_equal(frame.to_bgr(), bgr)
    values = (0.5,) * (1 if color == "gray" else 3)
    made = InputContract(
        color=color,
        resize=resize,
        resize_size=(19, 23),
        crop_size=None,
        crop_fraction=0.8 if resize == "crop_fraction" else None,
        fill=(7,) * len(values),
        mean=values,
        std=values,
    )
    preprocess = Preprocessor(made, threads=2)
    assert preprocess(frame).tobytes() == preprocess(bgr).tobytes()


@pytest.mark.parametrize(
    ("pixels", "names", "words"),
    [
        (np.zeros((6, 4), np.uint8), ("bgr",), "unknown format"),
        (np.zeros((6, 4), np.uint8), ("nv12", "bt2020"), "unknown matrix"),
        (np.zeros((6, 4), np.uint8), ("nv12", "bt709", "tv"), "unknown range"),
        (np.zeros((6, 4), np.uint16), ("nv12",), "wrong dtype"),
        ([[1]], ("nv12",), "wrong dtype"),
        (np.zeros((5, 4), np.uint8), ("nv12",), "wrong shape"),
        (np.zeros((6, 3), np.uint8), ("i420",), "wrong shape"),
        (np.zeros((4, 4, 3), np.uint8), ("yuyv",), "wrong shape"),
        (np.zeros((0, 4), np.uint8), ("nv12",), "wrong shape"),
        (np.zeros((6, 8), np.uint8)[:, ::2], ("nv12",), "not C-contiguous"),
    ],
)
def test_bad_frames_are_refused(pixels: Any, names: Any, words: str) -> None:
    with pytest.raises(FrameError, match=words):
        YuvFrame(pixels, *names)


def test_odd_heights_and_contracts_of_many_channels_are_refused() -> None:
    with pytest.raises(FrameError, match="takes no YUV"):
        Preprocessor(InputContract(color="channels"))(YuvFrame(yuv.noise("nv12", 8, 8), "nv12"))
