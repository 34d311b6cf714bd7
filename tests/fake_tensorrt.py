"""A CUDA runtime and a TensorRT that need neither driver nor GPU, in so far as edgeproof's engine asks.

The "network" is the identity: a launch copies the input's memory to the output's, through whichever CUDA
runtime is in use, so the same tests run on a real GPU with a real stream, real graphs and pinned memory.
"""

# ruff: noqa: N802, N815  # the names are NVIDIA's

from __future__ import annotations

import ctypes
import enum
import hashlib
import math
import struct
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeproof_runtime.bundle.engine_record import EngineRecord
from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.engines import _cuda, _trt


class Status(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900


class FakeCudart:
    """Host memory stands for the device's; streams run at once, or record while they capture."""

    cudaDeviceAttr = SimpleNamespace(
        cudaDevAttrComputeCapabilityMajor="major",
        cudaDevAttrComputeCapabilityMinor="minor",
        cudaDevAttrIntegrated="integrated",
        cudaDevAttrConcurrentManagedAccess="concurrent_managed",
        cudaDevAttrMultiProcessorCount="multiprocessors",
    )
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1
    cudaHostAllocMapped = 2
    cudaHostAllocDefault = 0
    cudaMemAttachGlobal = 1

    def __init__(self) -> None:
        self.attributes = {"major": 8, "minor": 6, "integrated": 0, "concurrent_managed": 0, "multiprocessors": 16}
        self.slow: dict[str, float] = {}  # kind of memory -> seconds that a launch on it takes longer
        self.kinds: dict[int, str] = {}  # by address
        self.live: dict[int, Any] = {}
        self.calls: Counter[str] = Counter()
        self.fail: dict[str, list[Status]] = {}
        self.copies: list[tuple[int, int, int]] = []
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self._next = 1000

    def __getattr__(self, name: str) -> Any:
        # Every call goes through here, so that any of them can be told to fail.
        implementation = object.__getattribute__(self, f"_{name}")

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls[name] += 1
            if self.fail.get(name):
                status = self.fail[name].pop(0)
                if status:
                    return (status, None)
            return (Status.cudaSuccess, *implementation(*arguments))

        return call

    def _handle(self, thing: Any) -> int:
        self._next += 1
        self.live[self._next] = thing
        return self._next

    def _memory(self, size: int, kind: str) -> int:
        buffer = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(buffer)
        self.live[address] = buffer
        self.kinds[address] = kind
        return address

    def do(self, stream: int, work: Callable[[], None]) -> None:
        if stream in self.capturing:
            self.capturing[stream].append(work)
        else:
            work()

    def _cudaGetLastError(self) -> tuple[()]:
        return ()

    def _cudaGetDevice(self) -> tuple[int]:
        return (0,)

    def _cudaGetDeviceCount(self) -> tuple[int]:
        return (1,)

    def _cudaDeviceGetAttribute(self, attribute: str, _device: int) -> tuple[int]:
        return (self.attributes[attribute],)

    def _cudaGetDeviceProperties(self, _device: int) -> tuple[Any]:
        return (SimpleNamespace(name=b"Fake GPU"),)

    def _cudaRuntimeGetVersion(self) -> tuple[int]:
        return (12060,)

    def _cudaDriverGetVersion(self) -> tuple[int]:
        return (13000,)

    def _cudaMemGetInfo(self) -> tuple[int, int]:
        return (2**30, 2**31)

    def _cudaMalloc(self, size: int) -> tuple[int]:
        return (self._memory(size, "device"),)

    def _cudaMallocManaged(self, size: int, _flags: int) -> tuple[int]:
        return (self._memory(size, "managed"),)

    def _cudaFree(self, pointer: int) -> tuple[()]:
        del self.live[pointer]
        return ()

    def _cudaHostAlloc(self, size: int, flags: int) -> tuple[int]:
        return (self._memory(size, "mapped" if flags == self.cudaHostAllocMapped else "pinned"),)

    def _cudaFreeHost(self, pointer: int) -> tuple[()]:
        del self.live[pointer]
        return ()

    def _cudaHostGetDevicePointer(self, pointer: int, _flags: int) -> tuple[int]:
        return (pointer,)

    def _cudaStreamCreateWithFlags(self, _flags: int) -> tuple[int]:
        return (self._handle("stream"),)

    def _cudaStreamSynchronize(self, _stream: int) -> tuple[()]:
        return ()

    def _cudaStreamDestroy(self, stream: int) -> tuple[()]:
        del self.live[stream]
        return ()

    def _cudaEventCreate(self) -> tuple[int]:
        return (self._handle("event"),)

    def _cudaEventRecord(self, _event: int, _stream: int) -> tuple[()]:
        return ()

    def _cudaEventElapsedTime(self, _start: int, _end: int) -> tuple[float]:
        return (0.25,)

    def _cudaEventDestroy(self, event: int) -> tuple[()]:
        del self.live[event]
        return ()

    def _cudaMemcpyAsync(self, target: int, source: int, size: int, _kind: int, stream: int) -> tuple[()]:
        self.copies.append((target, source, size))
        self.do(stream, lambda: ctypes.memmove(target, source, size))
        return ()

    def _cudaStreamBeginCapture(self, stream: int, _mode: int) -> tuple[()]:
        self.capturing[stream] = []
        return ()

    def _cudaStreamEndCapture(self, stream: int) -> tuple[int]:
        return (self._handle(self.capturing.pop(stream)),)

    def _cudaGraphInstantiateWithFlags(self, graph: int, _flags: int) -> tuple[int]:
        return (self._handle(self.live[graph]),)

    def _cudaGraphDestroy(self, graph: int) -> tuple[()]:
        del self.live[graph]
        return ()

    def _cudaGraphLaunch(self, graph: int, _stream: int) -> tuple[()]:
        for work in self.live[graph]:
            work()
        return ()

    def _cudaGraphExecDestroy(self, graph: int) -> tuple[()]:
        del self.live[graph]
        return ()


class _Logger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2


class _Profiler:
    """Stands for TensorRT's interface class, which Python code derives from."""


class _Allocator:
    """Stands for TensorRT's interface class, which Python code derives from."""


class FakeContext:
    def __init__(self, trt: FakeTensorRt, config: Any = None) -> None:
        self.trt, self.config = trt, config
        trt.contexts += 1
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.allocators: dict[str, Any] = {}
        self.profiler: Any = None

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.trt.profile
        if not low <= shape[0] <= high:
            self.trt.logger.log(_Logger.Severity.ERROR, "Supplied binding dimension out of bounds")
            return False
        self.shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name == self.trt.output and self.trt.out_shape is not None:
            return (self.shape[0], *self.trt.out_shape)
        return (-1, *self.shape[1:]) if name == "out" and self.trt.data_dependent else self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        self.allocators[name] = allocator
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.trt.launches += 1
        if self.profiler is not None:
            assert not self.trt.is_capturing(stream)
            for name, ms in self.trt.layers.items():
                self.profiler.report_layer_time(name, ms)
        if self.trt.fail_launches:
            self.trt.fail_launches -= 1
            self.trt.logger.log(_Logger.Severity.ERROR, "Cask convolution execution failed")
            return False
        capturing = self.trt.is_capturing(stream)
        if capturing and not self.trt.capturable:
            self.trt.logger.log(_Logger.Severity.ERROR, "operation not permitted when stream is capturing")
            return False
        unbound = set(self.trt.names) - self.addresses.keys() - self.allocators.keys()
        if unbound:
            self.trt.logger.log(_Logger.Severity.ERROR, f"Address is not set for output tensor {unbound}")
            return False
        if self.trt.network is not None:
            shape, (source, target) = self.shape, (self.addresses[n] for n in (self.trt.input, self.trt.output))
            self.trt.do(stream, lambda: self.trt.infer(shape, source, target))
            return True
        size = 4
        for n in self.shape:
            size *= n
        target = self.addresses.get("out", 0)
        if "out" in self.allocators:
            target = self.allocators["out"].reallocate_output("out", 0, size, 256)
            self.allocators["out"].notify_shape("out", self.shape)
        self.trt.copy_on_device(target, self.addresses["in"], size, stream)
        return True


class FakeEngine:
    def __init__(self, trt: FakeTensorRt) -> None:
        self.trt = trt
        self.num_io_tensors = len(trt.names)
        if trt.rtx:
            self.create_runtime_config = self._create_runtime_config

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda _format: self.trt.described)

    def get_tensor_name(self, index: int) -> str:
        return self.trt.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name == self.trt.input else "OUTPUT"

    def get_tensor_dtype(self, _name: str) -> Any:
        return SimpleNamespace(name=self.trt.dtype)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        changed = self.trt.out_shape is not None and name == self.trt.output
        return (-1, *(self.trt.out_shape if changed else self.trt.shape))

    def get_tensor_profile_shape(self, _name: str, _index: int) -> list[tuple[int, ...]]:
        return [(n, *self.trt.shape) for n in self.trt.profile]

    def create_execution_context(self, config: Any = None) -> FakeContext | None:
        full = self.trt.no_context or self.trt.contexts == self.trt.most_contexts
        return None if full else FakeContext(self.trt, config)

    def _create_runtime_config(self) -> Any:
        cache = SimpleNamespace(read=None, serialize=lambda: b"kernels")
        cache.deserialize = lambda content: setattr(cache, "read", content)
        self.trt.caches.append(cache)
        return SimpleNamespace(
            cuda_graph_strategy=None, create_runtime_cache=lambda: cache, set_runtime_cache=lambda _cache: True
        )


class FakeTensorRt:
    """Stands for the module ``tensorrt`` or ``tensorrt_rtx``."""

    ILogger = _Logger
    IOutputAllocator = _Allocator
    IProfiler = _Profiler
    LayerInformationFormat = SimpleNamespace(JSON="JSON")
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph")

    def __init__(self, cudart: Any, shape: tuple[int, ...], *, version: str = "10.3.0", rtx: bool = False) -> None:
        self.__version__ = version
        self.rtx = rtx
        self.shape = shape
        self.profile = (1, 4, 8)
        self.dtype = "FLOAT"
        self.capturable = True
        self.data_dependent = False
        self.no_context = False
        self.refuse = False
        self.names = ["in", "out"]
        self.out_shape: tuple[int, ...] | None = None
        self.network: Callable[[Any], Any] | None = None  # of a batch; None is the identity
        self.contexts = 0
        self.most_contexts: int | None = None
        self.warning = ""
        self.plugins = 0
        self.fail_launches = 0
        self.launches = 0
        self.deserialized = 0
        self.caches: list[Any] = []
        self.layers: dict[str, float] = {}  # ms that a profiler is told
        self.described = "{}"  # by the inspector
        self.logger: Any = None
        self._cudart = cudart

    @property
    def input(self) -> str:
        return self.names[0]

    @property
    def output(self) -> str:
        return self.names[1]

    def init_libnvinfer_plugins(self, _logger: Any, namespace: str) -> bool:
        assert namespace == ""
        self.plugins += 1
        return True

    def do(self, stream: int, work: Callable[[], None]) -> None:
        assert isinstance(self._cudart, FakeCudart)
        self._cudart.do(stream, work)

    def infer(self, shape: tuple[int, ...], source: int, target: int) -> None:
        assert self.network is not None
        count = math.prod(shape)
        batch = np.frombuffer((ctypes.c_float * count).from_address(source), np.float32).reshape(shape)
        out = np.ascontiguousarray(self.network(batch), np.float32)
        ctypes.memmove(target, out.ctypes.data, out.nbytes)

    def Runtime(self, logger: Any) -> Any:
        self.logger = logger
        return SimpleNamespace(deserialize_cuda_engine=self._deserialize)

    def _deserialize(self, _plan: bytes) -> FakeEngine | None:
        self.deserialized += 1
        if self.warning:
            self.logger.log(_Logger.Severity.WARNING, self.warning)
        if self.refuse:
            self.logger.log(_Logger.Severity.ERROR, "The engine cannot run on this GPU")
            return None
        return FakeEngine(self)

    def is_capturing(self, stream: int) -> bool:
        if isinstance(self._cudart, FakeCudart):
            return stream in self._cudart.capturing
        status = self._cudart.cudaStreamIsCapturing(stream)[1]
        return int(status) != 0

    def copy_on_device(self, target: int, source: int, size: int, stream: int) -> None:
        if isinstance(self._cudart, FakeCudart):
            slow_s = self._cudart.slow.get(self._cudart.kinds[source], 0.0)

            def launch() -> None:
                time.sleep(slow_s)
                ctypes.memmove(target, source, size)

            self._cudart.do(stream, launch)
            return
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        (status,) = self._cudart.cudaMemcpyAsync(target, source, size, kind, stream)
        assert int(status) == 0, status


def fake_plan(
    target: str = "tensorrt", version: str = "10.3.0.30", capabilities: int = 0b100, size: int = 4096
) -> bytes:
    """Bytes with the header of a plan."""
    tag = {"tensorrt": b"ftrt", "tensorrt-rtx": b"vtrt"}[target]
    numbers = bytes(int(part) for part in version.split("."))
    head = tag + bytes(12) + struct.pack("<Q", size) + numbers + tag + struct.pack("<I", capabilities)
    return head.ljust(size, b"\x5a")


def plan_record(plan: bytes, **facts: Any) -> EngineRecord:
    """What is recorded of a plan: that of TensorRT 10.3 for sm86 but for ``facts``."""
    usual: dict[str, Any] = {
        "target": "tensorrt",
        "version": "10.3.0.30",
        "precision": "fp32",
        "onnx_sha256": "0" * 64,
        "profile": BatchBounds(1, 4, 8),
        "gpu": None,
        "compute_capabilities": ("8.6",),
        "options": {},
        "plan": "model.plan",
        "plan_sha256": hashlib.sha256(plan).hexdigest(),
        "plan_size_bytes": len(plan),
    }
    return EngineRecord(**{**usual, **facts})


def stand_in(monkeypatch: pytest.MonkeyPatch, cudart: Any, trt: FakeTensorRt) -> None:
    """Let the engines take these for the CUDA runtime and for TensorRT."""
    monkeypatch.setattr(_cuda, "cudart", lambda: cudart)
    monkeypatch.setattr(_trt.Flavour, "load", lambda _self: trt)
    monkeypatch.setattr(_trt.Flavour, "unavailable_reason", lambda _self: None)
