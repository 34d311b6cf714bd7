"""Host facts: CPU, GPU, clocks, memory, operating system; nothing about engines."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from edgeproof_runtime._native import usable_cores
from edgeproof_runtime.system.jetson import Jetson
from edgeproof_runtime.system.sensors import text
from edgeproof_runtime.system.spec import SPEC

__all__ = [
    "cpu_features",
    "gpu_facts",
    "hardware_identity",
    "host_warnings",
    "installed",
    "system_facts",
    "tool_output",
    "usable_cores",
]

# Kernel flag -> feature name, for the instruction sets that decide inference speed.
_FEATURES: Mapping[str, str] = dict(SPEC["cpu_features"])

_GPU_FIELDS = {
    "name": "name",
    "driver": "driver_version",
    "memory_mib": "memory.total",
    "clock_sm_mhz": "clocks.sm",
    "clock_sm_max_mhz": "clocks.max.sm",
    "clock_memory_mhz": "clocks.mem",
    "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu",
    "utilization_percent": "utilization.gpu",
    "persistence_mode": "persistence_mode",
    "compute_capability": "compute_cap",  # last: unsupported by the drivers of older JetPacks and of CUDA 11.4
}

_TOOL_TIMEOUT_S = 10.0
_ROOT = Path("/")


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those distributions that are installed in this environment, by name."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def system_facts(root: Path = _ROOT) -> dict[str, Any]:
    """Collect facts about this machine now: a report's ``host`` without the engines' part.

    Runs ``nvidia-smi`` where it is installed, and ``nvpmodel`` where its files do not tell the power mode; each may
    take a second.

    Args:
        root: root of ``/sys``, ``/proc``, ``/etc`` and ``/var`` for facts of CPU and Jetson; tests pass another.

    Returns:
        Plain JSON values; an unknown value is None, an unknown list or table empty.
    """
    memory = psutil.virtual_memory()
    return {
        "cpu": _cpu_facts(root),
        "gpu": gpu_facts(),
        "jetson": _jetson_facts(root),
        "memory": {"total_bytes": memory.total, "available_bytes": memory.available, "limit_bytes": _memory_limit()},
        "load_average_1min": os.getloadavg()[0],
        "os": {
            "name": _os_name(),
            "kernel": platform.release(),
            "arch": platform.machine(),
            "virtualized": "hypervisor" in _cpuinfo().get("flags", "").split(),
            "container": _in_container(),
        },
        "python": platform.python_version(),
    }


def host_warnings(facts: Mapping[str, Any]) -> list[str]:
    """List what makes timings on this machine less trustworthy, in sentences for people.

    Args:
        facts: a report's ``host``, taken before the measurement so that its own load does not count.
    """
    found = []
    cpu = facts["cpu"]
    load, cores = facts["load_average_1min"], cpu["cores_usable"]
    if load > cores:
        found.append(
            f"The host was busy before the measurement: load average {load:.1f} on {cores} usable cores. "
            "Latencies are upper bounds."
        )
    slow = [g for g in cpu["governors"] if g not in ("performance", "schedutil")]
    if slow:
        found.append(f"CPU frequency governor {', '.join(slow)}: the CPU may not have run at its highest clock.")
    if facts["os"]["virtualized"]:
        found.append(
            "The host is a virtual machine: others may take its CPU time, so latencies vary more than on hardware."
        )
    jetson = facts["jetson"]
    if jetson is not None and jetson.get("clocks_fixed") is False:
        found.append("The clocks follow the load (`sudo jetson_clocks` fixes them): single frames may take longer.")
    if not facts["gpu"] and jetson is None:
        found.append("No NVIDIA GPU found: nothing in this report ran on one.")
    return found


def hardware_identity() -> dict[str, Any]:
    """Return what load and clocks do not change on this machine: CPU, usable cores, GPUs and their driver."""
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "features": cpu_features(),
        "arch": platform.machine(),
        "system": platform.system(),
        "gpu": _driver_facts(),
    }


def _cpuinfo(root: Path = _ROOT) -> dict[str, str]:
    """Parse /proc/cpuinfo; of several values of a key the first counts."""
    found: dict[str, str] = {}
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def _cpu_facts(root: Path) -> dict[str, Any]:
    frequency: Any = psutil.cpu_freq()  # None where the kernel reports no frequency, despite the type stubs
    return {
        "model": _cpu_model(root),
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_logical": psutil.cpu_count(),
        "cores_usable": usable_cores(),
        "features": cpu_features(root),
        "governors": sorted({g for g in map(text, _cpufreq(root, "scaling_governor")) if g}),
        "clock_mhz": round(frequency.current, 1) if frequency and frequency.current else None,
        "clock_max_mhz": round(frequency.max, 1) if frequency and frequency.max else None,
        "boost": _boost(root),
    }


def _cpu_model(root: Path = _ROOT) -> str:
    info = _cpuinfo(root)
    if name := info.get("model name"):
        return name
    # ARM kernels report numbers only; the device tree names the board or SoC.
    board = text(root / "proc/device-tree/model")
    part = " ".join(f"{k.removeprefix('CPU ')} {info[k]}" for k in ("CPU implementer", "CPU part") if k in info)
    return ", ".join(v for v in (board, part) if v) or platform.processor() or platform.machine()


def cpu_features(root: Path = _ROOT) -> list[str]:
    """List this CPU's instruction sets that decide inference speed, such as ``avx512_vnni``."""
    info = _cpuinfo(root)
    present = (info.get("flags") or info.get("Features") or "").split()
    return list(dict.fromkeys(name for flag, name in _FEATURES.items() if flag in present))


def _cpufreq(root: Path, name: str) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/cpufreq/{name}"))


def _boost(root: Path) -> bool | None:
    if (no_turbo := text(root / "sys/devices/system/cpu/intel_pstate/no_turbo")) is not None:
        return no_turbo == "0"
    if (boost := text(root / "sys/devices/system/cpu/cpufreq/boost")) is not None:
        return boost == "1"
    return None


def _memory_limit() -> int | None:
    limit = text(_ROOT / "sys/fs/cgroup/memory.max")
    return int(limit) if limit and limit.isdigit() else None


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.platform()


def _in_container() -> bool:
    return Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()


def tool_output(*command: str) -> str | None:
    """Run a program and return its standard output; None if it is missing, fails or hangs."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, timeout=_TOOL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def gpu_facts() -> list[dict[str, Any]]:
    """Ask ``nvidia-smi`` for each GPU's clocks, memory, power, temperature and utilisation; may take a second."""
    fields = dict(_GPU_FIELDS)
    output = _query_gpus(fields)
    if output is None:  # nvidia-smi rejects the whole query for one unknown field
        del fields["compute_capability"]
        output = _query_gpus(fields)
    return [] if output is None else _parse_gpus(output, list(fields))


def _query_gpus(fields: Mapping[str, str]) -> str | None:
    return tool_output("nvidia-smi", f"--query-gpu={','.join(fields.values())}", "--format=csv,noheader,nounits")


def _parse_gpus(output: str, names: list[str]) -> list[dict[str, Any]]:
    """Parse the lines of ``nvidia-smi --format=csv,noheader,nounits``; an unknown value is None."""
    gpus = []
    for line in output.splitlines():
        values = [v.strip() for v in line.split(",")]
        if len(values) == len(names):
            gpus.append({name: _gpu_value(name, value) for name, value in zip(names, values, strict=True)})
    return gpus


def _gpu_value(name: str, value: str) -> str | float | None:
    if not value or value.startswith("[") or value == "N/A":
        return None
    if name.endswith(("_mib", "_mhz", "_w", "_c", "_percent")):
        try:
            return float(value)
        except ValueError:
            return None
    return value


def _driver_facts() -> list[str]:
    """Read GPUs and driver from the kernel module, without starting a process."""
    models = [
        line.partition(":")[2].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in (text(path) or "").splitlines()
        if line.startswith("Model:")
    ]
    version = re.search(r"\d+\.\d+(\.\d+)?", text(_ROOT / "proc/driver/nvidia/version") or "")
    return [*models, *([version.group()] if version else [])]


def _jetson_facts(root: Path) -> dict[str, Any] | None:
    board = Jetson.find(root)
    if board is None:
        return None
    facts = board.to_json()
    if facts["power_mode"] is None:  # the status file may be missing
        named = re.search(r"NV Power Mode:\s*(\S.*)", tool_output("nvpmodel", "-q") or "")
        facts["power_mode"] = named.group(1).strip() if named else None
    return facts
