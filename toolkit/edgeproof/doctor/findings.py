"""Findings about a machine: ok, missing or problem, each with the command that fixes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgeproof.doctor.machine import Machine
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.onnxruntime_gpu import gpu_package_fix
from edgeproof_runtime.sources.media_opening import PYAV
from edgeproof_runtime.system.opencv import INSTALL_SYSTEM, unhide

__all__ = ["Finding", "State", "document", "findings"]

State = Literal["ok", "missing", "problem"]

_GIB = 1024**3
_OPENCVS = catalog.find("opencv").distributions
# First releases with wheels built for NumPy 2; older ones crash at import with it.
_NUMPY2_SINCE = {
    "onnxruntime": (1, 19),
    "onnxruntime-gpu": (1, 19),
    "openvino": (2024, 3),
    "torch": (2, 3),
    "matplotlib": (3, 9),
    **dict.fromkeys(_OPENCVS, (4, 10)),
}
_INT8_FEATURES = ("avx512_vnni", "avx_vnni", "amx_int8", "neon-dotprod", "neon-i8mm")
_HOT_C = 90.0
_LITTLE_MEMORY = 0.5 * _GIB
_LITTLE_DISK = 1.0 * _GIB


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check; ``fix`` is a command or edit that solves the problem."""

    subject: str
    state: State
    detail: str
    fix: str | None = None


def findings(machine: Machine) -> Iterator[Finding]:
    """Yield the findings about a machine, from the system up to measuring conditions."""
    yield from _system(machine)
    yield from _accelerators(machine)
    yield from _pyav(machine)
    yield from _opencv(machine)
    yield from _engines(machine)
    yield from _extras(machine)
    yield from _conflicts(machine)
    yield from _cameras(machine)
    yield from _measuring(machine)


def document(machine: Machine) -> dict[str, Any]:
    """Return the findings as plain JSON values, with the facts about the host."""
    found = [asdict(finding) for finding in findings(machine)]
    return {"schema": "edgeproof.doctor/1", "host": machine.host, "findings": found}


def _system(machine: Machine) -> Iterator[Finding]:
    system, cpu, memory = machine.host["os"], machine.host["cpu"], machine.host["memory"]
    where = [name for name in ("virtualized", "container") if system[name]]
    yield Finding("system", "ok", ", ".join([system["name"], f"kernel {system['kernel']}", system["arch"], *where]))
    yield Finding("python", "ok", machine.python)
    features = ", ".join(cpu["features"]) or "no known vector instructions"
    yield Finding("cpu", "ok", f"{cpu['model']}, {cpu['cores_usable']} usable cores: {features}")
    if system["arch"] in ("x86_64", "AMD64") and "avx2" not in cpu["features"]:
        yield Finding(
            "cpu vectors",
            "problem",
            "no AVX2: preprocessing uses its portable path, engines their slowest kernels",
            "pass the host's CPU through to the virtual machine (qemu: -cpu host)" if system["virtualized"] else None,
        )
    int8 = [name for name in _INT8_FEATURES if name in cpu["features"]]
    yield Finding(
        "cpu int8",
        "ok",
        f"int8 can be faster: {', '.join(int8)}"
        if int8
        else "no VNNI, AMX or dot-product instructions: int8 is rarely faster on this CPU",
    )
    total = min(memory["total_bytes"], memory["limit_bytes"] or memory["total_bytes"])
    free = min(memory["available_bytes"], total)
    scarce = free < _LITTLE_MEMORY
    yield Finding(
        "memory",
        "problem" if scarce else "ok",
        f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB available",
        "stop other programs (ps aux --sort=-rss | head), or raise the container's limit" if scarce else None,
    )
    if machine.swap_used_bytes > 0.1 * total:
        yield Finding(
            "swap",
            "problem",
            f"{machine.swap_used_bytes / _GIB:.1f} GiB of swap in use: latencies will have outliers",
            "sudo swapoff -a && sudo swapon -a, with enough memory free",
        )
    folder, writable = machine.cache
    if not writable:
        fix = "export EDGEPROOF_CACHE=/a/writable/folder"
        yield Finding("cache", "problem", f"{folder} is not writable: engines are measured again each time", fix)
    elif machine.free_bytes < _LITTLE_DISK:
        detail = f"{machine.free_bytes / _GIB:.1f} GiB free on the disk of {folder}"
        yield Finding("cache", "problem", detail, "free some space, or set EDGEPROOF_CACHE to another disk")
    else:
        yield Finding("cache", "ok", folder)


def _accelerators(machine: Machine) -> Iterator[Finding]:
    gpus, jetson = machine.host["gpu"], machine.host["jetson"]
    for gpu in [] if jetson else gpus:  # nvidia-smi knows nothing of a Jetson's GPU
        detail = f"{gpu['name']}, driver {gpu['driver']}, compute capability {gpu.get('compute_capability') or '?'}"
        yield Finding("gpu", "ok", detail)
        if gpu.get("persistence_mode") == "Disabled":
            detail = "persistence mode is off: the driver unloads between runs and first frames are slow"
            yield Finding("gpu persistence", "problem", detail, "sudo nvidia-smi -pm 1")
    if jetson:
        detail = f"{jetson['board'] or 'Jetson'}, L4T {jetson['l4t'] or '?'}"
        yield Finding("jetson", "ok", f"{detail}, JetPack {machine.jetpack or 'unknown'}")
        if machine.jetpack is None:
            yield Finding(
                "jetpack",
                "missing",
                "no nvidia-jetpack: CUDA and TensorRT may be missing",
                "sudo apt install nvidia-jetpack",
            )
        yield from _board(jetson)
    elif not gpus:
        yield Finding(
            "gpu",
            "missing",
            "no NVIDIA GPU or no driver: TensorRT engines can be built but not run",
            "with a GPU: sudo ubuntu-drivers install (Ubuntu) or apt install nvidia-driver (Debian)",
        )
    if machine.cuda_toolkit:
        yield Finding("cuda toolkit", "ok", machine.cuda_toolkit)


def _board(jetson: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield findings about a Jetson's GPU and power monitor."""
    gpu = jetson["gpu"]
    if gpu is None:
        detail = "the driver shows no clocks in /sys/class/devfreq"
        yield Finding("jetson gpu", "missing", detail, "in a container, start it with --runtime nvidia")
    else:
        clocks = [gpu[name] for name in ("clock_mhz", "min_mhz", "max_mhz")]
        now, low, high = ("?" if mhz is None else f"{mhz:.0f}" for mhz in clocks)
        load = "unknown" if gpu["load_percent"] is None else f"{gpu['load_percent']:.0f} %"
        detail = f"{now} MHz ({low} to {high}, governor {gpu['governor'] or '?'}), load {load}"
        yield Finding("jetson gpu", "ok", detail)
    if jetson["power_w"] is None:
        yield Finding(
            "jetson power", "missing", "no power monitor (INA3221 or INA238) that answers in /sys/class/hwmon"
        )
    else:
        rails = jetson["power_rails"]
        covers = f"rail {rails[0]}" if len(rails) == 1 else f"sum of {', '.join(rails)}"
        yield Finding("jetson power", "ok", f"{jetson['power_w']:.1f} W, {jetson['power_source']}: {covers}")


def _pyav(machine: Machine) -> Iterator[Finding]:
    version = machine.packages.get("av")
    if version is not None and _release(version) >= (PYAV,):
        yield Finding("pyav", "ok", f"{version}: video files, streams, pipes")
    else:
        what = "not installed" if version is None else f"{version} is too old"
        detail = f"{what}: OpenCV reads videos and streams, without status codes, times and detection of damaged frames"
        yield Finding("pyav", "missing", detail, f"pip install 'av>={PYAV}'")


def _opencv(machine: Machine) -> Iterator[Finding]:
    if machine.opencv_fault is not None:
        yield Finding("opencv", "problem", machine.opencv_fault.what, machine.opencv_fault.fix)
        return
    build = machine.opencv_build
    # On these boards PyPI's OpenCV would hide the system's, which has GStreamer.
    is_arm = machine.host["os"]["arch"] == "aarch64"
    gui = re.search(r"^\s*GUI:\s+(\S+)", build, re.MULTILINE)
    toolkit = gui[1] if gui and gui[1] != "NONE" else None
    yield Finding("opencv", "ok", machine.opencv_version)
    if toolkit is None:
        fix = INSTALL_SYSTEM if is_arm else "pip uninstall opencv-python-headless && pip install opencv-python"
        yield Finding("opencv windows", "missing", "built without a GUI: --show is not available", fix)
    elif not machine.display:
        fix = "export DISPLAY=:0 on the device's own screen, or ssh -X; or use --save or `edgeproof serve`"
        yield Finding("opencv windows", "missing", f"{toolkit}, but no display: --show is not available", fix)
    else:
        yield Finding("opencv windows", "ok", toolkit)
    for name, use, fix in (
        (
            "FFMPEG",
            "video files and RTSP where PyAV is not installed",
            f"pip install 'av>={PYAV}'" if is_arm else "pip install opencv-python",
        ),
        ("GStreamer", "pipelines, CSI cameras", _gstreamer_fix(machine)),
        ("v4l/v4l2", "USB cameras", INSTALL_SYSTEM if is_arm else "pip install opencv-python"),
    ):
        if re.search(rf"^\s*{name}:\s+YES", build, re.MULTILINE):
            yield Finding(f"opencv {name}", "ok", use)
        else:
            yield Finding(f"opencv {name}", "missing", f"OpenCV was built without it; required for {use}", fix)


def _gstreamer_fix(machine: Machine) -> str:
    return unhide([name for name in _OPENCVS if name in machine.packages], machine.opencv_places) or INSTALL_SYSTEM


def _engines(machine: Machine) -> Iterator[Finding]:
    for name, reason in machine.engines.items():
        if reason is None:
            yield Finding(f"engine {name}", "ok", "available")
        else:
            yield Finding(f"engine {name}", "missing", reason.what, reason.fix)
    if machine.providers is not None:
        flavour = next((name for name in ("onnxruntime-gpu", "onnxruntime") if name in machine.packages), "onnxruntime")
        yield Finding("onnxruntime providers", "ok", f"{flavour}: {', '.join(machine.providers)}")


def _extras(machine: Machine) -> Iterator[Finding]:
    for extra, wanted in machine.extras.items():
        absent = [name for name in wanted if name not in machine.packages]
        if absent:
            yield Finding(
                f"extra {extra}", "missing", f"not installed: {', '.join(absent)}", f'pip install "edgeproof[{extra}]"'
            )
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _conflicts(machine: Machine) -> Iterator[Finding]:
    arch = machine.host["os"]["arch"]
    opencvs = [name for name in _OPENCVS if name in machine.packages]
    if len(opencvs) > 1:
        yield Finding(
            "two OpenCVs",
            "problem",
            f"{' and '.join(opencvs)} overwrite each other's cv2",
            f"pip uninstall {' '.join(opencvs)} && pip install {opencvs[0]}",
        )
    if {"onnxruntime", "onnxruntime-gpu"} <= machine.packages.keys():
        yield Finding(
            "two ONNX Runtimes",
            "problem",
            "onnxruntime and onnxruntime-gpu overwrite each other; GPU providers may be missing",
            gpu_package_fix("onnxruntime", "onnxruntime-gpu", arch=arch),
        )
    elif machine.host["gpu"] and arch == "x86_64" and "onnxruntime" in machine.packages:
        fix = gpu_package_fix("onnxruntime", arch=arch)
        yield Finding("onnxruntime flavour", "problem", "CPU build of onnxruntime on a machine with a GPU", fix)
    numpy = machine.packages.get("numpy")
    if numpy is not None and _release(numpy) >= (2,):
        old = [n for n, since in _NUMPY2_SINCE.items() if n in machine.packages and _older(machine.packages[n], since)]
        if old:
            detail = f"{', '.join(old)} built for NumPy 1, installed with NumPy {numpy}: they crash at import"
            yield Finding("numpy abi", "problem", detail, f"pip install --upgrade {' '.join(old)}")


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _older(version: str, since: tuple[int, ...]) -> bool:
    return _release(version) < since


def _cameras(machine: Machine) -> Iterator[Finding]:
    if not machine.cameras:
        fix = "connect a camera; in a container pass --device /dev/video0"
        yield Finding("cameras", "missing", "no /dev/video*", fix)
        return
    closed = [camera.device for camera in machine.cameras if not camera.accessible]
    if closed:
        fix = "sudo usermod -aG video $USER, then log in again"
        yield Finding("cameras", "problem", f"no permission for {', '.join(closed)}", fix)
    usable = [f"{c.device} ({c.name})" if c.name else c.device for c in machine.cameras if c.accessible]
    if usable:
        yield Finding("cameras", "ok", ", ".join(usable))


def _measuring(machine: Machine) -> Iterator[Finding]:
    """Yield findings about conditions that distort measurements."""
    cpu, jetson = machine.host["cpu"], machine.host["jetson"]
    slow = [name for name in cpu["governors"] if name not in ("performance", "schedutil")]
    if slow and (not jetson or jetson["clocks_fixed"] is None):
        detail = f"CPU frequency governor {', '.join(slow)}: clocks may not be at their highest"
        yield Finding("clocks", "problem", detail, "sudo cpupower frequency-set -g performance")
    load, cores = machine.host["load_average_1min"], cpu["cores_usable"]
    if load > 0.5 * cores:
        detail = f"host load {load:.1f} on {cores} usable cores: timings would be upper bounds"
        yield Finding("load", "problem", detail, "stop other programs (top), then measure")
    heat = [machine.cpu_temperature_c, *(gpu.get("temperature_c") for gpu in machine.host["gpu"])]
    hot = max(degrees or 0.0 for degrees in (*heat, (jetson or {}).get("temperature_c")))
    if hot >= _HOT_C:
        detail = f"{hot:.0f} °C: the clocks are throttled or will be soon"
        yield Finding(
            "temperature", "problem", detail, "improve cooling (fan, heat sink), or choose a lower power mode"
        )
    if jetson:
        yield from _pace(jetson, cpu["governors"])
    if machine.host["os"]["virtualized"]:
        detail = "a virtual machine: other guests take CPU time and latencies vary; `edgeproof bench` records how much"
        yield Finding("neighbours", "ok", detail)


def _pace(jetson: Mapping[str, Any], governors: list[str]) -> Iterator[Finding]:
    """Yield findings about what slows a Jetson down: throttling, power mode, clocks that follow the load."""
    if jetson["throttled"]:
        fix = "improve cooling and power supply, or choose a lower power mode"
        yield Finding("throttling", "problem", f"clocks lowered now: {', '.join(jetson['throttled'])}", fix)
    mode, higher = jetson["power_mode"], jetson["higher_mode"]
    strained = jetson["throttled"] or (jetson["temperature_c"] or 0.0) >= _HOT_C
    if mode and higher and not strained:
        detail = f"power mode {mode}, not the highest ({higher['name']}): more power and heat, perhaps a restart"
        yield Finding("power mode", "problem", detail, f"sudo nvpmodel -m {higher['id']}, if supply and cooling allow")
    elif mode:
        yield Finding("power mode", "ok", mode)
    else:
        yield Finding("power mode", "missing", "not readable from /var/lib/nvpmodel/status", "sudo nvpmodel -q")
    if jetson["clocks_fixed"]:
        yield Finding("clocks", "ok", "fixed: lowest and highest clock are equal, as after jetson_clocks")
    elif jetson["clocks_fixed"] is False:
        names = ", ".join(governors) or "unknown"
        detail = f"clocks follow the load (governor {names}): a camera's few frames run at low clocks"
        yield Finding("clocks", "problem", detail, "sudo jetson_clocks (until the next start)")
