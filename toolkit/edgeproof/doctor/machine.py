"""Facts about a machine for `findings`, as plain data that tests can construct."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from edgeproof_runtime.engines import Unavailable, catalog
from edgeproof_runtime.engines.machine import host_facts
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.files import cache_folder
from edgeproof_runtime.system.host import tool_output
from edgeproof_runtime.system.opencv import cv2, opencv_fault, opencv_places
from edgeproof_runtime.system.sensors import temperature_c

__all__ = ["EXTRAS", "Camera", "Machine"]

EXTRAS = ("export", "optimize", "train", "report", "serve", "mqtt", "bench", "data")


@dataclass(frozen=True, slots=True)
class Camera:
    """Video device: path, name, and whether this user may open it."""

    device: str
    name: str | None
    accessible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts about a machine; collect them with `look`.

    Attributes:
        host: from `edgeproof_runtime.engines.machine.host_facts`.
        python: version and prefix of this interpreter.
        packages: version by installed distribution.
        extras: distributions required on this machine, by extra of edgeproof.
        engines: why each offered engine is not available; None if available.
        providers: ONNX Runtime's execution providers; None if not installed.
        opencv_fault: why OpenCV cannot be imported; None if it can.
        opencv_version: version of the imported OpenCV; empty without it.
        opencv_build: text of `cv2.getBuildInformation()`; empty without it.
        opencv_places: every OpenCV on the import path; the first is imported.
        display: whether windows can be shown (``DISPLAY`` or ``WAYLAND_DISPLAY``).
        cameras: video devices.
        cuda_toolkit: version of nvcc or /usr/local/cuda; None if absent.
        jetpack: version of the package nvidia-jetpack; None if absent.
        swap_used_bytes: swap in use.
        cpu_temperature_c: temperature of the hottest sensor of the CPU or SoC, °C; None without sensors.
        cache: folder of measured choices, and whether it is writable.
        free_bytes: free space on the cache's disk.
    """

    host: Mapping[str, Any]
    python: str
    packages: Mapping[str, str]
    extras: Mapping[str, tuple[str, ...]]
    engines: Mapping[str, Unavailable | None]
    providers: tuple[str, ...] | None
    opencv_fault: Unavailable | None
    opencv_version: str
    opencv_build: str
    opencv_places: tuple[str, ...]
    display: bool
    cameras: tuple[Camera, ...]
    cuda_toolkit: str | None
    jetpack: str | None
    swap_used_bytes: int
    cpu_temperature_c: float | None
    cache: tuple[str, bool]
    free_bytes: int

    @classmethod
    def look(cls) -> Self:
        """Collect the current facts of this machine and this process's environment."""
        folder, fault = cache_folder(), opencv_fault()
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        return cls(
            host=host_facts(),
            python=f"{platform.python_version()} in {sys.prefix}",
            packages={_normal(d.name): d.version for d in metadata.distributions() if d.name},
            extras={extra: _wanted(extra) for extra in EXTRAS},
            engines={entry.name: entry.load_class().unavailable_reason() for entry in catalog.offered()},
            providers=_providers(),
            opencv_fault=None if fault is None else Unavailable(f"{fault.what}: {fault.got}", fault.fix),
            opencv_version="" if fault else cv2.__version__,
            opencv_build="" if fault else cv2.getBuildInformation(),
            opencv_places=tuple(str(place.parent) for place in opencv_places()),
            display=bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")),
            cameras=tuple(_camera(device) for device in sorted(Path("/dev").glob("video*"))),
            cuda_toolkit=_cuda_toolkit(),
            jetpack=tool_output("dpkg-query", "-W", "-f=${Version}", "nvidia-jetpack") or None,
            swap_used_bytes=psutil.swap_memory().used,
            cpu_temperature_c=temperature_c(),
            cache=(str(folder), os.access(existing, os.W_OK)),
            free_bytes=shutil.disk_usage(existing).free,
        )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def _wanted(extra: str) -> tuple[str, ...]:
    """Return the distributions that an extra requires on this machine, nested extras included."""
    found: dict[str, None] = {}
    for requirement in metadata.requires("edgeproof") or ():
        named, _, marker = requirement.partition(";")
        if f'extra == "{extra}"' not in marker:
            continue
        if (machine := re.search(r'platform_machine == "(\w+)"', marker)) and machine[1] != platform.machine():
            continue
        parsed = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", named.strip())
        if parsed is None:
            continue
        name, inner = _normal(parsed[1]), (parsed[2] or "").split(",")
        found.update(dict.fromkeys([d for e in inner for d in _wanted(e)] if name == "edgeproof" else [name]))
    return tuple(found)


def _providers() -> tuple[str, ...] | None:
    try:
        import onnxruntime

        return tuple(onnxruntime.get_available_providers())
    except (ImportError, AttributeError):  # a half-removed onnxruntime leaves an empty, importable folder
        return None


def _camera(device: Path) -> Camera:
    try:
        name = Path(f"/sys/class/video4linux/{device.name}/name").read_text(encoding="utf-8").strip()
    except OSError:
        name = None
    return Camera(str(device), name, os.access(device, os.R_OK | os.W_OK))


def _cuda_toolkit() -> str | None:
    try:
        version = json.loads(Path("/usr/local/cuda/version.json").read_text(encoding="utf-8"))["cuda"]["version"]
        return str(version)
    except (OSError, ValueError, KeyError, TypeError):
        release = re.search(r"release (\d+\.\d+)", tool_output("nvcc", "--version") or "")
        return release[1] if release else None
