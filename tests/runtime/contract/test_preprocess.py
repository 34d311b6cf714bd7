"""The native core against Pillow and torchvision on real photographs, and against the NumPy reference everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edgeproof_runtime import _native
from edgeproof_runtime.contract.contract import Color, DType, Filter, InputContract, Layout, Resampler, ResizeMode
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.errors import ContractError, FrameError
from reference.photographs import photographs
from reference.pillow import pillow_resampler, torchvision_tensor
from reference.preprocess import ReferencePreprocessor

Frame = NDArray[np.uint8]

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
LEVELS = _native.simd_levels()
COLORS: tuple[Color, ...] = ("rgb", "bgr", "gray")  # `channels` has test_bands.py


def make_contract(mode: ResizeMode, filter_: Filter, color: Color, **more: Any) -> InputContract:
    """A contract of ImageNet's sizes with a float stage that tells the channels apart."""
    channels = 1 if color == "gray" else 3
    values: dict[str, Any] = {
        "resize_size": (256, 256) if mode == "shortest" else (240, 224),
        "crop_size": (224, 224) if mode in ("shortest", "cover") else None,
        "crop_fraction": 0.875 if mode == "crop_fraction" else None,
        "fill": (128, 64, 32)[:channels],
        "mean": (0.485, 0.456, 0.406)[:channels],
        "std": (0.229, 0.224, 0.225)[:channels],
        "resampler": pillow_resampler(),
    }
    return InputContract(color=color, resize=mode, filter=filter_, **(values | more))


EIGHT = [
    make_contract("shortest", "bilinear", "rgb"),
    make_contract("shortest", "bicubic", "rgb", layout="NHWC"),
    make_contract("squash", "lanczos", "rgb"),
    make_contract("letterbox", "bilinear", "bgr"),
    make_contract("letterbox", "box", "gray"),
    make_contract("crop_fraction", "bicubic", "rgb"),
    make_contract("squash", "bilinear", "gray"),
    make_contract("crop_fraction", "lanczos", "bgr"),
]
EVERY = [make_contract(*combination) for combination in product(get_args(ResizeMode), get_args(Filter), COLORS)]


def native(contract: InputContract, level: str, threads: int = 1) -> Callable[[Frame, Color], NDArray[np.generic]]:
    """The core itself at one SIMD level, without the checks of the Python class."""
    core = _native.Preprocessor(json.dumps(contract.to_json()), threads, level)

    def run(frame: Frame, color: Color) -> NDArray[np.generic]:
        out = np.empty(contract.tensor_shape()[1:], np.dtype(contract.dtype))
        core.run(frame, out, color)
        return out

    return run


def same_bits(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.slow
def test_every_photograph_equals_torchvision_under_eight_contracts() -> None:
    preprocessors = [(contract, Preprocessor(contract)) for contract in EIGHT]

    def differing(named: tuple[str, Image.Image]) -> list[tuple[str, str]]:
        name, picture = named
        frame = np.asarray(picture)
        return [
            (name, contract.summary())
            for contract, preprocess in preprocessors
            if not same_bits(preprocess(frame, color="rgb"), torchvision_tensor(contract, picture))
        ]

    with ThreadPoolExecutor() as pool:
        assert list(chain.from_iterable(pool.map(differing, photographs()))) == []


@pytest.mark.slow
def test_every_mode_filter_and_colour_equals_torchvision_on_every_simd_level() -> None:
    runs = [(contract, [native(contract, level) for level in LEVELS]) for contract in EVERY]
    differing = []
    for name, picture in photographs(limit=6):
        frame = np.asarray(picture)
        turned = np.ascontiguousarray(frame[:, :, ::-1])
        for contract, levels in runs:
            expected = torchvision_tensor(contract, picture)
            for level, run in zip(LEVELS, levels, strict=True):
                if not same_bits(run(frame, "rgb"), expected) or not same_bits(run(turned, "bgr"), expected):
                    differing.append((name, level, contract.summary()))
    assert differing == []


@pytest.mark.parametrize("level", LEVELS)
def test_golden_cases(level: str) -> None:
    for case in json.loads((GOLDEN / "cases.json").read_text()):
        contract = InputContract.from_json(case["contract"])
        tensor = native(contract, level)(np.load(GOLDEN / case["frame"]), case["color"])
        assert same_bits(tensor, np.load(GOLDEN / case["tensor"])), case["tensor"]


@st.composite
def contracts(draw: st.DrawFn) -> InputContract:
    """Any valid contract with sides up to 64."""
    sides = st.tuples(st.integers(1, 64), st.integers(1, 64))
    mode: ResizeMode = draw(st.sampled_from(get_args(ResizeMode)))
    color: Color = draw(st.sampled_from(COLORS))
    channels = 1 if color == "gray" else 3
    height, width = draw(sides)
    size = (height, height) if mode == "shortest" else (height, width)
    crops = st.tuples(st.integers(1, size[0]), st.integers(1, size[1]))
    dtype: DType = draw(st.sampled_from(get_args(DType)))
    values: dict[str, Any] = {"scale": 1.0, "mean": (0.0,) * channels, "std": (1.0,) * channels}
    if dtype != "uint8":
        values = {
            "scale": draw(st.sampled_from([1.0, 127.5, 255.0])),
            "mean": tuple(draw(st.floats(-2, 2)) for _ in range(channels)),
            "std": tuple(draw(st.floats(0.01, 4)) for _ in range(channels)),
        }
    return InputContract(
        color=color,
        resize=mode,
        resize_size=size,
        crop_size=draw(
            crops if mode in ("shortest", "cover") else st.none() if mode == "crop_fraction" else st.none() | crops
        ),
        crop_fraction=draw(st.floats(0.05, 1)) if mode == "crop_fraction" else None,
        filter=draw(st.sampled_from(get_args(Filter))),
        resampler=draw(st.sampled_from(get_args(Resampler))),
        fill=tuple(draw(st.integers(0, 255)) for _ in range(channels)),
        layout=draw(st.sampled_from(get_args(Layout))),
        dtype=dtype,
        **values,
    )


@st.composite
def views(draw: st.DrawFn) -> Frame:
    """Noise of 1..300 x 1..300 pixels, gray or colour, seen through strides of either sign with gaps."""
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    channels = draw(st.sampled_from([(), (1,), (3,)]))
    steps = draw(st.tuples(*[st.sampled_from([1, 2, -1, -3])] * 2))
    shape = (height * abs(steps[0]), width * abs(steps[1]), *channels)
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, shape, dtype=np.uint8)
    view = noise[:: steps[0], :: steps[1]]
    if channels == (3,) and draw(st.booleans()):
        view = view[:, :, ::-1]
    return view.swapaxes(0, 1) if draw(st.booleans()) else view


@settings(max_examples=200)
@given(contract=contracts(), frame=views(), color=st.sampled_from(["rgb", "bgr"]), threads=st.sampled_from([1, 4]))
@pytest.mark.slow
def test_any_contract_on_any_view_equals_the_reference(
    contract: InputContract, frame: Frame, color: Color, threads: int
) -> None:
    expected = ReferencePreprocessor(contract)(frame, color=color)
    picture = ReferencePreprocessor(contract).uint8_stage(frame, color=color)
    for level in LEVELS:
        assert same_bits(native(contract, level, threads)(frame, color), expected)
    assert same_bits(Preprocessor(contract).uint8_stage(frame, color=color), picture)


@settings(max_examples=60)
@given(
    height=st.integers(1, 4000),
    width=st.integers(1, 4000),
    contract=st.sampled_from(EVERY),
    threads=st.sampled_from([1, 3]),
)
def test_sizes_up_to_4000_equal_torchvision(height: int, width: int, contract: InputContract, threads: int) -> None:
    width = min(width, 4_000_000 // height)  # Pillow's time, not ours
    # torchvision would blow a thread of pixels up to gigabytes, timm would shrink it to nothing
    assume(contract.resize in ("squash", "crop_fraction") or max(height, width) <= 16 * min(height, width))
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = torchvision_tensor(contract, Image.fromarray(noise))
    for level in LEVELS:
        assert same_bits(native(contract, level, threads)(noise, "rgb"), expected)


def test_writes_into_any_output_buffer() -> None:
    contract = make_contract("squash", "bilinear", "rgb")
    preprocess = Preprocessor(contract)
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    expected = preprocess(frame)
    batch = np.zeros((3, *expected.shape), np.float32)
    assert preprocess(frame, batch[1]) is not None
    assert same_bits(batch[1], expected)
    assert not batch[0].any()
    assert not batch[2].any()
    spread = np.zeros((*expected.shape[:2], 2 * expected.shape[2]), np.float32)[:, :, ::2]
    preprocess(frame, spread)
    assert np.array_equal(spread, expected)


def test_several_threads_may_share_one_object() -> None:
    preprocess = Preprocessor(make_contract("shortest", "bilinear", "rgb"), threads=2)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (600 + i, 800 - i, 3), dtype=np.uint8) for i in range(12)]
    expected = [preprocess(frame) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert all(same_bits(a, b) for a, b in zip(pool.map(preprocess, frames), expected, strict=True))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (np.zeros((0, 5, 3), np.uint8), "empty"),
        (np.zeros((5, 0), np.uint8), "empty"),
        (np.zeros((5, 5, 4), np.uint8), "drop the alpha channel"),
        (np.zeros((5, 5, 2), np.uint8), "wrong shape"),
        (np.zeros((1, 5, 5, 3), np.uint8), "wrong shape"),
        (np.zeros(5, np.uint8), "wrong shape"),
        (np.zeros((5, 5, 3), np.uint16), "scale 16-bit frames"),
        (np.zeros((5, 5, 3), np.float32), "wrong dtype"),
        (np.zeros((5, 5, 3), np.int8), "wrong dtype"),
        (np.zeros((5, 5, 3), bool), "wrong dtype"),
        ([[1]], "NumPy array"),
        (None, "NumPy array"),
        (np.broadcast_to(np.uint8(1), (1 << 40, 1, 3)), "too large"),
        (np.broadcast_to(np.uint8(1), (1, 1 << 20)), "too long and thin"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_frames_are_refused(frame: Any, words: str) -> None:
    preprocess = Preprocessor(make_contract("shortest", "bilinear", "rgb"))
    with pytest.raises(FrameError, match=words):
        preprocess(frame)
    with pytest.raises(FrameError, match=words):
        preprocess.uint8_stage(frame)


def test_a_frame_of_32k_by_32k_works() -> None:
    frame = np.broadcast_to(np.arange(3, dtype=np.uint8), (32_768, 32_768, 3))
    tensor = Preprocessor(make_contract("squash", "box", "rgb", resize_size=(2, 2)))(frame[::1024], color="rgb")
    assert tensor.shape == (3, 2, 2)
    picture = Preprocessor(make_contract("squash", "nearest", "bgr", resize_size=(9, 9))).uint8_stage(
        frame, color="rgb"
    )
    assert (picture == np.array([2, 1, 0])).all()


def test_bad_output_buffers_are_refused() -> None:
    preprocess = Preprocessor(make_contract("squash", "bilinear", "rgb", resize_size=(8, 8)))
    frame = np.zeros((9, 9, 3), np.uint8)
    for out in (np.empty((3, 8, 9), np.float32), np.empty((3, 8, 8), np.float64), np.empty((1, 3, 8, 8), np.float32)):
        with pytest.raises(FrameError, match="out: does not match the contract"):
            preprocess(frame, out)
    locked = np.empty((3, 8, 8), np.float32)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        preprocess(frame, locked)


def test_an_unknown_colour_order_is_refused() -> None:
    with pytest.raises(ContractError, match="unknown color"):
        Preprocessor(make_contract("squash", "bilinear", "rgb"))(np.zeros((9, 9, 3), np.uint8), color="hsv")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "edit", [{"scale": 1e-60}, {"mean": (1e39, 0.0, 0.0)}, {"std": (1e-50, 1.0, 1.0)}], ids=["scale", "mean", "std"]
)
def test_what_float32_cannot_hold_is_refused(edit: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        Preprocessor(make_contract("squash", "bilinear", "rgb", **edit))


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_a_number_of_threads_out_of_range_is_refused(threads: int) -> None:
    with pytest.raises(ContractError, match="threads"):
        Preprocessor(make_contract("squash", "bilinear", "rgb"), threads=threads)
