"""The contract's preprocessing on an NVIDIA GPU: the bits of `edgeproof_runtime.contract.preprocess.Preprocessor`."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime import _native
from edgeproof_runtime.contract.contract import Color, FrameDtype, InputContract
from edgeproof_runtime.contract.preprocess import check_frame, check_out
from edgeproof_runtime.contract.yuv import PixelFormat, YuvFrame, YuvMatrix, YuvRange
from edgeproof_runtime.engines import _cuda
from edgeproof_runtime.engines._kernels import Kernels
from edgeproof_runtime.errors import FrameError, UnavailableError
from edgeproof_runtime.system.compat import Self

__all__ = ["DeviceFrame", "FrameLayout", "GpuPreprocessor", "frame_at"]

_MOST_PLANS = 8  # that nothing but `enqueue` asked for


@dataclass(frozen=True, slots=True)
class FrameLayout:
    """What a frame is, without its pixels.

    Attributes:
        height, width: pixels.
        channels: of a frame of format ``bgr``: 1, 3, or the contract's.
        dtype: of its values.
        color: order of three channels.
        format: ``bgr`` for interleaved channels of any order, or a YUV format.
        matrix, range: of a YUV frame.
    """

    height: int
    width: int
    channels: int = 3
    dtype: FrameDtype = "uint8"
    color: Color = "bgr"
    format: PixelFormat = "bgr"
    matrix: YuvMatrix = "bt601"
    range: YuvRange = "limited"


@dataclass(frozen=True, slots=True)
class DeviceFrame:
    """A frame in GPU memory.

    Attributes:
        layout: what it is.
        planes: addresses: of ``bgr`` and ``yuyv`` one, of ``nv12`` luma and UV, of ``i420`` Y, U and V.
        pitches: bytes from row to row of each plane.
    """

    layout: FrameLayout
    planes: tuple[int, ...]
    pitches: tuple[int, ...]

    def __post_init__(self) -> None:
        count = {"nv12": 2, "i420": 3}.get(self.layout.format, 1)
        if len(self.planes) != count or len(self.pitches) != count:
            raise FrameError(
                f"frame on the GPU: wrong number of planes for {self.layout.format}",
                got=f"{len(self.planes)} addresses and {len(self.pitches)} pitches",
                expected=count,
            )
        size = np.dtype(self.layout.dtype).itemsize
        for number in (*self.planes, *self.pitches):
            if number <= 0 or number % size != 0:
                raise FrameError(
                    "frame on the GPU: an address or a pitch is not aligned",
                    got=number,
                    expected=f"a multiple of {size} above zero",
                )


class _Prepared:
    """A frame layout's tables and scratch memory on the GPU."""

    def __init__(self, contract: str, layout: FrameLayout, stream: _cuda.Stream) -> None:
        self.plan = _native.GpuPlan(contract, *astuple(layout))
        self.launches = self.plan.launches
        tables = np.frombuffer(self.plan.tables, np.uint8)
        self.tables = _cuda.DeviceBuffer(tables.nbytes)
        try:
            self.scratch = _cuda.DeviceBuffer(self.plan.scratch_bytes)
        except BaseException:
            self.tables.close()
            raise
        _copy(self.tables.pointer, tables.ctypes.data, tables.nbytes, stream, to_device=True)
        stream.synchronize()  # before the bytes are freed

    def close(self) -> None:
        self.tables.close()
        self.scratch.close()


def _copy(target: int, source: int, size: int, stream: _cuda.Stream, *, to_device: bool) -> None:
    kinds = _cuda.cudart().cudaMemcpyKind
    kind = kinds.cudaMemcpyHostToDevice if to_device else kinds.cudaMemcpyDeviceToHost
    _cuda.call("cudaMemcpyAsync", target, source, size, kind, stream.handle)


class GpuPreprocessor:
    """Preprocessing of frames by an `InputContract` on the current GPU.

    The tensor's bits are the CPU's: the same integers, and the float stage from the same table. Of uint16 and float32
    frames they are the same for all finite values. Kernels are compiled by NVRTC at the first use and then kept in the
    user's cache folder.

    One object serves one CUDA stream at a time. Filter tables and scratch memory are kept per frame layout: of the
    last eight, and of those that `prepare` was called for until `close`.
    """

    def __init__(self, contract: InputContract, *, stream: _cuda.Stream | None = None) -> None:
        """Load the kernels.

        Args:
            contract: the model's input contract.
            stream: where `enqueue` submits work; None for a stream of this object.

        Raises:
            UnavailableError: no GPU, NVIDIA's Python bindings or NVRTC.
            CudaError: the kernels did not compile or load.
        """
        reason = _cuda.unavailable_reason()
        if reason is not None:
            raise UnavailableError(f"preprocessing on the GPU: {reason.what}", fix=reason.fix)
        self.contract = contract
        self.kernels: Kernels = Kernels()
        self._text = json.dumps(contract.to_json())
        self._own_stream = stream is None
        self.stream: _cuda.Stream = _cuda.Stream() if stream is None else stream
        self._kept: dict[FrameLayout, _Prepared] = {}
        self._recent: OrderedDict[FrameLayout, _Prepared] = OrderedDict()
        self._staging: _cuda.HostBuffer | None = None
        self._frame: _cuda.DeviceBuffer | None = None
        self._shape = contract.tensor_shape()[1:]
        self._dtype = np.dtype(contract.dtype)
        self._tensor = _cuda.HostBuffer(self._shape, self._dtype)
        self._out = _cuda.DeviceBuffer(self._tensor.array.nbytes)

    def __call__(
        self, frame: NDArray[Any] | YuvFrame, out: NDArray[np.generic] | None = None, *, color: Color = "bgr"
    ) -> NDArray[np.generic]:
        """Preprocess one frame of the host's memory and wait for the tensor; arguments and result as on the CPU."""
        if out is not None:
            check_out(out, self._shape, self._dtype)
        self.enqueue(self.upload(frame, color=color), self._out.pointer)
        host = self._tensor.array
        _copy(self._tensor.pointer, self._out.pointer, host.nbytes, self.stream, to_device=False)
        self.stream.synchronize()
        if out is None:
            return np.array(host)
        out[...] = host
        return out

    def prepare(self, layout: FrameLayout) -> None:
        """Allocate what frames of a layout need, until `close`; required before `enqueue` is captured in a graph.

        Raises:
            FrameError: the contract does not take such frames.
            CudaMemoryError: the GPU's memory is full.
        """
        if layout not in self._kept:
            found = self._recent.pop(layout, None)
            self._kept[layout] = found or _Prepared(self._text, layout, self.stream)

    def enqueue(self, frame: DeviceFrame, out: int) -> None:
        """Submit the kernels of one frame to the stream; for a prepared layout it neither allocates nor waits.

        Args:
            frame: the frame, which must stay until the stream has come past.
            out: address of a batch slot in GPU memory, aligned for the contract's dtype.

        Raises:
            FrameError: the contract does not take the frame, or ``out`` is not aligned.
            CudaError: a launch failed.
        """
        if out <= 0 or out % self._dtype.itemsize != 0:
            raise FrameError("out: null or not aligned", got=out, expected=f"a multiple of {self._dtype.itemsize}")
        prepared = self._kept.get(frame.layout) or self._prepared(frame.layout)
        missing = 3 - len(frame.planes)
        job = prepared.plan.job(
            (*frame.planes, *[0] * missing),
            (*frame.pitches, *[0] * missing),
            prepared.tables.pointer,
            prepared.scratch.pointer,
            out,
        )
        for name, grid, block in prepared.launches:
            self.kernels.launch(name, grid, block, job, self.stream.handle)

    def upload(self, frame: NDArray[Any] | YuvFrame, *, color: Color = "bgr") -> DeviceFrame:
        """Copy a frame to GPU memory of this object, by way of page-locked memory; waits for the stream's earlier work.

        Returns:
            The frame on the GPU, until the next `upload`; the copy is on the stream.

        Raises:
            FrameError: the contract does not take the frame.
        """
        layout, pixels = self._layout_of(frame, color)
        if self._staging is None or self._frame is None or self._staging.array.nbytes < pixels.nbytes:
            self._free_frame()
            self._staging = _cuda.HostBuffer((pixels.nbytes,), np.dtype(np.uint8))
            self._frame = _cuda.DeviceBuffer(pixels.nbytes)
        self.stream.synchronize()  # an earlier copy may still read the page-locked memory
        staged = self._staging.array[: pixels.nbytes].view(pixels.dtype).reshape(pixels.shape)
        staged[...] = pixels
        _copy(self._frame.pointer, self._staging.pointer, pixels.nbytes, self.stream, to_device=True)
        return frame_at(layout, self._frame.pointer)

    def close(self) -> None:
        """Free everything."""
        self.stream.synchronize()
        for prepared in (*self._kept.values(), *self._recent.values()):
            prepared.close()
        self._kept.clear()
        self._recent.clear()
        self._free_frame()
        self._out.close()
        self.kernels.close()
        if self._own_stream:
            self.stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepared(self, layout: FrameLayout) -> _Prepared:
        found = self._recent.get(layout)
        if found is None:
            found = self._recent[layout] = _Prepared(self._text, layout, self.stream)
        self._recent.move_to_end(layout)
        while len(self._recent) > _MOST_PLANS:
            self.stream.synchronize()
            self._recent.popitem(last=False)[1].close()
        return found

    def _layout_of(self, frame: NDArray[Any] | YuvFrame, color: Color) -> tuple[FrameLayout, NDArray[Any]]:
        if isinstance(frame, YuvFrame):
            height, width = frame.size
            yuv = {"format": frame.format, "matrix": frame.matrix, "range": frame.range}
            return FrameLayout(height, width, **yuv), frame.pixels  # type: ignore[arg-type]
        check_frame(frame, self.contract)
        height, width = frame.shape[:2]
        channels = frame.shape[2] if frame.ndim == 3 else 1
        return FrameLayout(height, width, channels, frame.dtype.name, color), frame

    def _free_frame(self) -> None:
        if self._frame is not None:
            self.stream.synchronize()
            self._frame.close()
        self._frame = self._staging = None


def frame_at(layout: FrameLayout, address: int) -> DeviceFrame:
    """Describe a frame that lies in one block without gaps, as `YuvFrame` and arrays have it."""
    height, width = layout.height, layout.width
    if layout.format == "nv12":
        return DeviceFrame(layout, (address, address + height * width), (width, width))
    if layout.format == "i420":
        luma, quarter = height * width, height // 2 * (width // 2)
        return DeviceFrame(layout, (address, address + luma, address + luma + quarter), (width, width // 2, width // 2))
    if layout.format == "yuyv":
        return DeviceFrame(layout, (address,), (2 * width,))
    return DeviceFrame(layout, (address,), (width * layout.channels * np.dtype(layout.dtype).itemsize,))
