"""Preprocessing by the CUDA kernels against the CPU core: on a fake CUDA, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproof_runtime.contract.contract import Color, Filter, InputContract, ResizeMode
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.contract.yuv import YuvFrame
from edgeproof_runtime.engines import _cuda, _kernels
from edgeproof_runtime.engines.gpu_preprocess import DeviceFrame, FrameLayout, GpuPreprocessor, frame_at
from edgeproof_runtime.errors import CudaError, FrameError, UnavailableError
from fake_tensorrt import FakeCudart, Status
from host_kernels import FakeDriver, FakeNvrtc, host_kernels
from reference import yuv
from reference.bands import band_contract

FORMATS = ("bgr", *yuv.FORMATS)


def contract(mode: ResizeMode, filter_: Filter, color: Color, **more: Any) -> InputContract:
    """A contract of few pixels with a float stage that tells the channels apart."""
    channels = 1 if color == "gray" else 3
    values: dict[str, Any] = {
        "resize_size": (41, 41) if mode == "shortest" else (40, 33),
        "crop_size": (37, 31) if mode in ("shortest", "cover") else None,
        "crop_fraction": 0.875 if mode == "crop_fraction" else None,
        "fill": (128, 64, 32)[:channels],
        "mean": (0.485, 0.456, 0.406)[:channels],
        "std": (0.229, 0.224, 0.225)[:channels],
    }
    return InputContract(color=color, resize=mode, filter=filter_, **(values | more))


EIGHT = [
    contract("shortest", "bilinear", "rgb"),
    contract("shortest", "bicubic", "rgb", layout="NHWC"),
    contract("squash", "lanczos", "rgb", dtype="float16"),
    contract("letterbox", "bilinear", "bgr"),
    contract("letterbox", "box", "gray"),
    contract("crop_fraction", "bicubic", "rgb", resampler="pillow-12"),
    contract("squash", "nearest", "gray", layout="NHWC", dtype="float16"),
    contract("cover", "lanczos", "bgr", layout="NHWC"),
]


def frame_of(format_: str, height: int, width: int, seed: int = 0, **flags: Any) -> Any:
    """Noise in a format."""
    if format_ == "bgr":
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return YuvFrame(yuv.noise(format_, height, width, seed), format_, **flags)  # type: ignore[arg-type]


@dataclass
class Cuda:
    """The CUDA that the tests run on; fakes only without a GPU."""

    cudart: Any
    driver: Any
    nvrtc: Any


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cuda:
    """A fake CUDA whose kernels run on the CPU."""
    cudart = FakeCudart()
    cuda = Cuda(cudart, FakeDriver(cudart, host_kernels()), FakeNvrtc())
    monkeypatch.setattr(_cuda, "cudart", lambda: cudart)
    monkeypatch.setattr(_kernels, "driver", lambda: cuda.driver)
    monkeypatch.setattr(_kernels, "nvrtc", lambda: cuda.nvrtc)
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    return cuda


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> Iterator[None]:
    """The fake CUDA, and the real one."""
    if request.param == "fake":
        request.getfixturevalue("fake")
        yield
        return
    reason = _cuda.unavailable_reason()
    if reason is not None:
        pytest.skip(str(reason))
    yield


def same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def differing(made: InputContract, frames: list[Any]) -> list[str]:
    """What differs between both preprocessors."""
    cpu = Preprocessor(made)
    with GpuPreprocessor(made) as gpu:
        return [
            f"{made.summary()}, frame {number}"
            for number, frame in enumerate(frames)
            if not same_bits(gpu(frame), cpu(frame))
        ]


def test_eight_contracts_and_four_formats(cuda: None) -> None:
    sizes = [(62, 46), (30, 94), (8, 2), (48, 48)]
    frames = [frame_of(name, *size, seed) for seed, (name, size) in enumerate(product(FORMATS, sizes))]
    assert [line for made in EIGHT for line in differing(made, frames)] == []


def test_every_matrix_and_range(cuda: None) -> None:
    flags = [{"matrix": m, "range": r} for m, r in product(("bt601", "bt709"), ("limited", "full"))]
    frames = [frame_of(name, 50, 40, **flag) for name, flag in product(yuv.FORMATS, flags)]
    assert differing(EIGHT[0], frames) == []


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_many_channels_and_wide_frames(cuda: None, dtype: str) -> None:
    rng = np.random.default_rng(4)
    found = []
    for (mode, filter_), shape in product(
        product(get_args(ResizeMode), ("nearest", "bilinear", "lanczos")), [(61, 13, 5), (23, 30, 2)]
    ):
        frame = rng.normal(900, 400, shape).clip(0, 65535).astype(dtype)
        found += differing(band_contract(frame, mode, filter_), [frame])
        found += differing(band_contract(frame, mode, filter_, layout="NHWC", dtype="float16"), [frame])
    frame = -np.ones((9, 9, 1), np.float32) * 0  # minus zero, where a pass changes nothing
    found += differing(band_contract(frame, "squash", "lanczos", resize_size=(9, 5)), [frame])
    assert found == []


def test_gray_frames_and_rgb_order(cuda: None) -> None:
    rng = np.random.default_rng(2)
    gray = rng.integers(0, 256, (50, 31), dtype=np.uint8)
    color = rng.integers(0, 256, (50, 31, 3), dtype=np.uint8)
    for made in EIGHT:
        cpu = Preprocessor(made)
        with GpuPreprocessor(made) as gpu:
            assert same_bits(gpu(gray), cpu(gray))
            assert same_bits(gpu(gray[:, :, None]), cpu(gray))
            assert same_bits(gpu(color, color="rgb"), cpu(color, color="rgb"))
            assert same_bits(gpu(color[::-2, ::-1, ::-1]), cpu(color[::-2, ::-1, ::-1]))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    mode=st.sampled_from(get_args(ResizeMode)),
    filter_=st.sampled_from(get_args(Filter)),
    color=st.sampled_from(("rgb", "bgr", "gray")),
    format_=st.sampled_from(FORMATS),
)
def test_any_size(
    cuda: None, height: int, width: int, mode: ResizeMode, filter_: Filter, color: Color, format_: str
) -> None:
    if format_ != "bgr":
        height, width = 2 * height, 2 * width
    assert differing(contract(mode, filter_, color), [frame_of(format_, height, width, height)]) == []


def test_in_a_cuda_graph_with_a_new_frame_each_time(cuda: None) -> None:
    made = EIGHT[0]
    layout = FrameLayout(62, 46, format="nv12")
    frames = [frame_of("nv12", 62, 46, seed) for seed in range(3)]
    stream = _cuda.Stream()
    size = int(np.prod(made.tensor_shape())) * 4
    host = _cuda.HostBuffer(made.tensor_shape()[1:], np.dtype(np.float32))
    pixels = _cuda.HostBuffer(frames[0].pixels.shape, np.dtype(np.uint8))
    on_device, out = _cuda.DeviceBuffer(pixels.array.nbytes), _cuda.DeviceBuffer(size)
    kinds = _cuda.cudart().cudaMemcpyKind
    with GpuPreprocessor(made, stream=stream) as gpu:
        gpu.prepare(layout)

        def enqueue() -> None:
            to, back = kinds.cudaMemcpyHostToDevice, kinds.cudaMemcpyDeviceToHost
            _cuda.call("cudaMemcpyAsync", on_device.pointer, pixels.pointer, pixels.array.nbytes, to, stream.handle)
            gpu.enqueue(frame_at(layout, on_device.pointer), out.pointer)
            _cuda.call("cudaMemcpyAsync", host.pointer, out.pointer, size, back, stream.handle)

        graph = _cuda.Graph(stream, enqueue)
        for frame in frames:
            pixels.array[...] = frame.pixels
            graph.launch(stream)
            stream.synchronize()
            assert same_bits(host.array, Preprocessor(made)(frame))
        graph.close()
    for buffer in (on_device, out):
        buffer.close()
    stream.close()


def test_a_frame_with_gaps_between_its_rows(cuda: None) -> None:
    made = EIGHT[0]
    padded = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    stream = _cuda.Stream()
    buffer = _cuda.DeviceBuffer(padded.nbytes)
    out = _cuda.HostBuffer(made.tensor_shape()[1:], np.dtype(np.float32))
    kinds = _cuda.cudart().cudaMemcpyKind
    _cuda.call("cudaMemcpyAsync", buffer.pointer, padded.ctypes.data, padded.nbytes, kinds.cudaMemcpyHostToDevice,
               stream.handle)  # fmt: skip
    stream.synchronize()
    slot = _cuda.DeviceBuffer(out.array.nbytes)
    with GpuPreprocessor(made, stream=stream) as gpu:
        gpu.enqueue(DeviceFrame(FrameLayout(40, 50), (buffer.pointer,), (64 * 3,)), slot.pointer)
        _cuda.call("cudaMemcpyAsync", out.pointer, slot.pointer, out.array.nbytes, kinds.cudaMemcpyDeviceToHost,
                   stream.handle)  # fmt: skip
        stream.synchronize()
    assert same_bits(out.array, Preprocessor(made)(padded[:, :50]))
    for held in (buffer, slot, stream):
        held.close()


def test_a_prepared_layout_allocates_nothing_and_waits_for_nothing(fake: Cuda) -> None:
    with GpuPreprocessor(EIGHT[0]) as gpu:
        frame = gpu.upload(frame_of("i420", 60, 40))
        gpu.prepare(frame.layout)
        before = dict(fake.cudart.calls)
        gpu.enqueue(frame, gpu._out.pointer)
        assert dict(fake.cudart.calls) == before
        assert fake.driver.launched[-2:] == ["first_x_i420", "second_y_narrow"]


def test_everything_is_freed(fake: Cuda) -> None:
    with GpuPreprocessor(EIGHT[0]) as gpu:
        for side in range(20, 44, 2):
            gpu(frame_of("bgr", side, side))
        assert len(gpu._recent) == 8
        gpu.prepare(FrameLayout(40, 40))
        gpu(frame_of("nv12", 400, 200))
    del gpu
    assert fake.cudart.live == {}


def test_kernels_are_compiled_once_per_gpu_and_a_damaged_file_is_replaced(fake: Cuda, tmp_path: Path) -> None:
    GpuPreprocessor(EIGHT[0]).close()
    GpuPreprocessor(EIGHT[0]).close()
    assert len(fake.nvrtc.compiled) == 1
    assert fake.nvrtc.compiled[0][0] == b"--gpu-architecture=sm_86"
    (kept,) = (tmp_path / "cache/kernels").iterdir()
    assert kept.read_bytes() == b"cubin"
    kept.write_bytes(b"half")
    fake.driver.fail["cuModuleLoadData"] = [Status.cudaErrorInvalidValue]
    GpuPreprocessor(EIGHT[0]).close()
    assert kept.read_bytes() == b"cubin"
    fake.cudart.attributes |= {"major": 12, "minor": 0}
    GpuPreprocessor(EIGHT[0]).close()
    assert fake.nvrtc.compiled[-1][0] == b"--gpu-architecture=compute_90"


def test_what_fails_is_said(fake: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.nvrtc.refuse = True
    with pytest.raises(CudaError, match="compiling the kernels for sm_86 failed: no such"):
        GpuPreprocessor(EIGHT[0])
    fake.nvrtc.refuse = False
    with GpuPreprocessor(EIGHT[0]) as gpu:
        fake.driver.fail["cuLaunchKernel"] = [Status.cudaErrorIllegalAddress]
        with pytest.raises(CudaError, match="cuLaunchKernel failed"):
            gpu(frame_of("bgr", 20, 20))

    def missing() -> Any:
        raise RuntimeError("libnvrtc.so.13 not found")

    monkeypatch.setattr(fake.nvrtc, "nvrtcVersion", missing)
    with pytest.raises(UnavailableError, match="NVRTC is not installed"):
        GpuPreprocessor(EIGHT[0])
    fake.cudart.fail["cudaGetDeviceCount"] = [Status.cudaErrorInsufficientDriver]
    with pytest.raises(UnavailableError, match="preprocessing on the GPU: no CUDA driver"):
        GpuPreprocessor(EIGHT[0])


def test_what_the_contract_does_not_take_is_refused(fake: Cuda) -> None:
    with GpuPreprocessor(EIGHT[0]) as gpu:
        out = gpu._out.pointer
        with pytest.raises(FrameError, match="wrong dtype"):
            gpu(np.zeros((5, 5, 3), np.float32))
        with pytest.raises(FrameError, match="odd sides are unsupported in nv12"):
            gpu.prepare(FrameLayout(5, 4, format="nv12"))
        with pytest.raises(FrameError, match="does not match the contract"):
            gpu(frame_of("bgr", 9, 9), np.zeros((3, 5, 5), np.float32))
        frame = gpu.upload(frame_of("nv12", 8, 8))
        with pytest.raises(FrameError, match="out: null or not aligned"):
            gpu.enqueue(frame, out + 1)
        with pytest.raises(FrameError, match="wrong number of planes for nv12"):
            replace(frame, planes=frame.planes[:1])
    with pytest.raises(FrameError, match="not aligned"):
        DeviceFrame(FrameLayout(4, 4, 1, "uint16"), (257,), (8,))
    large = contract("squash", "box", "rgb", resize_size=(400, 400))
    with GpuPreprocessor(large) as gpu, pytest.raises(FrameError, match="scratch memory"):
        gpu.prepare(FrameLayout(1 << 20, 1 << 20))
    many = band_contract(np.zeros((5, 5, 3), np.uint8), "squash", "box")
    with GpuPreprocessor(many) as gpu, pytest.raises(FrameError, match="takes no YUV"):
        gpu(frame_of("nv12", 8, 8))
