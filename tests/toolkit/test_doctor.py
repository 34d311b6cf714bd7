"""Doctor: what it says of machines that are made up, and of this one."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import pytest

from command_line import Cli
from edgeproof.doctor import Camera, Finding, Machine, findings
from edgeproof_runtime.engines import Unavailable
from machines import BUILD, DESKTOP_GPU, ORIN, host, machine


def found(machine: Machine) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings(machine)}


def test_a_flawless_machine_has_nothing_to_mend() -> None:
    assert [f for f in findings(machine()) if f.state != "ok" or f.fix] == []


FAULTS: list[tuple[str, dict[str, Any], str, str]] = [
    # subject, what is wrong with the machine, a word of the finding, a word of what mends it
    ("cpu vectors", {"host": host(cpu__features=["sse4.2"], os__virtualized=True)}, "no AVX2", "-cpu host"),
    ("memory", {"host": host(memory__available_bytes=100 << 20)}, "0.1 of 16.0 GiB", "ps aux"),
    ("memory", {"host": host(memory__limit_bytes=256 << 20)}, "0.2 of 0.2 GiB", "container's limit"),
    ("swap", {"swap_used_bytes": 4 << 30}, "4.0 GiB", "swapoff"),
    ("cache", {"cache": ("/root/.cache/edgeproof", False)}, "not writable", "EDGEPROOF_CACHE"),
    ("cache", {"free_bytes": 100 << 20}, "0.1 GiB free", "EDGEPROOF_CACHE"),
    ("gpu", {"host": host(gpu=[])}, "no NVIDIA GPU", "nvidia-driver"),
    (
        "gpu persistence",
        {"host": host(gpu=[{**DESKTOP_GPU, "persistence_mode": "Disabled"}])},
        "off",
        "nvidia-smi -pm 1",
    ),
    ("jetpack", {"host": host(gpu=[], jetson=ORIN)}, "nvidia-jetpack", "apt install nvidia-jetpack"),
    ("opencv windows", {"opencv_build": BUILD.replace("QT5", "NONE")}, "without a GUI", "pip install opencv-python"),
    (
        "opencv",
        {"opencv_fault": Unavailable("OpenCV: built for NumPy 1: NumPy 2.1.0", 'pip install "numpy<2"')},
        "built for NumPy 1",
        'pip install "numpy<2"',
    ),
    (
        "opencv GStreamer",
        {
            "opencv_build": BUILD.replace("YES (1.22)", "NO"),
            "opencv_places": ("/venv/cv2", "/usr/lib/python3/dist-packages"),
        },
        "without it",
        "pip uninstall opencv-python: it hides the OpenCV in /usr/lib/python3/dist-packages",
    ),
    ("opencv windows", {"display": False}, "no display", "--save"),
    ("pyav", {"packages": {}}, "not installed: OpenCV reads", "pip install 'av>=17'"),
    ("pyav", {"packages": {"av": "14.0.0"}}, "too old", "pip install 'av>=17'"),
    ("opencv FFMPEG", {"opencv_build": BUILD.replace("FFMPEG:                      YES", "FFMPEG: NO")}, "RTSP", "pip"),
    ("opencv GStreamer", {"opencv_build": BUILD.replace("YES (1.22)", "NO")}, "CSI", "python3-opencv"),
    ("opencv v4l/v4l2", {"opencv_build": BUILD.replace("YES (linux", "NO (linux")}, "cameras", "pip"),
    (
        "engine openvino",
        {"engines": {"openvino": Unavailable("openvino is not installed", "pip install openvino")}},
        "is not",
        "pip i",
    ),
    (
        "engine tensorrt",
        # Neither a semicolon nor a colon ends what is missing.
        {"engines": {"tensorrt": Unavailable("there is no GPU; libcuda.so: pip install not tried", "the driver")}},
        "no GPU; libcuda.so: pip install not tried",
        "the driver",
    ),
    (
        "extra export",
        {"extras": {"export": ("torch", "timm")}},
        "not installed: timm",
        'pip install "edgeproof[export]"',
    ),
    (
        "two OpenCVs",
        {"packages": {"opencv-python": "4.11", "opencv-python-headless": "4.11"}},
        "overwrite",
        "pip uninstall opencv-python opencv-python-headless",
    ),
    ("two ONNX Runtimes", {"packages": {"onnxruntime": "1.22", "onnxruntime-gpu": "1.22"}}, "overwrite", "-gpu"),
    ("onnxruntime flavour", {"packages": {"onnxruntime": "1.22"}}, "with a GPU", "pip install onnxruntime-gpu"),
    ("numpy abi", {"packages": {"numpy": "2.1.0", "opencv-python": "4.9.0.80"}}, "opencv-python built", "--upgrade"),
    ("cameras", {"cameras": ()}, "no /dev/video", "--device"),
    ("cameras", {"cameras": (Camera("/dev/video2", None, False),)}, "no permission for /dev/video2", "usermod"),
    ("clocks", {"host": host(cpu__governors=["powersave"])}, "powersave", "cpupower"),
    ("load", {"host": host(load_average_1min=7.5)}, "load 7.5 on 8", "top"),
    ("temperature", {"cpu_temperature_c": 97.0}, "97", "fan"),
    ("temperature", {"host": host(gpu=[{**DESKTOP_GPU, "temperature_c": 93.0}])}, "93", "fan"),
    ("power mode", {"host": host(gpu=[], jetson=ORIN), "jetpack": "6.2"}, "15W", "nvpmodel -m 2"),
    ("throttling", {"host": host(gpu=[], jetson={**ORIN, "throttled": ["cpu: heat"]})}, "cpu: heat", "cooling"),
    ("clocks", {"host": host(gpu=[], jetson={**ORIN, "clocks_fixed": False})}, "follow the load", "jetson_clocks"),
    ("jetson gpu", {"host": host(gpu=[], jetson=ORIN)}, "no clocks", "--runtime nvidia"),
]


@pytest.mark.parametrize(("subject", "changes", "detail", "fix"), FAULTS, ids=[f"{f[0]}-{f[2]}" for f in FAULTS])
def test_each_flaw_is_found_and_comes_with_what_mends_it(
    subject: str, changes: dict[str, Any], detail: str, fix: str
) -> None:
    finding = found(machine(**changes))[subject]
    assert finding.state in ("missing", "problem")
    assert detail in finding.detail
    assert fix in (finding.fix or "")


@pytest.mark.parametrize(
    ("features", "said"), [(["avx2", "avx512_vnni"], "int8 can be faster"), (["neon"], "int8 is rarely faster")]
)
def test_it_says_whether_the_cpu_has_what_int8_needs(features: list[str], said: str) -> None:
    assert said in found(machine(host=host(cpu__features=features)))["cpu int8"].detail


def test_no_package_without_a_wheel_is_advised_on_aarch64() -> None:
    arm = host(os__arch="aarch64")
    assert "onnxruntime flavour" not in found(machine(host=arm, packages={"onnxruntime": "1.23.2"}))
    two = found(machine(host=arm, packages={"onnxruntime": "1.22", "onnxruntime-gpu": "1.22"}))["two ONNX Runtimes"]
    assert "&& pip install onnxruntime;" in (two.fix or "")


def test_packages_for_numpy_2_beside_it_are_no_conflict() -> None:
    packages = {"numpy": "2.1.0", "opencv-python": "4.10.0.84", "onnxruntime": "1.19.2", "openvino": "2024.6.0"}
    assert "numpy abi" not in found(machine(packages=packages))
    assert "numpy abi" not in found(machine(packages={"numpy": "1.26.4", "opencv-python": "4.9.0.80"}))


def test_a_jetson_in_its_highest_mode_is_well() -> None:
    jetson = machine(host=host(gpu=[], jetson={**ORIN, "power_mode": "MAXN_SUPER", "higher_mode": None}), jetpack="6.2")
    assert "JetPack 6.2" in found(jetson)["jetson"].detail
    assert {"gpu", "jetpack"}.isdisjoint(found(jetson))
    assert found(jetson)["power mode"] == Finding("power mode", "ok", "MAXN_SUPER")


def test_extras_are_those_of_the_installed_package() -> None:
    extras = Machine.look().extras
    assert {"torch", "timm", "onnxruntime"} <= set(extras["export"])
    assert {"lightning", "torch"} <= set(extras["train"])  # through edgeproof[export]
    assert all(extras.values())


def test_it_is_right_about_this_machine(cli: Cli, tmp_path: Path) -> None:
    before = {d.name for d in metadata.distributions()}
    code, out, _ = cli("doctor", "--json", tmp_path / "doctor.json")
    assert code == 0
    assert {d.name for d in metadata.distributions()} == before
    document = json.loads((tmp_path / "doctor.json").read_text())
    said = {f["subject"]: f for f in document["findings"]}
    assert document["schema"] == "edgeproof.doctor/1"
    assert said["engine opencv"]["state"] == said["python"]["state"] == "ok"
    assert said["opencv"]["detail"] == cv2.__version__
    assert said["cameras"]["state"] == ("ok" if list(Path("/dev").glob("video*")) else "missing")
    assert "pip install" in out
