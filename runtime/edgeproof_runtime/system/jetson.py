"""A Jetson's power, clocks, heat and power mode, as files that every user may read; no tool of NVIDIA's is run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edgeproof_runtime.system.sensors import number, temperature_c, text

__all__ = ["Jetson", "PowerInput", "PowerMode", "Rail", "power_input"]

# Labels of the rails that add up to what the board draws, best first: a monitor of the board's input, else the rails
# behind it. The same names are on all modules of a line: VDD_IN on Orin Nano, Orin NX and Xavier NX.
_INPUTS: tuple[tuple[str, ...], ...] = (
    ("VIN",),  # AGX Thor, chip ina238
    ("VDD_IN",),
    ("VDD_IN_5V0",),
    ("POM_5V_IN",),
    ("SYS_VIN_HV",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),  # AGX Thor without its ina238
)
_CHIPS = ("ina3221", "ina238")
_CHANNELS = (1, 2, 3)  # 4 to 6 are shunt voltages, 7 is their sum
_UNCONNECTED = ("", "NC")

# In /sys/class/devfreq; the first is the clock of the GPU's cores.
_GPU_CLOCKS = ("*.gpu", "*.ga10b", "*.gv11b", "*.gp10b", "gpu-gpc-0", "gpu-nvd-0")
_GPU_LOADS = (
    "sys/devices/platform/gpu.0/load",
    "sys/devices/gpu.0/load",  # before JetPack 6
    "sys/class/devfreq/{clock}/device/load",
)
_THROTTLES = re.compile(r"(.+)-throttle-alert")
_MODE = re.compile(r"<\s*POWER_MODEL\s+ID=(\d{1,4})\s+NAME=(\S+)\s*>")
_WATTS = re.compile(r"(\d{1,4})W")
_CORES = re.compile(r"_(\d{1,2})CORE")


class Rail(NamedTuple):
    """A channel of a power monitor.

    Attributes:
        label: name of the supply, such as ``VDD_IN``.
        chip: ``ina3221`` or ``ina238``.
        folder: its folder in hwmon.
        channel: number of the channel; 0 for a chip that reports watts itself.
    """

    label: str
    chip: str
    folder: Path
    channel: int

    def watts(self) -> float:
        """Read the power.

        Raises:
            OSError: the monitor does not answer.
            ValueError: it answers with no number.
        """
        if self.channel == 0:
            return int((self.folder / "power1_input").read_text()) / 1e6
        milli = [int((self.folder / f"{kind}{self.channel}_input").read_text()) for kind in ("in", "curr")]
        return milli[0] * milli[1] / 1e6


@dataclass(frozen=True, slots=True)
class PowerInput:
    """What a board draws: one rail, or the sum of several."""

    rails: tuple[Rail, ...]

    @property
    def source(self) -> str:
        """Name of the power monitor."""
        return self.rails[0].chip.upper()

    @property
    def covers(self) -> str:
        """What the power includes, in words."""
        names = ", ".join(rail.label for rail in self.rails)
        return f"the whole board, on rail {names}" if len(self.rails) == 1 else f"the board, the sum of rails {names}"

    def watts(self) -> float:
        """Read the power; raises as `Rail.watts`."""
        return sum(rail.watts() for rail in self.rails)


class PowerMode(NamedTuple):
    """A power mode of ``nvpmodel``."""

    number: int
    name: str

    @property
    def rank(self) -> tuple[int, int, int]:
        """Order by power: unlimited modes, then watts, then cores."""
        watts, cores = _WATTS.match(self.name), _CORES.search(self.name)
        unlimited = 1 if self.name.upper().startswith("MAXN") else 0
        return unlimited, int(watts[1]) if watts else 0, int(cores[1]) if cores else 0


@dataclass(frozen=True, slots=True)
class Jetson:
    """A Jetson; `find` recognises it, and every method reads its present state.

    Attributes:
        root: root of ``/sys``, ``/proc``, ``/etc`` and ``/var``; tests pass another.
        board: name in the device tree, such as ``NVIDIA Jetson AGX Orin Developer Kit``.
        l4t: first line of ``/etc/nv_tegra_release``; None in a container without it.
    """

    root: Path
    board: str | None
    l4t: str | None

    @classmethod
    def find(cls, root: Path = Path("/")) -> Jetson | None:
        """Recognise a Jetson by its release file or device tree; None on any other machine."""
        release = text(root / "etc/nv_tegra_release")
        soc = text(root / "proc/device-tree/compatible") or ""
        if release is None and "nvidia,tegra" not in soc:
            return None
        l4t = release.partition("\n")[0].lstrip("# ") if release else None
        return cls(root, text(root / "proc/device-tree/model"), l4t)

    def to_json(self) -> dict[str, Any]:
        """Return a report's ``host.jetson``: the board and its present state."""
        supply, mode, higher = power_input(self.root), self.power_mode(), self.higher_mode()
        return {
            "board": self.board,
            "l4t": self.l4t,
            "power_mode": mode.name if mode else None,
            "higher_mode": {"id": higher.number, "name": higher.name} if higher else None,
            "clocks_fixed": self.clocks_fixed(),
            "gpu": self.gpu(),
            "throttled": self.throttled(),
            "temperature_c": temperature_c(self.root),
            "power_source": supply.source if supply else None,
            "power_rails": [rail.label for rail in supply.rails] if supply else [],
            "power_w": _power(supply),
        }

    def power_modes(self) -> list[PowerMode]:
        """List the modes in ``/etc/nvpmodel.conf``, by number."""
        found = _MODE.findall(text(self.root / "etc/nvpmodel.conf") or "")
        return sorted(PowerMode(int(mode), name) for mode, name in found)

    def power_mode(self) -> PowerMode | None:
        """Return the mode that is set; None if it or its name is unknown."""
        status = re.search(r"pmode:(\d{1,6})", text(self.root / "var/lib/nvpmodel/status") or "")
        return next((m for m in self.power_modes() if status and m.number == int(status[1])), None)

    def higher_mode(self) -> PowerMode | None:
        """Return the mode with the most power, if it has more than the present one; numbers differ by module."""
        now, modes = self.power_mode(), self.power_modes()
        best = max(modes, key=lambda mode: mode.rank, default=None)
        if now is None or best is None or best.rank[:2] <= now.rank[:2]:
            return None
        return best

    def gpu(self) -> dict[str, Any] | None:
        """Return the GPU's clocks (MHz), load (percent) and governor; None if the driver shows no clock."""
        clock = next(iter(self._gpu_clocks()), None)
        if clock is None:
            return None
        values = {name: number(clock / f"{name}_freq") for name in ("cur", "min", "max")}
        loads = (number(self.root / path.format(clock=clock.name)) for path in _GPU_LOADS)
        per_mille = next((load for load in loads if load is not None), None)
        return {
            "clock": clock.name,
            **{f"{'clock' if n == 'cur' else n}_mhz": None if v is None else v / 1e6 for n, v in values.items()},
            "load_percent": None if per_mille is None else per_mille / 10,
            "governor": text(clock / "governor"),
        }

    def clocks_fixed(self) -> bool | None:
        """Return whether all clocks of CPU and GPU have min equal to max, as after ``jetson_clocks``.

        None if no clock can be read.
        """
        cores = (self.root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq")
        ranges = [(number(core / "scaling_min_freq"), number(core / "scaling_max_freq")) for core in cores]
        ranges += [(number(clock / "min_freq"), number(clock / "max_freq")) for clock in self._gpu_clocks()]
        known = [(low, high) for low, high in ranges if low is not None and high is not None]
        return all(low == high for low, high in known) if known else None

    def throttled(self) -> list[str]:
        """List what lowers the clocks now: parts that are too hot, rails above their current limit."""
        devices = sorted((self.root / "sys/class/thermal").glob("cooling_device*"))
        alerts = [
            (_THROTTLES.fullmatch(text(device / "type") or ""), number(device / "cur_state")) for device in devices
        ]
        limits = [(rail.label, rail.folder / f"curr{rail.channel}_crit_alarm") for rail in _rails(self.root)]
        return [
            *(f"{alert[1]}: heat" for alert, state in alerts if alert and state),
            *(f"{label}: current limit" for label, alarm in limits if number(alarm)),
        ]

    def _gpu_clocks(self) -> list[Path]:
        folder = self.root / "sys/class/devfreq"
        return [clock for pattern in _GPU_CLOCKS for clock in sorted(folder.glob(pattern))]


def power_input(root: Path = Path("/")) -> PowerInput | None:
    """Find the rails that add up to what the board draws; None without a power monitor that answers."""
    rails = {rail.label: rail for rail in _rails(root)}
    for labels in _INPUTS:
        if all(label in rails for label in labels):
            found = PowerInput(tuple(rails[label] for label in labels))
            if _power(found) is not None:
                return found
    return None


def _power(supply: PowerInput | None) -> float | None:
    try:
        return None if supply is None else round(supply.watts(), 3)
    except (OSError, ValueError):
        return None


def _rails(root: Path) -> list[Rail]:
    found = []
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        chip = text(folder / "name") or ""
        if chip not in _CHIPS:
            continue
        if (folder / "power1_input").exists():
            # The ina238 has one channel, named by the device tree or not at all.
            found.append(Rail(text(folder / "label") or "VIN", chip, folder, 0))
        for channel in _CHANNELS:
            label = text(folder / f"in{channel}_label") or ""
            if label not in _UNCONNECTED:
                found.append(Rail(label, chip, folder, channel))
    return found
