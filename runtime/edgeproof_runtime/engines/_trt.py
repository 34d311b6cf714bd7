"""TensorRT's Python module in either flavour: its import, its logger, and why it is missing."""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeproof_runtime.engines.base import Unavailable
from edgeproof_runtime.errors import InputError, UnavailableError

__all__ = ["FLAVOURS", "Flavour", "flavour"]

_LOG = logging.getLogger("edgeproof.tensorrt")
_OTHER_DEVICE = "across different models of devices"  # in TensorRT's words, since 8.0


@dataclass(frozen=True, slots=True)
class Flavour:
    """TensorRT or TensorRT-RTX: the same API under two module names.

    Attributes:
        target: name in edgeproof's commands and bundles.
        module: Python module.
        builds_without_gpu: can build for GPUs that this machine does not have.
    """

    target: str
    module: str
    builds_without_gpu: bool

    @property
    def install(self) -> str:
        """How to install it on this kind of machine."""
        if self.target == "tensorrt-rtx":
            return "pip install tensorrt-rtx-cu13 (x86-64, RTX GPUs of Turing to Blackwell)"
        jetson = (
            "on a Jetson it comes with JetPack: sudo apt install nvidia-jetpack, then a virtual environment with "
            "--system-site-packages"
        )
        desktop = "on a desktop: pip install tensorrt (it downloads 2 GB)"
        return jetson if Path("/etc/nv_tegra_release").exists() else f"{desktop}; {jetson}"

    def unavailable_reason(self) -> Unavailable | None:
        """Return why the module is not available on this machine; None if it is."""
        if find_spec(self.module) is None:
            return Unavailable(f"the Python package {self.module} is not installed", self.install)
        try:
            import_module(self.module)
        except (ImportError, OSError) as error:
            what = f"the Python package {self.module} is installed but does not load ({error})"
            return Unavailable(what, self.install)
        return None

    def load(self) -> Any:
        """Import the module.

        Raises:
            UnavailableError: the module is not installed, or its libraries do not load.
        """
        reason = self.unavailable_reason()
        if reason is not None:
            raise UnavailableError(f"{self.target}: not available on this machine", got=reason.what, fix=reason.fix)
        return import_module(self.module)


FLAVOURS = {
    "tensorrt": Flavour("tensorrt", "tensorrt", builds_without_gpu=False),
    "tensorrt-rtx": Flavour("tensorrt-rtx", "tensorrt_rtx", builds_without_gpu=True),
}


def flavour(target: str) -> Flavour:
    """Return the flavour of a target.

    Raises:
        InputError: the target is unknown.
    """
    if target not in FLAVOURS:
        raise InputError("unknown TensorRT flavour", got=target, expected=", ".join(FLAVOURS))
    return FLAVOURS[target]


@cache
def logger(trt: Any) -> Any:
    """Return TensorRT's logger, and register its plugins, which `trtexec` does as well.

    The logger writes to Python's logging and keeps the last errors for messages. It warns once of a plan that was
    built on another model of GPU. There is one per process: TensorRT keeps the first and warns about every other.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]  # a class of a module found at run time
        def __init__(self) -> None:
            super().__init__()
            self.errors: deque[str] = deque(maxlen=8)
            self.warned = False

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(message.strip())
                _LOG.debug("error: %s", message)
            elif severity == trt.ILogger.Severity.WARNING and _OTHER_DEVICE in message and not self.warned:
                self.warned = True
                _LOG.warning("%s", message.strip())
            elif severity == trt.ILogger.Severity.WARNING:
                _LOG.debug("warning: %s", message)

        def take_errors(self) -> str:
            """Return the errors since the last call as one text, and forget them."""
            text = "; ".join(self.errors)
            self.errors.clear()
            return text or "no message"

    made = Logger()
    # TensorRT-RTX has no plugins. By name: which versions of the bindings have it was not checked.
    register = getattr(trt, "init_libnvinfer_plugins", None)
    if register is not None and not register(made, ""):
        _LOG.debug("plugins not registered: %s", made.take_errors())
    return made


def profiler(trt: Any) -> Any:
    """Return an IProfiler that keeps the times of every layer in ms, by name: ``times_ms``."""

    class Profiler(trt.IProfiler):  # type: ignore[misc]  # a class of a module found at run time
        def __init__(self) -> None:
            super().__init__()
            self.times_ms: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times_ms.setdefault(layer_name, []).append(ms)

    return Profiler()


def described_layers(trt: Any, engine: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return type and ONNX nodes of each layer by name, as EngineInspector tells them.

    A plan holds them only if it was built with detailed profiling verbosity; of others only names are known, and
    nothing is returned.
    """
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        layers = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError):
        return {}
    found = {}
    for layer in layers:
        if isinstance(layer, dict) and isinstance(layer.get("Name"), str):
            nodes = tuple(re.findall(r"\[ONNX Layer: ([^\]]+)\]", str(layer.get("Metadata", ""))))
            found[layer["Name"]] = (str(layer.get("LayerType", "")), nodes)
    return found
