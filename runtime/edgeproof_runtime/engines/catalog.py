"""The catalogue of engines: one entry holds every fact about an engine. No engine is imported here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from edgeproof_runtime.bundle.manifest import Int8Shape, Precision
from edgeproof_runtime.errors import InputError

if TYPE_CHECKING:
    from edgeproof_runtime.engines.base import Engine

__all__ = [
    "CatalogEntry",
    "Device",
    "Loads",
    "compiling",
    "distributions",
    "entries",
    "find",
    "int8_shape",
    "markdown_table",
    "offered",
    "register",
    "registered",
]

Device = Literal["cpu", "gpu", "npu", "auto", "none"]
Loads = Literal["onnx", "compiled", "onnx+blob"]

_LOADS_TEXT = {
    "onnx": "ONNX file",
    "compiled": "`{file}`, made by `edgeproof compile --target {target}`",
    "onnx+blob": "ONNX file, and `{file}` where `edgeproof compile --target {target}` made one",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One engine.

    Attributes:
        name: as in ``--engine``.
        implementation: ``module:Class`` of its `Engine`.
        distributions: PyPI distributions that its behaviour or speed depends on; the first installed has its version.
        extra: extra of edgeproof that installs it; None without one.
        device: what it computes on; ``none`` for an engine that computes nothing.
        precisions: model precisions that it runs.
        takes_threads: honours the number of CPU threads.
        loads: the ONNX file, a compiled file, or the ONNX file with an optional compiled file that loads faster.
        target: target of `edgeproof compile`; None unless it loads compiled files.
        compiled_file: name of the compiled file in a bundle; None unless it loads compiled files.
        int8_shape: int8 graph of a bundle that it takes.
        own_graph_for_one: compiles another graph where ``max_batch`` is 1 than where it is larger.
        intermediate_values: gives any value of the ONNX graph that the artifact names as an output.
        layer_clock: what times its layers for ``bench --layers``; None if nothing does.
        proven_here: named, it must pass the golden cases on this machine before its outputs are used, since no export
            has judged its device.
        offered: a candidate for ``auto`` and ``all``, listed in help and docs.
        reference: `edgeproof bench` may time it as a reference engine.
    """

    name: str
    implementation: str
    distributions: tuple[str, ...]
    device: Device
    precisions: tuple[Precision, ...]
    extra: str | None = None
    takes_threads: bool = False
    loads: Loads = "onnx"
    target: str | None = None
    compiled_file: str | None = None
    int8_shape: Int8Shape = "cpu"
    own_graph_for_one: bool = False
    intermediate_values: bool = False
    layer_clock: str | None = None
    proven_here: bool = False
    offered: bool = True
    reference: bool = False

    def __post_init__(self) -> None:
        if not (self.target is None) == (self.compiled_file is None) == (self.loads == "onnx"):
            raise ValueError(f"engine {self.name}: target and compiled_file belong to engines that load compiled files")

    @property
    def install(self) -> str | None:
        """Command that installs its extra; None without one."""
        return None if self.extra is None else f'pip install "edgeproof[{self.extra}]"'

    def load_class(self) -> type[Engine]:
        """Import its class."""
        from edgeproof_runtime.engines.base import Engine

        module, _, attribute = self.implementation.partition(":")
        found = getattr(import_module(module), attribute)
        if not (isinstance(found, type) and issubclass(found, Engine)):
            raise TypeError(f"{self.implementation} is not an Engine")
        return found


_ALL: tuple[Precision, ...] = ("fp32", "fp16", "int8")
# Both wheels install into the same folder.
_ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")
_CUDA = ("cuda-bindings", "cuda-python")
_CUDNN = ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13")
_TENSORRT = (
    "tensorrt",
    *(f"tensorrt-cu{major}{part}" for major in (11, 12, 13) for part in ("", "-libs", "-bindings")),
)
_TENSORRT_RTX = tuple(f"tensorrt-rtx-cu{major}{part}" for major in (12, 13) for part in ("", "-libs", "-bindings"))
_ORT_PLUGIN_RTX = tuple(f"onnxruntime-ep-nv-tensorrt-rtx{cuda}" for cuda in ("", "-cu12", "-cu13"))

# `gpu-cu12` is the same for drivers of CUDA 12.
_GPU_EXTRA = "gpu-cu13"

# In the order in which `auto` tries them.
_ENTRIES = (
    CatalogEntry(
        name="onnxruntime",
        implementation="edgeproof_runtime.engines.onnxruntime:OnnxRuntimeEngine",
        distributions=_ONNXRUNTIME,
        extra="onnxruntime",
        device="cpu",
        precisions=_ALL,
        takes_threads=True,
        intermediate_values=True,
        layer_clock="ONNX Runtime's profiler",
        reference=True,
    ),
    CatalogEntry(
        name="openvino",
        implementation="edgeproof_runtime.engines.openvino:OpenVinoEngine",
        distributions=("openvino",),
        extra="openvino",
        device="cpu",
        precisions=_ALL,
        takes_threads=True,
        loads="onnx+blob",
        target="openvino",
        compiled_file="model.blob",
        own_graph_for_one=True,
        intermediate_values=True,
        layer_clock="OpenVINO's performance counts",
        reference=True,
    ),
    CatalogEntry(
        name="opencv",
        implementation="edgeproof_runtime.engines.opencv:OpenCvEngine",
        distributions=(
            "opencv-python",
            "opencv-python-headless",
            "opencv-contrib-python",
            "opencv-contrib-python-headless",
        ),
        device="cpu",
        precisions=("fp32",),
        takes_threads=True,
        intermediate_values=True,
        layer_clock="OpenCV's layer times",
        reference=True,
    ),
    CatalogEntry(
        name="tensorrt",
        implementation="edgeproof_runtime.engines.tensorrt:TensorRtEngine",
        distributions=(*_TENSORRT, *_CUDA),
        extra=_GPU_EXTRA,
        device="gpu",
        precisions=_ALL,
        loads="compiled",
        target="tensorrt",
        compiled_file="model.plan",
        layer_clock="TensorRT's IProfiler",
        int8_shape="tensorrt",
    ),
    CatalogEntry(
        name="tensorrt-rtx",
        implementation="edgeproof_runtime.engines.tensorrt:TensorRtRtxEngine",
        distributions=(*_TENSORRT_RTX, *_CUDA),
        extra="tensorrt-rtx",
        device="gpu",
        precisions=_ALL,
        loads="compiled",
        target="tensorrt-rtx",
        compiled_file="model.plan",
        int8_shape="tensorrt",
    ),
    CatalogEntry(
        name="onnxruntime:cuda",
        implementation="edgeproof_runtime.engines.onnxruntime_gpu:OrtCudaEngine",
        distributions=(*_ONNXRUNTIME, *_CUDNN, *_CUDA),
        extra=_GPU_EXTRA,
        device="gpu",
        precisions=_ALL,
    ),
    CatalogEntry(
        name="onnxruntime:tensorrt",
        implementation="edgeproof_runtime.engines.onnxruntime_gpu:OrtTensorRtEngine",
        distributions=(*_ONNXRUNTIME, *_TENSORRT, *_CUDNN, *_CUDA),
        extra=_GPU_EXTRA,
        device="gpu",
        precisions=_ALL,
        int8_shape="tensorrt",
    ),
    CatalogEntry(
        name="onnxruntime:tensorrt-rtx",
        implementation="edgeproof_runtime.engines.onnxruntime_gpu:OrtTensorRtRtxEngine",
        distributions=(*_ONNXRUNTIME, *_ORT_PLUGIN_RTX, *_CUDA),
        device="gpu",
        precisions=_ALL,
        int8_shape="tensorrt",
    ),
    CatalogEntry(
        name="openvino:gpu",
        implementation="edgeproof_runtime.engines.openvino:OpenVinoGpuEngine",
        distributions=("openvino",),
        extra="openvino",
        device="gpu",
        precisions=_ALL,
        proven_here=True,
    ),
    CatalogEntry(
        name="openvino:npu",
        implementation="edgeproof_runtime.engines.openvino:OpenVinoNpuEngine",
        distributions=("openvino",),
        extra="openvino",
        device="npu",
        precisions=_ALL,
        proven_here=True,
    ),
    CatalogEntry(
        name="openvino:auto",
        implementation="edgeproof_runtime.engines.openvino:OpenVinoAutoEngine",
        distributions=("openvino",),
        extra="openvino",
        device="auto",
        precisions=_ALL,
        proven_here=True,
    ),
    CatalogEntry(
        name="null",
        implementation="edgeproof_runtime.engines.null:NullEngine",
        distributions=(),
        device="none",
        precisions=_ALL,
        offered=False,
    ),
)
_BY_NAME = {entry.name: entry for entry in _ENTRIES}


def entries() -> tuple[CatalogEntry, ...]:
    """Return the entries of all engines."""
    return tuple(_BY_NAME.values())


def offered() -> tuple[CatalogEntry, ...]:
    """Return the entries of the engines that users are offered."""
    return tuple(entry for entry in _BY_NAME.values() if entry.offered)


def compiling() -> dict[str, CatalogEntry]:
    """Map each compile target to the engine that loads its files."""
    return {entry.target: entry for entry in _BY_NAME.values() if entry.target is not None}


def find(name: str) -> CatalogEntry:
    """Return the entry of an engine.

    Raises:
        InputError: the name is unknown.
    """
    if name not in _BY_NAME:
        raise InputError("unknown engine", got=name, expected=", ".join(_BY_NAME))
    return _BY_NAME[name]


def int8_shape(target: str) -> Int8Shape:
    """Return the int8 graph that is compiled for a target; ``cpu`` for an unknown target."""
    known = compiling().get(target)
    return "cpu" if known is None else known.int8_shape


def distributions() -> tuple[str, ...]:
    """List the PyPI distributions of all engines, each once."""
    return tuple(dict.fromkeys(name for entry in _BY_NAME.values() for name in entry.distributions))


def register(entry: CatalogEntry) -> None:
    """Add an engine, or replace the one of this name, for the rest of the process."""
    _BY_NAME[entry.name] = entry


@contextmanager
def registered(entry: CatalogEntry) -> Iterator[None]:
    """Add an engine, or replace the one of this name, within a ``with`` block."""
    before = dict(_BY_NAME)
    register(entry)
    try:
        yield
    finally:
        _BY_NAME.clear()
        _BY_NAME.update(before)


def markdown_table() -> str:
    """Format the offered engines as the table of docs/engines.md."""
    head = ("engine", "computes on", "precisions", "loads", "`--threads`", "install")
    rows = [
        (
            f"`{entry.name}`",
            entry.device.upper(),
            ", ".join(entry.precisions),
            _LOADS_TEXT[entry.loads].format(file=entry.compiled_file, target=entry.target),
            "yes" if entry.takes_threads else "no",
            "see `edgeproof doctor`" if entry.install is None else f"`{entry.install}`",
        )
        for entry in offered()
    ]
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
