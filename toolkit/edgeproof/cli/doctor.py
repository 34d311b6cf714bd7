"""`edgeproof doctor`: what this machine can do, what is missing, and how to mend it. Never installs anything."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import cv2
from rich.table import Table
from rich.text import Text

from edgeproof.cli._shared import JsonFile, out
from edgeproof_runtime import engines
from edgeproof_runtime.files import cache_folder, write_atomically
from edgeproof_runtime.host import host_facts, host_warnings

__all__ = ["Finding", "doctor", "findings"]

State = Literal["ok", "missing", "problem"]
_STYLES = {"ok": "green", "missing": "yellow", "problem": "bold red"}
_EXTRAS = {
    "export": ("torch", "torchvision", "timm", "onnx", "onnxscript", "safetensors", "PIL"),
    "train": ("torch", "lightning", "torchmetrics"),
    "report": ("matplotlib", "jinja2"),
}
_OPENCVS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``fix`` is a command or edit that mends it."""

    subject: str
    state: State
    detail: str
    fix: str | None = None


def doctor(json_file: JsonFile = None) -> None:
    """Look at this machine: CPU, GPU, OpenCV's build, engines, extras, cameras, conflicts. Installs nothing.

    Examples:

      edgeproof doctor

      edgeproof doctor --json doctor.json
    """
    host = host_facts()
    found = list(findings(host))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("", "", "found", "to mend it"):
        table.add_column(column, overflow="fold")
    for finding in found:
        state = Text(finding.state, style=_STYLES[finding.state])
        table.add_row(finding.subject, state, finding.detail, finding.fix or "")
    out.print(table)
    if json_file is not None:
        document = {"schema": "edgeproof.doctor/1", "host": host, "findings": [asdict(f) for f in found]}
        write_atomically(json_file, f"{json.dumps(document, indent=2, default=str)}\n".encode())


def findings(host: dict[str, Any]) -> Iterator[Finding]:
    """Everything that `doctor` prints, from a machine's facts and this process's environment."""
    cpu = host["cpu"]
    yield Finding("python", "ok", f"{sys.version.split()[0]} in {sys.prefix}")
    features = ", ".join(cpu.get("features") or []) or "no vector features known"
    yield Finding("cpu", "ok", f"{cpu.get('model')}, {os.cpu_count()} cores: {features}")
    yield _gpu(host)
    yield from _opencv()
    for name in engines.ENGINES:
        if name != "null":
            reason = engines.engine_class(name).unavailable_reason()
            detail, fix = _split_fix(reason) if reason else ("can run", None)
            yield Finding(f"engine {name}", "missing" if reason else "ok", detail, fix)
    for extra, modules in _EXTRAS.items():
        absent = [module for module in modules if find_spec(module) is None]
        if absent:
            yield Finding(f"extra {extra}", "missing", f"no {', '.join(absent)}", f'pip install "edgeproof[{extra}]"')
        else:
            yield Finding(f"extra {extra}", "ok", "installed")
    yield from _conflicts()
    yield _cameras()
    yield _cache()
    for warning in host_warnings(host):
        yield Finding("measuring", "problem", warning)


def _gpu(host: dict[str, Any]) -> Finding:
    gpus = host.get("gpu") or []
    if gpus:
        return Finding("gpu", "ok", "; ".join(f"{gpu['name']}, driver {gpu['driver']}" for gpu in gpus))
    if host.get("jetson"):
        return Finding("gpu", "ok", "Jetson, integrated")
    return Finding(
        "gpu", "missing", "no NVIDIA GPU or no driver: TensorRT engines cannot run here", "install NVIDIA's driver"
    )


def _opencv() -> Iterator[Finding]:
    build = cv2.getBuildInformation()

    def has(name: str) -> bool:
        return re.search(rf"^\s*{name}:\s+YES", build, re.MULTILINE) is not None

    gui = re.search(r"^\s*GUI:\s+(\S+)", build, re.MULTILINE)
    windows = gui is not None and gui.group(1) != "NONE"
    yield Finding("opencv", "ok", f"{cv2.__version__}, {cv2.getNumThreads()} threads")
    yield Finding(
        "opencv windows",
        "ok" if windows else "missing",
        f"GUI: {gui.group(1)}" if gui is not None and windows else "built without a GUI, so no --show",
        None if windows else "pip uninstall opencv-python-headless && pip install opencv-python",
    )
    for name, use in {
        "FFMPEG": "video files, RTSP",
        "GStreamer": "pipelines, CSI cameras",
        "v4l/v4l2": "cameras",
    }.items():
        there = has(name)
        fix = None
        if not there:
            fix = (
                "use the system's OpenCV (python3-opencv), which has it"
                if name == "GStreamer"
                else "install opencv-python"
            )
        yield Finding(f"opencv {name}", "ok" if there else "missing", use if there else f"no {use} through {name}", fix)


def _conflicts() -> Iterator[Finding]:
    installed = [name for name in _OPENCVS if _is_installed(name)]
    if len(installed) > 1:
        yield Finding(
            "two OpenCVs",
            "problem",
            f"{' and '.join(installed)} overwrite each other's cv2",
            f"pip uninstall {' '.join(installed)} && pip install {installed[0]}",
        )
    flavours = [name for name in ("onnxruntime", "onnxruntime-gpu") if _is_installed(name)]
    if len(flavours) > 1:
        yield Finding(
            "two ONNX Runtimes",
            "problem",
            "onnxruntime and onnxruntime-gpu overwrite each other; the GPU's providers may be gone",
            "pip uninstall onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
        )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _cameras() -> Finding:
    devices = sorted(Path("/dev").glob("video*"))
    if not devices:
        return Finding("cameras", "missing", "no /dev/video*", "plug one in; in a container pass --device /dev/video0")
    closed = [device for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if closed:
        names = ", ".join(str(device) for device in closed)
        return Finding(
            "cameras", "problem", f"no permission for {names}", "sudo usermod -aG video $USER, then log in anew"
        )
    return Finding("cameras", "ok", ", ".join(str(device) for device in devices))


def _cache() -> Finding:
    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if os.access(existing, os.W_OK):
        return Finding("cache", "ok", str(folder))
    return Finding(
        "cache", "problem", f"{folder} cannot be written, so engines are measured anew each time", "set EDGEPROOF_CACHE"
    )


def _split_fix(reason: str) -> tuple[str, str | None]:
    """Reasons end in the command that mends them: ``x is not installed: pip install x``."""
    detail, separator, fix = reason.partition(": pip install")
    return (detail, f"pip install{fix}") if separator else (reason, None)
