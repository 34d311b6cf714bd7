"""Compile ONNX for OpenVINO; the compiled model loads faster than the ONNX file."""

from __future__ import annotations

import resource
import time

from edgeproof_export.compile.target import Built, Target
from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.engines import catalog, trial
from edgeproof_runtime.engines.openvino import OpenVinoEngine, import_openvino, openvino_core
from edgeproof_runtime.errors import UnavailableError

__all__ = ["build_blob", "cpu_name", "find_openvino"]


def find_openvino() -> Target:
    """Find the installed OpenVINO.

    Raises:
        UnavailableError: OpenVINO is not installed.
    """
    reason = OpenVinoEngine.unavailable_reason()
    if reason is not None:
        raise UnavailableError("target openvino: not available on this machine", got=reason.what, fix=reason.fix)
    return Target("openvino", import_openvino().get_version().partition("-")[0], None, ())


def cpu_name() -> str:
    """Return OpenVINO's name of the CPU; a compiled model requires a CPU with the same instructions."""
    return str(openvino_core().get_property("CPU", "FULL_DEVICE_NAME"))


def build_blob(artifact: ModelArtifact) -> Built:
    """Compile for this CPU, batch 1.

    Raises:
        InputError: OpenVINO cannot load the model.
    """
    trial.require_harmless(catalog.find("openvino"), artifact)
    begin = time.perf_counter()
    with OpenVinoEngine(artifact) as engine:
        blob = engine.export_blob()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # KiB on Linux
    return Built(blob, time.perf_counter() - begin, peak)
