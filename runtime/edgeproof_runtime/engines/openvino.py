"""OpenVINO on the CPU, and on Intel's GPUs and NPUs."""

from __future__ import annotations

import functools
import hashlib
import importlib
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.bundle.trust import is_trusted
from edgeproof_runtime.engines._modules import missing_module, version_of
from edgeproof_runtime.engines.base import WARM_UP_RUNS, Engine, EngineInfo, LayerTime, Unavailable
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import cache_folder

__all__ = [
    "OpenVinoAutoEngine",
    "OpenVinoEngine",
    "OpenVinoGpuEngine",
    "OpenVinoNpuEngine",
    "import_openvino",
    "openvino_core",
    "save_ir",
]


class OpenVinoEngine(Engine):
    """One OpenVINO model compiled for the CPU plugin, tuned for latency.

    A precision hint keeps the graph's precision: without it, CPUs with AMX silently compute fp32 models in bfloat16,
    and GPUs in float16.
    """

    name = "openvino"
    device: ClassVar[str] = "CPU"

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None, profile: bool = False) -> None:
        """Load the artifact.

        Args:
            artifact: the ONNX file, and a blob that is loaded instead where it fits.
            threads: CPU threads; None for OpenVINO's default.
            profile: count the time of each layer.

        Raises:
            InputError: OpenVINO cannot load this model.
        """
        super().__init__(artifact, threads=threads)
        ov = import_openvino()
        properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if profile:
            properties["PERF_COUNT"] = True
        properties["INFERENCE_PRECISION_HINT"] = "f16" if artifact.precision == "fp16" else "f32"
        if self.device != "CPU":
            # Compiling for a GPU or an NPU takes long; OpenVINO keeps the result by model, device and driver.
            properties["CACHE_DIR"] = str(cache_folder() / "openvino")
        elif threads is not None:
            properties["INFERENCE_NUM_THREADS"] = threads
            # OpenVINO pins every model's first thread to the same core, which engines side by side would share.
            properties["ENABLE_CPU_PINNING"] = False
        try:
            core = openvino_core()
            self._details: dict[str, str] = {}
            self._compiled: Any = self._import_blob(core, properties) or self._compile(core, properties)
            self._request: Any = self._compiled.create_infer_request()
            self._outputs = [self._compiled.output(spec.name) for spec in artifact.outputs]
        except RuntimeError as error:
            raise InputError(f"openvino: cannot load {artifact.path}", got=_last_line(error)) from error
        self._tensor_type = ov.Tensor

    def _import_blob(self, core: Any, properties: dict[str, Any]) -> Any:
        """Load the bundle's blob.

        None if missing, damaged, not trusted, built for another OpenVINO or CPU, or ``max_batch`` > 1.
        """
        blob = self.artifact.blob
        if blob is None or self.artifact.max_batch != 1:
            return None
        digest = self.artifact.digests.get(blob, "")[:16]
        try:
            content = self.artifact.compiled(blob)
        except InputError as error:
            self._details["compiled"] = f"{error.what}: compiled the ONNX file"
            return None
        if not is_trusted(hashlib.sha256(content).hexdigest()):
            self._details["compiled"] = f"{blob.parent.name} was not compiled on this machine: compiled the ONNX file"
            return None
        try:
            compiled = core.import_model(content, "CPU", properties)
        except RuntimeError:
            # A blob records OpenVINO's version and the CPU's instructions; OpenVINO rejects others.
            self._details["compiled"] = f"{digest} is for another OpenVINO or CPU: compiled the ONNX file"
            return None
        self._details["compiled"] = digest
        return compiled

    def _compile(self, core: Any, properties: dict[str, Any]) -> Any:
        with self.artifact.onnx() as content:
            model = _read_onnx(content.path)
        if self.artifact.max_batch == 1:
            # A fixed shape lets the plugin plan its memory once.
            model.reshape({self.artifact.input.name: [1, *self.artifact.input.shape]})
        return core.compile_model(model, self.device, properties)

    @classmethod
    def layer_times(
        cls, artifact: ModelArtifact, batch: Tensor, *, runs: int, threads: int | None = None
    ) -> list[LayerTime]:
        """As `Engine.layer_times`; the ONNX file is compiled, since a blob counts no times."""
        times_ms: dict[tuple[str, str], list[float]] = {}
        with cls(replace(artifact, blob=None), threads=threads, profile=True) as engine:
            for number in range(WARM_UP_RUNS + runs):
                engine.run(batch)
                for layer in engine._request.profiling_info if number >= WARM_UP_RUNS else ():
                    if layer.status.name == "EXECUTED":
                        kind = f"{layer.node_type} {layer.exec_type}".strip()
                        times_ms.setdefault((layer.node_name, kind), []).append(layer.real_time.total_seconds() * 1e3)
            covered = {
                node.get_friendly_name(): node.get_rt_info()["originalLayersNames"].astype(str).split(",")
                for node in engine._compiled.get_runtime_model().get_ordered_ops()
                if "originalLayersNames" in node.get_rt_info()
            }
        return [
            LayerTime(name, kind, median(found), tuple(covered.get(name, ())))
            for (name, kind), found in times_ms.items()
        ]

    def export_blob(self) -> bytes:
        """Return the compiled model. It loads faster than the ONNX file, on this OpenVINO and CPUs like this one."""
        return bytes(self._compiled.export_model().getvalue())

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        return missing_module("openvino", cls.name)

    def describe(self) -> EngineInfo:
        if self.device != "CPU":
            used = self._compiled.get_property("EXECUTION_DEVICES")
            device = used if isinstance(used, str) else ", ".join(used)
            return EngineInfo(
                self.name, version_of(self.name), device, self.artifact.precision, None, {"device": self.device}
            )
        threads = int(self._compiled.get_property("INFERENCE_NUM_THREADS"))
        return EngineInfo(self.name, version_of(self.name), "CPU", self.artifact.precision, threads, self._details)

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        try:
            self._request.set_input_tensor(0, self._tensor_type(batch, shared_memory=True))
            self._request.infer()
        except RuntimeError as error:
            raise InputError(f"openvino: cannot run {self.artifact.path}", got=_last_line(error)) from error
        # The request owns its output memory and will write to it again.
        return tuple(np.array(self._request.get_tensor(port).data) for port in self._outputs)

    def close(self) -> None:
        self._request = self._compiled = None


class OpenVinoGpuEngine(OpenVinoEngine):
    """OpenVINO on an Intel GPU."""

    name = "openvino:gpu"
    device = "GPU"

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        """Return why OpenVINO lists no device for this engine; None if it does."""
        reason = missing_module("openvino", cls.name)
        return reason if reason is not None else cls._lacks(openvino_core().available_devices)

    @classmethod
    def _lacks(cls, devices: list[str]) -> Unavailable | None:
        if any(device.split(".")[0] == cls.device for device in devices):
            return None
        found = ", ".join(devices) or "none"
        return Unavailable(
            f"OpenVINO lists no {cls.device} (found: {found})", f"install Intel's driver for a supported {cls.device}"
        )


class OpenVinoNpuEngine(OpenVinoGpuEngine):
    """OpenVINO on an Intel NPU."""

    name = "openvino:npu"
    device = "NPU"


class OpenVinoAutoEngine(OpenVinoGpuEngine):
    """OpenVINO's AUTO: the device that it takes for the best, where there are others than the CPU."""

    name = "openvino:auto"
    device = "AUTO"

    @classmethod
    def _lacks(cls, devices: list[str]) -> Unavailable | None:
        if set(devices) - {"CPU"}:
            return None
        return Unavailable("OpenVINO lists only the CPU, which --engine openvino uses", "install Intel's driver")


@functools.cache
def openvino_core() -> Any:
    """Return the process's only ``openvino.Core``, which is never closed.

    A Core's CPU plugin gives the loading thread a signal stack; at its end it unmaps it and restores the previous one.
    If two end in the order of their creation, the second restores the stack that the first unmapped. The next Ctrl-C,
    whose handler runs on that stack, is then a segmentation fault.
    """
    return import_openvino().Core()


def save_ir(artifact: ModelArtifact, path: Path) -> None:
    """Write an ONNX model in OpenVINO's format, with its weights as they are (OpenVINO rounds them to fp16 by default).

    Args:
        artifact: what to convert.
        path: ``NAME.xml``; ``NAME.bin`` is written beside it.

    Raises:
        UnavailableError: OpenVINO is not installed.
        InputError: OpenVINO cannot read the model.
    """
    missing = OpenVinoEngine.unavailable_reason()
    if missing is not None:
        raise UnavailableError(f"openvino: {missing.what}", fix=missing.fix)
    try:
        with artifact.onnx() as content:
            import_openvino().save_model(_read_onnx(content.path), path, compress_to_fp16=False)
    except RuntimeError as error:
        raise InputError(f"openvino: cannot convert {artifact.path}", got=_last_line(error)) from error


def _read_onnx(path: str) -> Any:
    """Read a file as ONNX, whatever its name says.

    ``Core.read_model`` tells formats by extension. Without one it shows the content to the parser of every format and
    reads the whole file twice.

    Raises:
        RuntimeError: the file is not a model that OpenVINO can take.
    """
    import_openvino()
    frontend = importlib.import_module("openvino.frontend")
    failures = tuple(kind for name, kind in vars(frontend).items() if name.endswith("Failure"))
    onnx = frontend.FrontEndManager().load_by_framework("onnx")
    try:
        return onnx.convert(onnx.load(path))
    except failures as error:
        raise RuntimeError(str(error)) from error


def import_openvino() -> Any:
    """Import OpenVINO without its model converter, which takes half of the import time and is not used here.

    ``openvino/__init__.py`` allows for a converter that cannot be imported. A later access to it still imports it.
    """
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules or converter in sys.modules:
        return importlib.import_module("openvino")
    sys.modules[converter] = None  # type: ignore[assignment]  # documented: the import then raises ImportError
    try:
        openvino = importlib.import_module("openvino")
    finally:
        del sys.modules[converter]

    def convert_later(name: str) -> Any:
        if name == "convert_model":
            return importlib.import_module(converter).convert_model
        raise AttributeError(f"module 'openvino' has no attribute {name!r}")

    vars(openvino)["__getattr__"] = convert_later  # PEP 562
    return openvino


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
