"""Six Jetsons as trees of ``/sys``, ``/proc``, ``/etc`` and ``/var``; names are NVIDIA's, values made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["BOARDS", "Board"]

Monitor = tuple[str, Mapping[str, str]]

_VDD_IN: Monitor = (
    "ina3221",
    {
        "in1_label": "VDD_IN",
        "in1_input": "5064",
        "curr1_input": "1200",
        "in2_label": "VDD_CPU_GPU_CV",
        "in2_input": "5056",
        "curr2_input": "320",
        "in3_label": "VDD_SOC",
        "in3_input": "5056",
        "curr3_input": "280",
        "in4_input": "6",
        "in7_label": "sum of shunt voltages",
        "in7_input": "9",
        "curr1_crit_alarm": "0",
    },
)


def _channels(*rails: tuple[str, int, int]) -> Monitor:
    """An INA3221 with (label, mV, mA) per channel."""
    files = {"in7_label": "sum of shunt voltages", "in7_input": "77"}
    for number, (label, millivolts, milliamperes) in enumerate(rails, 1):
        files |= {f"in{number}_label": label, f"in{number}_input": str(millivolts)}
        files |= {f"curr{number}_input": str(milliamperes), f"curr{number}_crit_alarm": "0"}
    return "ina3221", files


@dataclass(frozen=True)
class Board:
    """A board, and how to write it below a folder.

    Attributes:
        cpu: (lowest, highest, present) clock, kHz.
        clocks: (lowest, highest, present) clock in Hz by name in devfreq; the first is the GPU's.
        load: file of the load in per mille, and its value.
        modes: names of the power modes, by number.
        watts: what the board draws by the rails that are counted.
    """

    model: str
    l4t: str
    jetpack: str
    monitors: tuple[Monitor, ...]
    clocks: Mapping[str, tuple[int, int, int]]
    load: tuple[str, int] | None
    zones: Mapping[str, str]
    modes: tuple[str, ...]
    mode: int
    watts: float
    rails: tuple[str, ...]
    cpu: tuple[int, int, int] = (729600, 1728000, 729600)
    cooling: Mapping[str, int] = field(default_factory=lambda: {"pwm-fan": 1, "cpu-throttle-alert": 0})

    def write(self, root: Path) -> Path:
        """Write the tree and return the folder."""
        put(root, "etc/nv_tegra_release", self.l4t)
        put(root, "proc/device-tree/model", f"{self.model}\0")
        put(root, "proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41")
        modes = (f"< POWER_MODEL ID={n} NAME={name} >\nCPU_ONLINE CORE_0 1\n" for n, name in enumerate(self.modes))
        put(root, "etc/nvpmodel.conf", "# a comment\n" + "\n".join(modes))
        put(root, "var/lib/nvpmodel/status", f"pmode:{self.mode:04d}")
        put(root, "sys/class/hwmon/hwmon0/name", "nvme")
        put(root, "sys/class/hwmon/hwmon0/temp1_input", "93850")
        for number, (chip, files) in enumerate(self.monitors, 1):
            for name, value in {"name": chip, **files}.items():
                put(root, f"sys/class/hwmon/hwmon{number}/{name}", value)
        for number, (kind, value) in enumerate(self.zones.items()):
            put(root, f"sys/class/thermal/thermal_zone{number}/type", kind)
            put(root, f"sys/class/thermal/thermal_zone{number}/temp", value)
        for number, (kind, state) in enumerate(self.cooling.items()):
            put(root, f"sys/class/thermal/cooling_device{number}/type", kind)
            put(root, f"sys/class/thermal/cooling_device{number}/cur_state", str(state))
        for name, (low, high, now) in self.clocks.items():
            for kind, value in {"min": low, "max": high, "cur": now}.items():
                put(root, f"sys/class/devfreq/{name}/{kind}_freq", str(value))
            put(root, f"sys/class/devfreq/{name}/governor", "nvhost_podgov")
        if self.load is not None:
            put(root, self.load[0], str(self.load[1]))
        for core in range(2):
            folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
            for name, khz in zip(("min", "max", "cur"), self.cpu, strict=True):
                put(root, f"{folder}/scaling_{name}_freq", str(khz))
            put(root, f"{folder}/scaling_governor", "schedutil")
        return root


def put(root: Path, path: str, content: str) -> None:
    """Write a file below a root."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{content}\n")


_R36 = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64"
_R35 = "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64"
_ORIN_ZONES = {"cpu-thermal": "48500", "gpu-thermal": "47000", "tj-thermal": "49125"}
_ORIN_LOAD = "sys/devices/platform/gpu.0/load"
_XAVIER_ZONES = {"AO-therm": "41000", "CPU-therm": "43500", "GPU-therm": "42000", "PMIC-Die": "100000"}

BOARDS = {
    "orin-nano-super": Board(
        "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        _R36,
        "6.2",
        (_VDD_IN,),
        {"17000000.gpu": (306000000, 612000000, 306000000)},
        (_ORIN_LOAD, 425),
        _ORIN_ZONES,
        ("15W", "25W", "MAXN_SUPER", "7W"),
        0,
        6.077,
        ("VDD_IN",),
    ),
    "orin-nx": Board(
        "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        _R36,
        "6.2",
        (_VDD_IN,),
        {"17000000.gpu": (918000000, 918000000, 918000000)},
        (_ORIN_LOAD, 990),
        _ORIN_ZONES,
        ("MAXN", "10W", "15W", "25W"),
        0,
        6.077,
        ("VDD_IN",),
        cpu=(1984000, 1984000, 1984000),
    ),
    "agx-orin": Board(
        "NVIDIA Jetson AGX Orin Developer Kit",
        _R36,
        "6.2",
        (
            _channels(("VDD_GPU_SOC", 19080, 200), ("VDD_CPU_CV", 19080, 100), ("VIN_SYS_5V0", 5056, 900)),
            _channels(("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 1200, 400), ("NC", 0, 0)),
        ),
        {"17000000.gpu": (306000000, 1300500000, 1300500000)},
        (_ORIN_LOAD, 1000),
        _ORIN_ZONES | {"tj-thermal": "97000"},
        ("MAXN", "15W", "30W", "50W"),
        2,
        10.274,
        ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        cooling={"cpu-throttle-alert": 1, "gpu-throttle-alert": 0},
    ),
    "agx-xavier": Board(
        "Jetson-AGX",
        _R35,
        "5.1.2",
        (
            _channels(("GPU", 19000, 100), ("CPU", 19000, 50), ("SOC", 19000, 60)),
            _channels(("CV", 19000, 0), ("VDDRQ", 19000, 20), ("SYS5V", 5000, 500)),
        ),
        {"17000000.gv11b": (114750000, 1377000000, 318750000)},
        ("sys/devices/gpu.0/load", 120),
        _XAVIER_ZONES,
        ("MAXN", "10W", "15W", "30W_ALL", "30W_6CORE", "30W_4CORE", "30W_2CORE", "15W_DESKTOP"),
        2,
        6.87,
        ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
    ),
    "xavier-nx": Board(
        "NVIDIA Jetson Xavier NX Developer Kit",
        _R35,
        "5.1.2",
        (_VDD_IN,),
        {"17000000.gv11b": (114750000, 1109250000, 204000000)},
        ("sys/devices/gpu.0/load", 0),
        _XAVIER_ZONES,
        (
            "15W_2CORE",
            "15W_4CORE",
            "15W_6CORE",
            "10W_2CORE",
            "10W_4CORE",
            "10W_DESKTOP",
            "20W_2CORE",
            "20W_4CORE",
            "20W_6CORE",
        ),
        2,
        6.077,
        ("VDD_IN",),
    ),
    "agx-thor": Board(
        "NVIDIA Jetson AGX Thor Developer Kit",
        "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64",
        "7.0",
        (
            _channels(("VDD_GPU", 12000, 500), ("VDD_CPU_SOC_MSS", 12000, 800), ("VIN_SYS_5V0", 5000, 1000)),
            ("ina238", {"in1_input": "20010", "curr1_input": "1500", "power1_input": "30015000"}),
        ),
        {
            "gpu-gpc-0": (315000000, 1575000000, 315000000),
            "gpu-nvd-0": (315000000, 1692000000, 315000000),
        },
        None,
        {"cpu-thermal": "39000", "gpu-thermal": "38000", "tj-thermal": "39500"},
        ("MAXN", "120W", "70W"),
        1,
        30.015,
        ("VIN",),
        cpu=(972000, 2601000, 972000),
    ),
}
