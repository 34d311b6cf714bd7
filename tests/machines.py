"""Machines that are made up, for doctor: a flawless desktop, and Jetsons of `boards`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from boards import BOARDS
from edgeproof.doctor import Camera, Machine, document
from edgeproof_runtime.system.host import system_facts
from edgeproof_runtime.system.sensors import temperature_c

BUILD = """
  GUI:                           QT5
  Video I/O:
    FFMPEG:                      YES
    GStreamer:                   YES (1.22)
    v4l/v4l2:                    YES (linux/videodev2.h)
"""
DESKTOP_GPU = {
    "name": "NVIDIA GeForce RTX 4070",
    "driver": "570.1",
    "compute_capability": "8.9",
    "temperature_c": 45.0,
    "persistence_mode": "Enabled",
}
ORIN: dict[str, Any] = {
    "board": "NVIDIA Jetson Orin Nano",
    "l4t": "R36 (release), REVISION: 4.0",
    "power_mode": "15W",
    "higher_mode": {"id": 2, "name": "MAXN_SUPER"},
    "clocks_fixed": True,
    "gpu": None,
    "throttled": [],
    "temperature_c": 45.0,
    "power_source": None,
    "power_rails": [],
    "power_w": None,
}


def host(**changes: Any) -> dict[str, Any]:
    """A fast, idle desktop; ``cpu__features=[]`` changes a part of a part."""
    facts: dict[str, Any] = {
        "cpu": {
            "model": "Some CPU",
            "cores_usable": 8,
            "features": ["avx2", "avx512f", "avx512_vnni"],
            "governors": ["performance"],
        },
        "gpu": [DESKTOP_GPU],
        "jetson": None,
        "memory": {"total_bytes": 16 << 30, "available_bytes": 12 << 30, "limit_bytes": None},
        "load_average_1min": 0.1,
        "os": {"name": "Debian 12", "kernel": "6.1", "arch": "x86_64", "virtualized": False, "container": False},
    }
    for name, value in changes.items():
        part, _, key = name.partition("__")
        facts[part] = {**facts[part], key: value} if key else value
    return facts


def machine(**changes: Any) -> Machine:
    """A machine without a flaw, but for the changes."""
    flawless = Machine(
        host=host(),
        python="3.12.1 in /venv",
        packages={
            "av": "18.1.0",
            "numpy": "2.1.0",
            "opencv-python": "4.11.0",
            "onnxruntime-gpu": "1.22.0",
            "torch": "2.6.0+cu124",
        },
        extras={"export": ("torch", "numpy")},
        engines={"onnxruntime": None, "opencv": None},
        providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
        opencv_fault=None,
        opencv_version="4.11.0",
        opencv_build=BUILD,
        opencv_places=("/venv/cv2",),
        display=True,
        cameras=(Camera("/dev/video0", "Webcam", True),),
        cuda_toolkit="12.6",
        jetpack=None,
        swap_used_bytes=0,
        cpu_temperature_c=50.0,
        cache=("/home/me/.cache/edgeproof", True),
        free_bytes=100 << 30,
    )
    return replace(flawless, **changes)


def doctor_on(board: str, root: Path) -> dict[str, Any]:
    """What `doctor --json` writes on a board of `boards`, whose tree is written to a root."""
    facts = system_facts(BOARDS[board].write(root))
    cpu = {name: facts["cpu"][name] for name in ("model", "features", "governors")}
    # What nvidia-smi lists on JetPack 6 and 7.
    gpu = {"name": "Orin (nvgpu)", "driver": None, "temperature_c": None, "persistence_mode": None}
    its = host(jetson=facts["jetson"], gpu=[gpu], cpu={**host()["cpu"], **cpu}, os__arch="aarch64")
    packages = {"av": "18.1.0", "numpy": "1.26.4", "opencv": "4.8.0", "onnxruntime": "1.23.2"}
    made = replace(
        machine(host=its, packages=packages), jetpack="6.2", extras={}, cpu_temperature_c=temperature_c(root)
    )
    loaded: dict[str, Any] = json.loads(json.dumps(document(replace(made, extras={}))))
    return loaded
