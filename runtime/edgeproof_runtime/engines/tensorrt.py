"""TensorRT and TensorRT-RTX: one execution path for compiled plans."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from contextlib import ExitStack
from statistics import median
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor, TensorSpec
from edgeproof_runtime.bundle.engine_record import other_gpu, read_record, verify_gpu, verify_plan, verify_version
from edgeproof_runtime.bundle.trust import require_trusted
from edgeproof_runtime.engines import _cuda, _trt
from edgeproof_runtime.engines._jit_cache import JitCache
from edgeproof_runtime.engines._lanes import Lane, Lanes
from edgeproof_runtime.engines._outputs import grow
from edgeproof_runtime.engines.base import WARM_UP_RUNS, Engine, EngineInfo, LayerTime, Unavailable
from edgeproof_runtime.errors import CudaError, InputError, UnavailableError
from edgeproof_runtime.system.host import hardware_identity

__all__ = ["TensorRtEngine", "TensorRtRtxEngine"]

_LOG = logging.getLogger("edgeproof.tensorrt")
_MOST_ITEM_BYTES = 8  # of any of TensorRT's types
_MEMORY = {
    "pinned": "pinned host memory",
    "mapped": "shared with the host, no copies",
    "managed": "managed, no copies",
}
_TIMED_RUNS = 10
_FASTER, _FASTER_MS = 0.95, 0.02  # of the likeliest kind of memory: less is noise
# TensorRT's own `nptype` fails in 8.6 with NumPy 1.24 and later.
_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}


class TensorRtEngine(Engine):
    """A plan on TensorRT 8.6 or later.

    A plan is loaded only if the ``engine.json`` beside it matches it, the installed TensorRT and the GPU. A batch
    runs on the engine's CUDA stream: copy from pinned memory, compute (a CUDA graph from the second batch of a
    size and an input address on), copy back. GPUs that share the host's memory require no copies; which kind of memory
    is the fastest there is measured at load. Thread-safe: batches run one after another.
    """

    name = "tensorrt"
    target: ClassVar[str] = "tensorrt"

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None) -> None:
        super().__init__(artifact, threads=threads)
        self._lock = threading.Lock()
        self._owned = ExitStack()
        self._closed = False
        self._lanes = Lanes(lambda: None)
        self.graph_launches: tuple[int, int] | None = (0, 0)
        self._host: dict[str, NDArray[Any]] = {}
        self._buffers = self._owned.enter_context(ExitStack())
        self._memory: _cuda.MemoryKind = "pinned"
        info = artifact.info or artifact.path.parent / "engine.json"
        self._record = read_record(artifact.compiled(info), info)
        plan = artifact.compiled(artifact.path)
        verify_plan(plan, artifact.path, self._record)
        require_trusted(artifact.path, self._record.plan_sha256, self.target)
        self._trt = _trt.flavour(self.target).load()
        verify_version(self._record, self._trt.__version__)
        self._device = _cuda.device()
        verify_gpu(self._record, self._device.compute_capability, self._device.name)
        note = other_gpu(self._record, self._device.identity)
        if note is not None:
            _LOG.warning("%s", note)
        self._logger = _trt.logger(self._trt)
        try:
            self._load(artifact, plan)
            del plan  # TensorRT has its own copy
            self._allocate(artifact)
            self._choose_memory(artifact)
        except BaseException:
            self.close()
            raise

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        return _trt.flavour(cls.target).unavailable_reason() or _cuda.unavailable_reason()

    def describe(self) -> EngineInfo:
        """Return what is running; ``details`` says how the GPU is used."""
        details = {
            "gpu": self._device.name,
            "compute_capability": self._device.compute_capability,
            "driver_cuda": self._device.driver_cuda,
            "cuda_graph": self._graph_state(),
            "memory": _MEMORY[self._memory],
            "engine_key": self._record.key,
            "built_on": self._record.gpu or "no GPU",
        }
        if len(self._memory_ms) > 1:
            details["memory_measured"] = ", ".join(f"{kind} {ms:.3f} ms" for kind, ms in self._memory_ms.items())
        return EngineInfo(
            self.name, str(self._trt.__version__), self._device.name, self.artifact.precision, details=details
        )

    @classmethod
    def layer_times(
        cls, artifact: ModelArtifact, batch: Tensor, *, runs: int, threads: int | None = None
    ) -> list[LayerTime]:
        """As `Engine.layer_times`, by TensorRT's IProfiler, without CUDA graphs.

        Types and ONNX nodes come from its EngineInspector, as far as the plan was built with them.
        """
        with cls(artifact, threads=threads) as timed:
            profiler = _trt.profiler(timed._trt)
            timed._no_capture = "off while layers are timed"
            timed._lanes.drop_graphs()
            for number in range(WARM_UP_RUNS + runs):
                timed._lanes.of(len(batch)).context.profiler = profiler
                timed.run(batch)
                if number < WARM_UP_RUNS:
                    profiler.times_ms.clear()
            described = _trt.described_layers(timed._trt, timed._engine)
        return [
            LayerTime(name, kind, median(found), (name, *covers))
            for name, found in profiler.times_ms.items()
            for kind, covers in [described.get(name, ("", ()))]
        ]

    def allocate_input(self, batch: int) -> Tensor:
        """Allocate memory that `run` copies from directly, or that the GPU reads in place."""
        spec = self.artifact.input
        buffer = _cuda.HostBuffer((batch, *spec.shape), np.dtype(spec.dtype), self._memory)
        self._pinned[buffer.pointer] = (weakref.ref(buffer.memory), buffer.device_pointer)
        return buffer.array

    def _load(self, artifact: ModelArtifact, plan: bytes) -> None:
        trt = self._trt
        runtime = trt.Runtime(self._logger)
        if self._record.options.get("version_compatible") is True:
            # Such a plan contains host code; its hash was checked above.
            runtime.engine_host_code_allowed = True
        core = self._record.options.get("dla_core")
        if isinstance(core, int) and not isinstance(core, bool):
            runtime.DLA_core = core
        self._runtime = runtime
        self._engine = runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise UnavailableError(
                f"{artifact.path}: rejected by {self.target}",
                got=self._logger.take_errors(),
                fix=f"edgeproof compile BUNDLE --target {self.target} on this machine",
            )
        self._check_tensors(artifact)
        self._jit_cache, config = JitCache.configure(self._engine, self._trt, self._record, self._driver())
        own_graph = config is not None and hasattr(config, "cuda_graph_strategy")
        self._no_capture = "TensorRT-RTX's own" if own_graph else None

        def create() -> Any:
            make = self._engine.create_execution_context
            return make() if config is None else make(config)

        # TensorRT-RTX captures graphs of every shape itself, in one context.
        self._lanes = Lanes(create, most=1 if own_graph else None)
        if not self._lanes.open():
            raise UnavailableError(
                f"{self.target}: could not create an execution context",
                got=self._logger.take_errors(),
                fix="free GPU memory, or compile with a smaller batch",
            )

    def _driver(self) -> str:
        versions = hardware_identity()["gpu"]  # the kernel driver's as well, which CUDA's version does not tell
        return " ".join((self._device.identity, self._device.driver_cuda, *versions))

    def _check_tensors(self, artifact: ModelArtifact) -> None:
        engine, mode = self._engine, self._trt.TensorIOMode
        found: dict[str, tuple[bool, str, tuple[int, ...]]] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            dtype = _DTYPES.get(engine.get_tensor_dtype(name).name, "unknown")
            found[name] = (engine.get_tensor_mode(name) == mode.INPUT, dtype, tuple(engine.get_tensor_shape(name)))
        expected = [(True, artifact.input), *((False, spec) for spec in artifact.outputs)]
        for is_input, spec in expected:
            if spec.name not in found or not _fits(found[spec.name], is_input, spec):
                raise InputError(
                    f"{artifact.path}: its tensors do not match the model's",
                    got="; ".join(f"{name} {dtype} {shape}" for name, (_, dtype, shape) in found.items()),
                    expected="; ".join(f"{s.name} {s.dtype} (N, {', '.join(map(str, s.shape))})" for _, s in expected),
                )
        inputs = [name for name, (is_input, _, _) in found.items() if is_input]
        if inputs != [artifact.input.name]:
            raise InputError(
                f"{artifact.path}: its inputs do not match the model's",
                got=", ".join(inputs),
                expected=artifact.input.name,
            )
        named = {spec.name for spec in artifact.outputs}
        self._unnamed = {
            name: shape for name, (is_input, _, shape) in found.items() if not is_input and name not in named
        }
        smallest, largest = self._batch_bounds()
        if smallest > artifact.max_batch:
            raise InputError(
                f"{artifact.path}: compiled for larger batches",
                got=f"batches of {smallest} to {largest}",
                expected=f"a smallest batch of at most {artifact.max_batch}",
                fix=f"edgeproof compile BUNDLE --target {self.target} --batch MIN,OPT,MAX",
            )
        if artifact.max_batch > largest:
            raise InputError(
                f"{artifact.path}: compiled for smaller batches",
                got=artifact.max_batch,
                expected=f"at most {largest}",
                fix=f"edgeproof compile BUNDLE --target {self.target} --batch MIN,OPT,MAX",
            )

    def _batch_bounds(self) -> tuple[int, int]:
        low, _, high = self._engine.get_tensor_profile_shape(self.artifact.input.name, 0)
        return int(low[0]), int(high[0])

    def _allocate(self, artifact: ModelArtifact) -> None:
        self._stream = self._own(_cuda.Stream())
        self._events = [self._own(_cuda.Event()) for _ in range(4)]
        self._pinned: dict[int, tuple[weakref.ref[Any], int | None]] = {}
        self._addresses: dict[str, int] = {}
        for name, (_, *rest) in self._unnamed.items():
            if -1 not in rest:
                size = _MOST_ITEM_BYTES * artifact.max_batch * math.prod(rest)
                self._addresses[name] = self._own(_cuda.DeviceBuffer(size)).pointer

    def _choose_memory(self, artifact: ModelArtifact) -> None:
        """Measure the kinds of memory that may be the fastest here, and use that one."""
        usual, *others = _cuda.memory_kinds(self._device)
        self._memory_ms: dict[_cuda.MemoryKind, float] = {}
        self._use_memory(artifact, usual)
        if not others:
            return
        self._memory_ms[usual] = self._fastest_ms()
        for kind in others:
            try:
                self._use_memory(artifact, kind)
                self._memory_ms[kind] = self._fastest_ms()
            except CudaError as error:
                _LOG.info("%s memory is left out: %s", kind, error)
        usual_ms, best = self._memory_ms[usual], min(self._memory_ms, key=lambda kind: self._memory_ms[kind])
        if self._memory_ms[best] > min(_FASTER * usual_ms, usual_ms - _FASTER_MS):
            best = usual
        if best != self._memory:
            self._use_memory(artifact, best)

    def _use_memory(self, artifact: ModelArtifact, kind: _cuda.MemoryKind) -> None:
        """Allocate inputs and outputs in a kind of memory, in place of those before, and warm up."""
        self._lanes.drop_graphs()
        self._host.clear()
        self._buffers.close()
        self._memory = kind
        for spec in (artifact.input, *artifact.outputs):
            host = _cuda.HostBuffer((artifact.max_batch, *spec.shape), np.dtype(spec.dtype), kind)
            self._host[spec.name] = host.array
            if host.device_pointer is not None:
                self._addresses[spec.name] = host.device_pointer
            else:
                device = _cuda.DeviceBuffer(host.array.nbytes)
                self._buffers.callback(device.close)
                self._addresses[spec.name] = device.pointer
        self._warm_up()

    def _fastest_ms(self) -> float:
        """Return the shortest time of the smallest batch, ms, from the host's memory to the host's memory."""
        batch = self._smallest_batch()
        found = []
        for _ in range(_TIMED_RUNS):
            begin_ns = time.perf_counter_ns()
            self._run(batch)
            found.append(time.perf_counter_ns() - begin_ns)
        return min(found) / 1e6

    def _smallest_batch(self) -> Tensor:
        return np.zeros((self._batch_bounds()[0], *self.artifact.input.shape), self.artifact.input.dtype)

    def _warm_up(self) -> None:
        """Run the smallest batch twice, for kernels and for the graph; this may take seconds."""
        batch = self._smallest_batch()
        for _ in range(2):
            self._run(batch)

    def _own(self, resource: Any) -> Any:
        self._owned.callback(resource.close)
        return resource

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        with self._lock:
            if self._closed:
                raise InputError(f"engine {self.name}: closed")
            try:
                return self._infer(np.ascontiguousarray(batch))
            except BaseException:
                self._recover()
                raise

    def _infer(self, batch: Tensor) -> tuple[Tensor, ...]:
        count, spec = len(batch), self.artifact.input
        source, address = self._place_input(batch, count)
        begin, copied, computed, end = self._events
        lane = self._prepare(count, address)
        enqueued_ns = time.perf_counter_ns()
        begin.record(self._stream)
        if self._memory == "pinned":
            self._copy("HostToDevice", self._addresses[spec.name], source, batch.nbytes)
        copied.record(self._stream)
        self._compute(lane, address)
        computed.record(self._stream)
        if self._memory == "pinned":
            for output in self.artifact.outputs:
                self._copy_out(lane, output, count)
        end.record(self._stream)
        enqueued_ns = time.perf_counter_ns() - enqueued_ns
        self._stream.synchronize()
        on_device_ms = {
            "h2d": copied.ms_since(begin),
            "compute": computed.ms_since(copied),
            "d2h": end.ms_since(computed),
        }
        self.last_device_ms: dict[str, float] = {
            "enqueue": enqueued_ns / 1e6,
            **on_device_ms,
            "latency": sum(on_device_ms.values()),  # as trtexec adds them up
        }
        self._jit_cache.save_once()
        return tuple(self._take(lane, output, count) for output in self.artifact.outputs)

    def _place_input(self, batch: Tensor, count: int) -> tuple[int, int]:
        """Return (host address to copy from, device address of the input); a pinned batch is used in place."""
        pointer, name = batch.ctypes.data, self.artifact.input.name
        alive, mapped = self._pinned.get(pointer, (None, None))
        if alive is not None and alive() is not None:
            return pointer, mapped or self._addresses[name]
        self._pinned.pop(pointer, None)  # freed since, and its address reused
        np.copyto(self._host[name][:count], batch)
        return self._host[name].ctypes.data, self._addresses[name]

    def _prepare(self, count: int, address: int) -> Lane:
        lane = self._lanes.of(count)
        if lane.batch != count:
            lane.drop_graphs()
            self._set_shape(lane, count)
        if lane.address != address:
            lane.context.set_tensor_address(self.artifact.input.name, address)
            lane.address = address
        return lane

    def _set_shape(self, lane: Lane, count: int) -> None:
        spec, context = self.artifact.input, lane.context
        if not context.set_input_shape(spec.name, (count, *spec.shape)):
            low, high = self._batch_bounds()
            raise InputError(
                f"engine {self.name}: unsupported batch size {count}",
                got=self._logger.take_errors(),
                expected=f"{low}..{high}",
                fix=f"edgeproof compile BUNDLE --target {self.target} --batch MIN,OPT,MAX",
            )
        lane.batch = count
        # TensorRT refuses to run while an output has no address, also one that the bundle does not name.
        for name in (*(output.name for output in self.artifact.outputs), *self._unnamed):
            if name not in self._addresses or -1 in tuple(context.get_tensor_shape(name)):
                lane.growing[name] = grow(self._trt, context, name, lane.growing, self._own)
            else:
                context.set_tensor_address(name, self._addresses[name])

    def _compute(self, lane: Lane, address: int) -> None:
        graph = lane.graph(address)
        if graph is None and lane.seen(address) and self._no_capture is None and not lane.growing:
            graph = self._capture(lane, address)
        if graph is not None:
            graph.launch(self._stream)
        else:
            self._enqueue(lane)
            lane.keep(address, None)
        launched, runs = self.graph_launches or (0, 0)
        self.graph_launches = (launched + (graph is not None), runs + 1)

    def _enqueue(self, lane: Lane) -> None:
        if not lane.context.execute_async_v3(int(self._stream.handle)):
            raise UnavailableError(f"{self.target}: could not run the batch", got=self._logger.take_errors())

    def _capture(self, lane: Lane, address: int) -> _cuda.Graph | None:
        try:
            graph = _cuda.Graph(self._stream, lambda: self._enqueue(lane))
        except UnavailableError as error:
            # Some layers synchronise, which a capture forbids; a plain launch does the same work.
            self._no_capture = f"not possible: {error.got or error.what}"
            return None
        lane.keep(address, graph)
        return graph

    def _graph_state(self) -> str:
        if self._no_capture is not None:
            return self._no_capture
        return "captured" if self._lanes.captured else "not captured yet"

    def _copy(self, direction: str, target: int, source: int, size_bytes: int) -> None:
        kind = getattr(_cuda.cudart().cudaMemcpyKind, f"cudaMemcpy{direction}")
        _cuda.call("cudaMemcpyAsync", target, source, size_bytes, kind, self._stream.handle)

    def _copy_out(self, lane: Lane, output: TensorSpec, count: int) -> None:
        if output.name in lane.growing:
            return  # its size is known only after the stream is synchronised
        host = self._host[output.name]
        self._copy("DeviceToHost", host.ctypes.data, self._addresses[output.name], host[:count].nbytes)

    def _take(self, lane: Lane, output: TensorSpec, count: int) -> Tensor:
        if output.name in lane.growing:
            return lane.growing[output.name].read(np.dtype(output.dtype), self._stream)
        return np.array(self._host[output.name][:count])

    def _recover(self) -> None:
        """Wait for work in flight and drop all graphs after a failure, so that the next batch starts clean."""
        cudart = _cuda.cudart()
        cudart.cudaStreamSynchronize(self._stream.handle)
        cudart.cudaGetLastError()
        self._lanes.drop_graphs()

    def close(self) -> None:
        """Release graphs, buffers, events, stream and TensorRT's objects, in the order that CUDA requires."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._lanes.close()
            finally:
                # TensorRT's objects first: a context must not outlive its engine, nor an engine its runtime.
                self._engine = self._runtime = None
                self._host.clear()
                self._owned.close()


class TensorRtRtxEngine(TensorRtEngine):
    """A plan on TensorRT-RTX: compiled without a GPU; its kernels are compiled on the GPU at the first run."""

    name = "tensorrt-rtx"
    target = "tensorrt-rtx"


def _fits(found: tuple[bool, str, tuple[int, ...]], is_input: bool, spec: TensorSpec) -> bool:
    was_input, dtype, shape = found
    if was_input != is_input or dtype != spec.dtype or len(shape) != len(spec.shape) + 1:
        return False
    return all(n in (-1, m) for n, m in zip(shape[1:], spec.shape, strict=True))
