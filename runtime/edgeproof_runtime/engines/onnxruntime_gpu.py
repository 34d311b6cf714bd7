"""ONNX Runtime on NVIDIA GPUs: CUDA, TensorRT and TensorRT-RTX as its execution providers."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import threading
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.engines import _cuda, catalog
from edgeproof_runtime.engines.base import Engine, EngineInfo, Unavailable
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import cache_folder
from edgeproof_runtime.system.host import installed
from edgeproof_runtime.system.private_copy import PrivateCopy

__all__ = ["OrtCudaEngine", "OrtTensorRtEngine", "OrtTensorRtRtxEngine", "both_packages_reason", "gpu_package_fix"]

_KEPT_SIZES = 8  # batch sizes that keep device buffers and a CUDA graph; other sizes run without
_NO_GRAPH = "-1"
_RTX_PACKAGE = "onnxruntime_ep_nv_tensorrt_rtx"


@dataclass(frozen=True, slots=True)
class _Slot:
    """Device buffers of one batch size; a captured graph requires that their addresses stay."""

    binding: Any
    input: Any
    outputs: tuple[Any, ...]
    options: Any


class OrtCudaEngine(Engine):
    """An ONNX file on ONNX Runtime's CUDA provider, with bound device buffers and CUDA graphs.

    ONNX Runtime silently falls back to the CPU when a provider does not load; this engine raises instead.
    """

    name = "onnxruntime:cuda"
    provider: ClassVar[str] = "CUDAExecutionProvider"

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None) -> None:
        super().__init__(artifact, threads=threads)
        self._ort = _onnxruntime()
        self._lock = threading.Lock()
        self._slots: dict[int, _Slot] = {}
        self._graph_ids = count(1)
        try:
            self._start(graphs=True)
        except (InputError, UnavailableError):
            # A graph requires every node on the GPU; only a run shows whether that holds.
            self._start(graphs=False)

    def _start(self, *, graphs: bool) -> None:
        """Open the session and warm it up: the first batch takes seconds, while libraries load and choose kernels."""
        self._graphs = graphs
        self._slots.clear()
        try:
            self._session: Any = self._open(graphs=graphs)
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise InputError(f"{self.name}: cannot load {self.artifact.path}", got=error) from error
        used = self._session.get_providers()
        if used[0] != self.provider:
            raise UnavailableError(
                f"{self.name}: fell back to {used[0]}",
                got=self._why_not_loaded(),
                fix="check that driver, CUDA and cuDNN match this onnxruntime-gpu",
            )
        for _ in range(2):
            self._run(np.zeros((1, *self.artifact.input.shape), self.artifact.input.dtype))

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        if find_spec("onnxruntime") is None:
            return Unavailable("onnxruntime-gpu is not installed", gpu_package_fix())
        if cls.provider not in _onnxruntime().get_available_providers():
            return both_packages_reason() or Unavailable(
                f"the installed onnxruntime has no {cls.provider}",
                gpu_package_fix("onnxruntime"),
            )
        return _no_gpu()

    def describe(self) -> EngineInfo:
        """Return what is running, and the provider's options."""
        options = self._session.get_provider_options().get(self.provider, {})
        details = {"provider": self.provider, "cuda_graph": "on" if self._graphs else "off: not all nodes on the GPU"}
        details |= {name: str(value) for name, value in options.items() if value not in ("", None)}
        return EngineInfo(self.name, str(self._ort.__version__), "NVIDIA GPU 0", self.artifact.precision, None, details)

    def _open(self, *, graphs: bool) -> Any:
        ort = self._ort
        options = ort.SessionOptions()
        # A graph that cannot be captured is handled, but ONNX Runtime prints an error.
        options.log_severity_level = 4 if graphs else 3
        if self.threads is not None:
            options.intra_op_num_threads = self.threads
        with self.artifact.onnx() as model:
            self._model_sha256 = model.sha256
            return self._session_of(model, options, providers=self._providers(graphs=graphs))

    def _session_of(self, model: PrivateCopy, options: Any, **providers: Any) -> Any:
        # Bytes, because the TensorRT provider names its cached engines after the path of a file.
        session = self._ort.InferenceSession(bytes(model.content), options, **providers)
        session._model_bytes = None  # a second copy, for providers that are set later
        return session

    def _providers(self, *, graphs: bool) -> list[Any]:
        options = {
            "device_id": "0",
            "cudnn_conv_use_max_workspace": "1",
            "enable_cuda_graph": str(int(graphs)),
            # TF32, the default, rounds operands to 10 bits of mantissa: not fp32.
            "use_tf32": str(int(self.artifact.precision != "fp32")),
        }
        return [(self.provider, options)]

    def allocate_input(self, batch: int) -> Tensor:
        """Allocate pinned memory, from which copies to the GPU are fastest, if CUDA's Python bindings are installed."""
        spec = self.artifact.input
        if _cuda.unavailable_reason() is not None:
            return super().allocate_input(batch)
        return _cuda.HostBuffer((batch, *spec.shape), np.dtype(spec.dtype)).array

    def _why_not_loaded(self) -> str:
        library = Path(self._ort.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
        try:
            ctypes.CDLL(str(library))
        except OSError as error:
            return str(error)
        return "the provider gave no reason"

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        with self._lock:
            if self._session is None:
                raise InputError(f"engine {self.name}: closed")
            slot = self._slot(len(batch))
            slot.input.update_inplace(np.ascontiguousarray(batch))
            try:
                self._session.run_with_iobinding(slot.binding, slot.options)
            except Exception as error:  # see _start
                self._slots.clear()
                raise UnavailableError(f"{self.name}: could not run the batch", got=error) from error
            return tuple(np.array(output.numpy()) for output in slot.outputs)

    def _slot(self, size: int) -> _Slot:
        if size in self._slots:
            return self._slots[size]
        ort, spec = self._ort, self.artifact.input
        allocate = ort.OrtValue.ortvalue_from_shape_and_type
        source = allocate([size, *spec.shape], np.dtype(spec.dtype).type, "cuda", 0)
        outputs = tuple(
            allocate([size, *out.shape], np.dtype(out.dtype).type, "cuda", 0) for out in self.artifact.outputs
        )
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(spec.name, source)
        for output, value in zip(self.artifact.outputs, outputs, strict=True):
            binding.bind_ortvalue_output(output.name, value)
        options = ort.RunOptions()
        keep = len(self._slots) < _KEPT_SIZES
        if self._graphs:
            # A graph holds the addresses of its capture: an identifier reused for other buffers would
            # replay the old ones and give wrong outputs without an error.
            options.add_run_config_entry("gpu_graph_id", str(next(self._graph_ids)) if keep else _NO_GRAPH)
        slot = _Slot(binding, source, outputs, options)
        if keep:
            self._slots[size] = slot
        return slot

    def close(self) -> None:
        """Release the session and its device memory."""
        with self._lock:
            self._slots.clear()
            self._session = None


class OrtTensorRtEngine(OrtCudaEngine):
    """ONNX Runtime's TensorRT provider. It builds its engine at the first load of a model and keeps it."""

    name = "onnxruntime:tensorrt"
    provider = "TensorrtExecutionProvider"

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        return super().unavailable_reason() or _no_tensorrt()

    def _providers(self, *, graphs: bool) -> list[Any]:
        folder = _cache_folder("onnxruntime-tensorrt", self._model_sha256)
        options = {
            "device_id": "0",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": folder,
            "trt_fp16_enable": str(int(self.artifact.precision == "fp16")),
            "trt_int8_enable": str(int(self.artifact.precision == "int8")),
            "trt_cuda_graph_enable": str(int(graphs)),
            **{f"trt_profile_{k}_shapes": v for k, v in _profile(self.artifact).items()},
        }
        return [(self.provider, options), ("CUDAExecutionProvider", {"device_id": "0"})]


class OrtTensorRtRtxEngine(OrtCudaEngine):
    """NVIDIA's TensorRT-RTX plugin for ONNX Runtime."""

    name = "onnxruntime:tensorrt-rtx"
    provider = "NvTensorRTRTXExecutionProvider"

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        if find_spec("onnxruntime") is None or find_spec(_RTX_PACKAGE) is None:
            return Unavailable(
                "NVIDIA's TensorRT-RTX plugin for ONNX Runtime is not installed",
                "pip install onnxruntime onnxruntime-ep-nv-tensorrt-rtx",
            )
        reason = _no_gpu()
        if reason is not None:
            return reason
        if _rtx_devices():
            return None
        return Unavailable("the TensorRT-RTX plugin found no GPU", "use a machine with an RTX GPU, Ampere or later")

    def _open(self, *, graphs: bool) -> Any:
        ort = self._ort
        options = ort.SessionOptions()
        options.log_severity_level = 3
        provider = {
            "enable_cuda_graph": str(int(graphs)),
            "nv_runtime_cache_path": _cache_folder("onnxruntime-tensorrt-rtx"),
            **{f"nv_profile_{k}_shapes": v for k, v in _profile(self.artifact).items()},
        }
        options.add_provider_for_devices(_rtx_devices(), provider)
        with self.artifact.onnx() as model:
            return self._session_of(model, options)


def both_packages_reason() -> Unavailable | None:
    """Return that both of ONNX Runtime's packages are installed, in the same folder; None if they are not."""
    versions = installed(catalog.find("onnxruntime").distributions)
    found = [f"{name} {version}" for name, version in versions.items()]
    if len(found) < 2:
        return None
    return Unavailable(
        f"{' and '.join(found)} are both installed and overwrite each other",
        gpu_package_fix("onnxruntime", "onnxruntime-gpu"),
    )


def gpu_package_fix(*installed: str, arch: str = platform.machine()) -> str:
    """Return how to get ONNX Runtime's CUDA provider on this machine, in place of packages that are installed.

    PyPI's onnxruntime-gpu has no wheel for Jetsons: those for aarch64 are for servers, and none is for Python 3.10.
    """
    uninstall = f"pip uninstall {' '.join(installed)} && " if installed else ""
    if arch == "x86_64":
        return f"{uninstall}pip install onnxruntime-gpu"
    instead = f"use --engine tensorrt: PyPI has no onnxruntime-gpu for a Jetson ({arch})"
    return f"{uninstall}pip install onnxruntime; {instead}" if "onnxruntime-gpu" in installed else instead


@cache
def _onnxruntime() -> Any:
    ort = import_module("onnxruntime")
    ort.set_default_logger_severity(3)  # 1.31 warns of a missing plugin for every built-in provider
    if hasattr(ort, "preload_dlls") and "CUDAExecutionProvider" in ort.get_available_providers():
        # Finds CUDA and cuDNN in NVIDIA's wheels. It prints what is missing; the session's error says it better.
        from contextlib import redirect_stdout

        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123  # no path of ours
            ort.preload_dlls()
    return ort


@cache
def _rtx_devices() -> list[Any]:
    ort, plugin = _onnxruntime(), import_module(_RTX_PACKAGE)
    ort.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
    return [device for device in ort.get_ep_devices() if device.ep_name == plugin.get_ep_name()]


def _no_gpu() -> Unavailable | None:
    """Ask the driver for an NVIDIA GPU, because these engines require no Python bindings of CUDA."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Unavailable("no CUDA driver found", "install NVIDIA's driver; nvidia-smi must list a GPU")
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return Unavailable("the CUDA driver lists no GPU", "nvidia-smi must list one")
    return None


def _no_tensorrt() -> Unavailable | None:
    """Return why the TensorRT provider would not load; ONNX Runtime lists it wherever it was built in."""
    folder = Path(_onnxruntime().__file__).parent / "capi"
    try:
        needed = re.search(rb"libnvinfer\.so\.\d+", (folder / "libonnxruntime_providers_tensorrt.so").read_bytes())
    except OSError as error:
        return Unavailable(f"ONNX Runtime's TensorRT provider cannot be read ({error})", gpu_package_fix())
    if needed is None:
        return None
    if find_spec("tensorrt") is not None:
        import_module("tensorrt")  # only the wheel itself finds its libraries
    try:
        ctypes.CDLL(needed[0].decode())
    except OSError as error:
        return Unavailable(
            f"ONNX Runtime's TensorRT provider requires TensorRT's libraries ({error})", "pip install tensorrt"
        )
    return None


def _profile(artifact: ModelArtifact) -> dict[str, str]:
    def shape(batch: int) -> str:
        return f"{artifact.input.name}:{'x'.join(str(n) for n in (batch, *artifact.input.shape))}"

    # Tuned for single frames, as cameras give them; larger batches are allowed.
    return {"min": shape(1), "opt": shape(1), "max": shape(artifact.max_batch)}


def _cache_folder(name: str, model_sha256: str = "") -> str:
    """Return a folder of the cache; of its own for a model where a provider tells models apart by their nodes only."""
    folder = cache_folder() / name / model_sha256[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
