"""The CUDA runtime: calls that raise typed errors, and the resources that an engine owns."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.engines.base import Unavailable
from edgeproof_runtime.errors import CudaError, CudaMemoryError, UnavailableError
from edgeproof_runtime.system.jetson import Jetson

__all__ = ["Device", "DeviceBuffer", "Event", "Graph", "HostBuffer", "MemoryInfo", "Stream", "call", "device", "memory"]

# These destroy the process's CUDA context: every later call returns the same error.
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
_DRIVER_FIX = "install NVIDIA's driver; nvidia-smi must list a GPU"


@cache
def cudart() -> Any:
    """Import NVIDIA's Python bindings of the CUDA runtime, also in the layout of cuda-python before 12.6.

    Raises:
        UnavailableError: the bindings are not installed.
    """
    return binding("the CUDA runtime", "cuda.bindings.runtime", "cuda.cudart")


def binding(of: str, *names: str) -> Any:
    """Import the first of the modules ``names`` that is installed: NVIDIA's Python bindings of a library.

    Raises:
        UnavailableError: none of them is installed.
    """
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise UnavailableError(
        f"the Python bindings of {of} are not installed",
        fix="pip install cuda-bindings (of the CUDA driver's major version: ~=12.6 or ~=13.0)",
    )


def answer(returned: tuple[Any, ...]) -> tuple[str | None, Any]:
    """Split what a function of NVIDIA's bindings returned: the error's name or None, and its value or values."""
    status, *values = returned
    code = None if int(status) == 0 else str(getattr(status, "name", status))
    return code, values[0] if len(values) == 1 else tuple(values) or None


def call(function: str, *arguments: Any) -> Any:
    """Call a function of the CUDA runtime and return its value, or a tuple of several.

    Raises:
        CudaMemoryError: the device or the pinned host memory is full.
        CudaError: the call failed.
        UnavailableError: the bindings are not installed.
    """
    runtime = cudart()
    code, value = answer(getattr(runtime, function)(*arguments))
    if code is None:
        return value
    # A non-sticky error stays the last error until it is read; the next call would report it.
    runtime.cudaGetLastError()
    what = f"{function} failed"
    if code == "cudaErrorMemoryAllocation":
        raise CudaMemoryError(what, code, fix="use a smaller batch, or end other programs that use the GPU")
    if code in _STICKY:
        raise CudaError(what, code, fix="restart the process: CUDA cannot recover from this error")
    if code in _NO_DRIVER:
        old = _old_driver(runtime)
        raise CudaError(what, code, fix=_DRIVER_FIX) if old is None else CudaError(old.what, code, fix=old.fix)
    raise CudaError(what, code)


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU that engines run on.

    Attributes:
        name: as the driver reports it.
        compute_capability: such as ``8.7``.
        multiprocessors: number of streaming multiprocessors; GPUs of one compute capability differ in it.
        memory_gib: its memory, GiB, rounded.
        board: name of a Jetson in the device tree; None elsewhere.
        integrated: shares its memory with the CPU (Jetson), so no copies are required.
        concurrent_managed: the CPU may touch managed memory while the GPU runs.
        driver_cuda: newest CUDA version that the driver supports, such as ``13.0``.
    """

    name: str
    compute_capability: str
    multiprocessors: int
    memory_gib: int
    board: str | None
    integrated: bool
    concurrent_managed: bool
    driver_cuda: str

    @property
    def identity(self) -> str:
        """Name that tells GPUs of one compute capability apart: every Orin is called Orin."""
        parts = (self.name, f"{self.multiprocessors} SMs", f"{self.memory_gib} GiB", self.board)
        return ", ".join(part for part in parts if part)


class MemoryInfo(NamedTuple):
    """Memory of the current GPU."""

    free_bytes: int
    total_bytes: int


def device() -> Device:
    """Describe the current GPU.

    Raises:
        CudaError: no driver or GPU was found.
        UnavailableError: the bindings are not installed.
    """
    attribute = cudart().cudaDeviceAttr
    index = call("cudaGetDevice")
    major = call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMajor, index)
    minor = call("cudaDeviceGetAttribute", attribute.cudaDevAttrComputeCapabilityMinor, index)
    integrated = call("cudaDeviceGetAttribute", attribute.cudaDevAttrIntegrated, index)
    concurrent = call("cudaDeviceGetAttribute", attribute.cudaDevAttrConcurrentManagedAccess, index)
    multiprocessors = call("cudaDeviceGetAttribute", attribute.cudaDevAttrMultiProcessorCount, index)
    name = call("cudaGetDeviceProperties", index).name
    jetson = Jetson.find() if integrated else None
    driver = call("cudaDriverGetVersion")
    return Device(
        name=name.decode() if isinstance(name, bytes) else str(name),
        compute_capability=f"{major}.{minor}",
        multiprocessors=int(multiprocessors),
        memory_gib=round(memory().total_bytes / 2**30),
        board=None if jetson is None else jetson.board,
        integrated=bool(integrated),
        concurrent_managed=bool(concurrent),
        driver_cuda=f"{driver // 1000}.{driver % 1000 // 10}",
    )


def memory() -> MemoryInfo:
    """Return free and total memory of the current GPU.

    Raises:
        CudaError: no driver or GPU was found.
    """
    return MemoryInfo(*call("cudaMemGetInfo"))


def unavailable_reason() -> Unavailable | None:
    """Return why CUDA is not available on this machine; None if it is."""
    try:
        count = call("cudaGetDeviceCount")
    except CudaError as error:
        return _old_driver(cudart()) or Unavailable(f"no CUDA driver or GPU found ({error.code})", _DRIVER_FIX)
    except UnavailableError as error:
        return Unavailable(error.what, error.fix)
    return None if count else Unavailable("the CUDA driver lists no GPU", "nvidia-smi must list one")


def _old_driver(runtime: Any) -> Unavailable | None:
    """Return that the driver is older than the bindings; None if there is no driver, or a new one.

    CUDA answers cudaErrorInsufficientDriver to both, and without a driver 0 for its version.
    """
    (failed_driver, driver), (failed_own, own) = runtime.cudaDriverGetVersion(), runtime.cudaRuntimeGetVersion()
    if int(failed_driver) or int(failed_own) or driver == 0 or driver // 1000 >= own // 1000:
        return None
    return Unavailable(
        f"the driver is too old for these bindings: it supports CUDA {_version(driver)}, they require {_version(own)}",
        f'pip install "cuda-bindings~={_version(driver)}", or install a newer driver',
    )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


class Stream:
    """A CUDA stream that does not wait for the default stream."""

    def __init__(self) -> None:
        self.handle: Any = call("cudaStreamCreateWithFlags", cudart().cudaStreamNonBlocking)

    def synchronize(self) -> None:
        """Wait for all work of the stream; raise `CudaError` if some of it failed."""
        call("cudaStreamSynchronize", self.handle)

    def close(self) -> None:
        """Destroy the stream."""
        call("cudaStreamDestroy", self.handle)


class Event:
    """A point in a CUDA stream, for timing on the device."""

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
    """GPU memory."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.pointer = int(call("cudaMalloc", max(size_bytes, 1)))

    def close(self) -> None:
        """Free the memory."""
        call("cudaFree", self.pointer)


MemoryKind = Literal["pinned", "mapped", "managed"]
"""How the GPU gets at host memory: ``pinned`` is copied to it, the others are read in place."""


def memory_kinds(device: Device) -> tuple[MemoryKind, ...]:
    """Return the kinds that may be the fastest on a GPU, the likeliest first.

    Where the GPU has the CPU's memory, that depends on the model: on Orin the CPU caches mapped memory and the GPU does
    not. Managed memory is left out where the CPU must not touch it while any kernel runs.
    """
    if not device.integrated:
        return ("pinned",)
    return ("mapped", "pinned", "managed") if device.concurrent_managed else ("mapped", "pinned")


class HostBuffer:
    """Host memory that the GPU can use, as a NumPy array; it is freed with the last view of the array."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], kind: MemoryKind = "pinned") -> None:
        """Allocate.

        Args:
            shape: shape of the array.
            dtype: dtype of the array.
            kind: how the GPU gets at it; all but ``pinned`` have a device address.

        Raises:
            CudaMemoryError: the host cannot lock this much memory.
        """
        size = max(int(np.prod(shape)) * dtype.itemsize, 1)
        runtime = cudart()
        self.device_pointer: int | None = None
        if kind == "managed":
            self.pointer = self.device_pointer = int(call("cudaMallocManaged", size, runtime.cudaMemAttachGlobal))
        else:
            flags = runtime.cudaHostAllocMapped if kind == "mapped" else runtime.cudaHostAllocDefault
            self.pointer = int(call("cudaHostAlloc", size, flags))
        self.memory = (ctypes.c_uint8 * size).from_address(self.pointer)
        weakref.finalize(self.memory, _free, "cudaFree" if kind == "managed" else "cudaFreeHost", self.pointer)
        if kind == "mapped":
            self.device_pointer = int(call("cudaHostGetDevicePointer", self.pointer, 0))
        count = int(np.prod(shape))
        self.array: NDArray[Any] = np.frombuffer(memoryview(self.memory), dtype, count=count).reshape(shape)
        self.array[...] = 0


def _free(function: str, pointer: int) -> None:
    # Runs during garbage collection, where an exception cannot be handled.
    getattr(cudart(), function)(pointer)


class Graph:
    """A CUDA graph: captured work of a stream, launched as one."""

    def __init__(self, stream: Stream, enqueue: Any) -> None:
        """Capture what ``enqueue()`` submits to the stream; it does not run yet.

        Raises:
            CudaError: the work cannot be captured; the stream stays usable.
        """
        mode = cudart().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        call("cudaStreamBeginCapture", stream.handle, mode)
        try:
            enqueue()
        except BaseException:
            # The stream takes no other work before the capture ends; the error of the end says less.
            status, graph = cudart().cudaStreamEndCapture(stream.handle)
            if int(status) == 0 and graph is not None:
                cudart().cudaGraphDestroy(graph)
            cudart().cudaGetLastError()
            raise
        graph = call("cudaStreamEndCapture", stream.handle)
        try:
            # Unlike cudaGraphInstantiate, its signature is the same in every version.
            self.handle = call("cudaGraphInstantiateWithFlags", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)

    def launch(self, stream: Stream) -> None:
        """Run the captured work."""
        call("cudaGraphLaunch", self.handle, stream.handle)

    def close(self) -> None:
        """Destroy the graph."""
        call("cudaGraphExecDestroy", self.handle)
