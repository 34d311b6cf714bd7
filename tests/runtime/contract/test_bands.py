"""Frames of any number of channels: the native core against Pillow band by band, and against the NumPy reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.contract.contract import Filter, FrameDtype, InputContract, Layout, Resampler, ResizeMode
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.errors import ContractError, FrameError
from reference.bands import band_contract
from reference.pillow import band_tensor, pillow_resampler
from reference.preprocess import ReferencePreprocessor

LEVELS = _native.simd_levels()


def native(contract: InputContract, level: str, threads: int = 1) -> Callable[[NDArray[Any]], NDArray[np.generic]]:
    """The core itself at one SIMD level, without the checks of the Python class."""
    core = _native.Preprocessor(json.dumps(contract.to_json()), threads, level)

    def run(frame: NDArray[Any]) -> NDArray[np.generic]:
        out = np.empty(contract.tensor_shape()[1:], np.dtype(contract.dtype))
        core.run(frame, out, "bgr")
        return out

    return run


def same_bits(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@st.composite
def frames(draw: st.DrawFn) -> NDArray[Any]:
    """Noise of 1..64 channels and any dtype of frames, seen through strides of either sign."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    channels = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 13, 17, 64]))
    dtype = draw(st.sampled_from(get_args(FrameDtype)))
    noise = np.random.default_rng(draw(st.integers(0, 99))).uniform(0, 255 if dtype == "uint8" else 65_535, 1 << 12)
    frame = np.resize(noise, (height, width, channels)).astype(dtype)
    frame = frame[:, :, ::-1] if draw(st.booleans()) else frame
    frame = frame[::-1] if draw(st.booleans()) else frame
    return np.asfortranarray(frame) if draw(st.booleans()) else frame


@settings(max_examples=150)
@given(
    frame=frames(),
    mode=st.sampled_from(get_args(ResizeMode)),
    filter_=st.sampled_from(get_args(Filter)),
    more=st.fixed_dictionaries(
        {
            "layout": st.sampled_from(get_args(Layout)),
            "dtype": st.sampled_from(["float32", "float16"]),
            "resampler": st.sampled_from(get_args(Resampler)),
        }
    ),
    threads=st.sampled_from([1, 3]),
)
@pytest.mark.slow
def test_any_number_of_channels_equals_the_reference(
    frame: NDArray[Any], mode: ResizeMode, filter_: Filter, more: dict[str, Any], threads: int
) -> None:
    contract = band_contract(frame, mode, filter_, **more)
    expected = ReferencePreprocessor(contract)(frame)
    for level in LEVELS:
        assert same_bits(native(contract, level, threads)(frame), expected)
    if contract.frame_dtype == "uint8":
        picture = ReferencePreprocessor(contract).uint8_stage(frame)
        assert same_bits(Preprocessor(contract).uint8_stage(frame), picture)


@pytest.mark.parametrize("dtype", get_args(FrameDtype))
@pytest.mark.parametrize("filter_", get_args(Filter))
def test_each_band_equals_pillow_and_torchvision(filter_: Filter, dtype: FrameDtype) -> None:
    rng = np.random.default_rng(3)
    for channels, (height, width) in product((1, 4, 13), ((61, 83), (131, 17), (40, 40))):
        frame = rng.uniform(0, 255 if dtype == "uint8" else 65_535, (height, width, channels)).astype(dtype)
        for mode in get_args(ResizeMode):
            contract = band_contract(frame, mode, filter_, resampler=pillow_resampler())
            expected = band_tensor(contract, frame)
            for level in LEVELS:
                assert same_bits(native(contract, level)(frame), expected), contract.summary()


def test_three_bands_keep_their_order_and_gray_is_not_mixed() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    plain = {"scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3, "dtype": "uint8", "fill": (0,) * 3}
    contract = band_contract(frame, "squash", "nearest", resize_size=(9, 8), **plain)
    preprocess = Preprocessor(contract)
    for color in ("bgr", "rgb"):
        assert np.array_equal(preprocess(frame, color=color), frame.transpose(2, 0, 1))
    assert np.array_equal(preprocess(frame[:, :, ::-1]), frame[:, :, ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((5, 6, 3), np.uint8), "wrong shape"),
        (np.zeros((5, 6), np.uint8), "wrong shape"),
        (np.zeros((5, 6, 65), np.uint8), "wrong shape"),
        (np.zeros((5, 6, 4), np.uint16), "wrong dtype"),
        (np.zeros((4, 5, 6), np.uint8), "channels last"),
        (np.zeros((5, 0, 4), np.uint8), "empty"),
        (np.zeros((5, 6, 4), np.int16), "wrong dtype"),
        (np.zeros((5, 6, 4), ">u2"), "wrong dtype"),
    ],
)
def test_frames_of_other_channels_or_dtypes_are_refused(frame: Any, words: str) -> None:
    preprocess = Preprocessor(band_contract(np.zeros((5, 6, 4), np.uint8), "squash", "bilinear"))
    with pytest.raises(FrameError, match=words):
        preprocess(frame)


def test_wide_frames_have_no_uint8_stage_and_must_be_of_their_dtype() -> None:
    wide = np.full((5, 6, 2), 40_000, np.uint16)
    preprocess = Preprocessor(band_contract(wide, "squash", "bilinear", mean=(0.0, 0.0), std=(1.0, 1.0)))
    assert preprocess(wide).max() == np.float32(4.0)
    with pytest.raises(FrameError, match="uint8 stage"):
        preprocess.uint8_stage(wide)
    with pytest.raises(FrameError, match="wrong dtype"):
        preprocess(wide.astype(np.float32))
    with pytest.raises(FrameError, match="--frame-dtype uint16"):
        Preprocessor(InputContract())(np.zeros((5, 6, 3), np.uint16))


def test_the_number_of_channels_is_the_length_of_mean_and_is_written_as_before() -> None:
    contract = band_contract(np.zeros((5, 6, 13), np.uint8), "squash", "bilinear")
    assert (contract.channels, contract.tensor_shape(2)) == (13, (2, 13, 13, 11))
    assert "frame_dtype" not in contract.to_json()
    assert InputContract.from_json(contract.to_json()) == contract
    wide = band_contract(np.zeros((5, 6, 2), np.float32), "squash", "bilinear")
    assert wide.to_json()["frame_dtype"] == "float32"
    assert InputContract.from_json(json.loads(json.dumps(wide.to_json()))) == wide
    assert wide.summary().startswith("2 channels of float32 11x13")


@pytest.mark.parametrize(
    "edit",
    [
        {"mean": (), "std": (), "fill": ()},
        {"mean": (0.0,) * 65, "std": (1.0,) * 65, "fill": (0,) * 65},
        {"std": (1.0,) * 3},
        {"fill": (0, 0, 0, 256)},
        {"frame_dtype": "int16"},
        {"frame_dtype": "uint16", "dtype": "uint8", "scale": 1.0, "mean": (0.0,) * 4, "std": (1.0,) * 4},
        {"color": "rgb", "frame_dtype": "uint16", "mean": (0.0,) * 3, "std": (1.0,) * 3, "fill": (0, 0, 0)},
    ],
)
def test_contracts_that_contradict_themselves_are_refused(edit: dict[str, Any]) -> None:
    good = band_contract(np.zeros((5, 6, 4), np.uint8), "squash", "bilinear")
    raw = {
        **good.to_json(),
        "frame_dtype": "uint8",
        **{k: list(v) if isinstance(v, tuple) else v for k, v in edit.items()},
    }
    with pytest.raises(ContractError):
        InputContract.from_json(raw)
    with pytest.raises(ContractError):  # the core by itself
        _native.Preprocessor(json.dumps(raw))
