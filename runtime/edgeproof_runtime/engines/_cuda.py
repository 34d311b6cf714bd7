"""The CUDA runtime: calls that raise typed errors, and the few objects that an engine owns."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.engines.base import Unavailable
from edgeproof_runtime.errors import CudaError, CudaMemoryError, UnavailableError

__all__ = ["Device", "DeviceBuffer", "Event", "Graph", "HostBuffer", "MemoryInfo", "Stream", "call", "device", "memory"]

# After these the process's CUDA context is gone: every later call returns the same error.
_STICKY = frozenset(
    {
        "cudaErrorAssert",
        "cudaErrorECCUncorrectable",
        "cudaErrorHardwareStackError",
        "cudaErrorIllegalAddress",
        "cudaErrorIllegalInstruction",
        "cudaErrorInvalidAddressSpace",
        "cudaErrorInvalidPc",
        "cudaErrorLaunchFailure",
        "cudaErrorLaunchTimeout",
        "cudaErrorMisalignedAddress",
    }
)
_NO_DRIVER = frozenset({"cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorSystemDriverMismatch"})


@cache
def cudart() -> Any:
    """NVIDIA's Python bindings of the CUDA runtime, in today's layout or that of cuda-python below 12.6.

    Raises:
        UnavailableError: neither is installed.
    """
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise UnavailableError(
        "the Python bindings of the CUDA runtime are not installed",
        fix="pip install cuda-bindings (with the major version of the CUDA driver: ~=12.6 or ~=13.0)",
    )


def call(function: str, *arguments: Any) -> Any:
    """Call a function of the CUDA runtime and return its value, or a tuple where it has several.

    Raises:
        CudaMemoryError: the device or the pinned host memory is full.
        CudaError: the call failed.
        UnavailableError: the bindings are not installed.
    """
    runtime = cudart()
    status, *values = getattr(runtime, function)(*arguments)
    if int(status) == 0:
        return values[0] if len(values) == 1 else tuple(values) or None
    code = str(getattr(status, "name", status))
    # An error that is not sticky stays "last" until it is read, and would be blamed on the next call.
    runtime.cudaGetLastError()
    what = f"{function} failed"
    if code == "cudaErrorMemoryAllocation":
        raise CudaMemoryError(what, code, fix="ask for a smaller batch, or end other programs that use the GPU")
    if code in _STICKY:
        raise CudaError(what, code, fix="start the process again: CUDA cannot recover from this error")
    if code in _NO_DRIVER:
        raise CudaError(what, code, fix="install NVIDIA's driver; nvidia-smi must list a GPU")
    raise CudaError(what, code)


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU that engines run on.

    Attributes:
        name: as the driver gives it.
        compute_capability: such as ``8.7``.
        integrated: shares its memory with the CPU (Jetson), so nothing need be copied.
        driver_cuda: newest CUDA version that the driver runs, such as ``13.0``.
    """

    name: str
    compute_capability: str
    integrated: bool
    driver_cuda: str


class MemoryInfo(NamedTuple):
    """Memory of the current GPU."""

    free_bytes: int
    total_bytes: int


def device() -> Device:
    """The current GPU.

    Raises:
        CudaError: there is no driver or no GPU.
        UnavailableError: the bindings are not installed.
    """
    attribute = cudart().cudaDeviceAttr
    index = call("cudaGetDevice")
    major = call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, index)
    minor = call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, index)
    integrated = call("cudaDeviceGetAttribute", attribute.cudaDevAttrIntegrated, index)
    name = call("cudaGetDeviceProperties", index).name
    driver = call("cudaDriverGetVersion")
    return Device(
        name=name.decode() if isinstance(name, bytes) else str(name),
        compute_capability=f"{major}.{minor}",
        integrated=bool(integrated),
        driver_cuda=f"{driver // 1000}.{driver % 1000 // 10}",
    )


def memory() -> MemoryInfo:
    """Free and total memory of the current GPU.

    Raises:
        CudaError: there is no driver or no GPU.
    """
    return MemoryInfo(*call("cudaMemGetInfo"))


def unavailable_reason() -> Unavailable | None:
    """Why CUDA is not available on this machine; None if it is."""
    driver = "install NVIDIA's driver, until nvidia-smi lists a GPU"
    try:
        count = call("cudaGetDeviceCount")
    except CudaError as error:
        return Unavailable(f"there is no CUDA driver or GPU ({error.code})", driver)
    except UnavailableError as error:
        return Unavailable(error.what, error.fix)
    return None if count else Unavailable("the CUDA driver lists no GPU", "nvidia-smi must list one")


class Stream:
    """A stream of its own, which does not wait for the default one."""

    def __init__(self) -> None:
        self.handle = call("cudaStreamCreateWithFlags", cudart().cudaStreamNonBlocking)

    def synchronize(self) -> None:
        """Wait until all work of the stream is done; raises `CudaError` if some of it failed."""
        call("cudaStreamSynchronize", self.handle)

    def close(self) -> None:
        """Destroy the stream."""
        call("cudaStreamDestroy", self.handle)


class Event:
    """A point in a stream, for timing on the device."""

    def __init__(self) -> None:
        self.handle = call("cudaEventCreate")

    def record(self, stream: Stream) -> None:
        """Mark the point that the stream's work has reached."""
        call("cudaEventRecord", self.handle, stream.handle)

    def ms_since(self, earlier: Event) -> float:
        """Milliseconds of device time between two recorded events of a synchronised stream."""
        return float(call("cudaEventElapsedTime", earlier.handle, self.handle))

    def close(self) -> None:
        """Destroy the event."""
        call("cudaEventDestroy", self.handle)


class DeviceBuffer:
    """Memory of the GPU."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.pointer = int(call("cudaMalloc", max(size_bytes, 1)))

    def close(self) -> None:
        """Free the memory."""
        call("cudaFree", self.pointer)


class HostBuffer:
    """Page-locked memory of the host as a NumPy array; it lives as long as the array or a view of it does."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, mapped: bool) -> None:
        """Allocate.

        Args:
            shape: shape of the array.
            dtype: its dtype.
            mapped: also give it an address on the device (zero copy, for integrated GPUs).

        Raises:
            CudaMemoryError: the host refuses to lock this much memory.
        """
        size = max(int(np.prod(shape)) * dtype.itemsize, 1)
        runtime = cudart()
        flags = runtime.cudaHostAllocMapped if mapped else runtime.cudaHostAllocDefault
        self.pointer = int(call("cudaHostAlloc", size, flags))
        self.memory = (ctypes.c_uint8 * size).from_address(self.pointer)
        weakref.finalize(self.memory, _free_host, self.pointer)
        count = int(np.prod(shape))
        self.array: NDArray[Any] = np.frombuffer(memoryview(self.memory), dtype, count=count).reshape(shape)
        self.array[...] = 0
        self.device_pointer = int(call("cudaHostGetDevicePointer", self.pointer, 0)) if mapped else None


def _free_host(pointer: int) -> None:
    # Runs while an object is collected, where an exception has nowhere to go.
    cudart().cudaFreeHost(pointer)


class Graph:
    """Captured work of a stream that is launched again at once."""

    def __init__(self, stream: Stream, enqueue: Any) -> None:
        """Capture what ``enqueue()`` puts into the stream; nothing of it runs yet.

        Raises:
            CudaError: the work cannot be captured; the stream is usable again.
        """
        mode = cudart().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", stream.handle, mode)
        try:
            enqueue()
        except BaseException:
            # The capture has to end before the stream takes other work; its own error says less.
            status, graph = cudart().cudaStreamEndCapture(stream.handle)
            if int(status) == 0 and graph is not None:
                cudart().cudaGraphDestroy(graph)
            cudart().cudaGetLastError()
            raise
        graph = call("cudaStreamEndCapture", stream.handle)
        try:
            # Its signature is the same in every version, that of cudaGraphInstantiate is not.
            self.handle = call("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)

    def launch(self, stream: Stream) -> None:
        """Run the captured work."""
        call("cudaGraphLaunch", self.handle, stream.handle)

    def close(self) -> None:
        """Destroy the graph."""
        call("cudaGraphExecDestroy", self.handle)
