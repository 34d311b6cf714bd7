"""Values that the kernel shows as files of ``/sys`` and ``/proc``."""

from __future__ import annotations

from pathlib import Path

__all__ = ["number", "temperature_c", "text"]

_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal")
# Of a Jetson's zones, PMIC-Die is a constant.
_NOT_CPU = ("wifi", "nvme", "battery", "charger", "pmic")
_JUNCTION = "tj-thermal"  # a Jetson's hottest junction, by which it throttles


def text(path: Path) -> str | None:
    """Read a file; None if it is missing or cannot be read now, as sensors of parts that are switched off (EAGAIN)."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return None


def number(path: Path) -> int | None:
    """Read a whole number; None as for `text`, or if the file holds something else."""
    found = text(path) or ""
    return int(found) if found.lstrip("-").isdecimal() and found.isascii() else None


def temperature_c(root: Path = Path("/")) -> float | None:
    """Return the temperature of the hottest sensor of the CPU or SoC, °C; of a Jetson the zone ``tj-thermal``.

    Sensors of disks, batteries and radios are left out.

    Args:
        root: root of ``/sys``; tests pass another.
    """
    zones = {zone / "temp": text(zone / "type") or "" for zone in (root / "sys/class/thermal").glob("thermal_zone*")}
    chips = [chip for chip in (root / "sys/class/hwmon").glob("hwmon*") if text(chip / "name") in _CPU_CHIPS]
    junction = _degrees([file for file, kind in zones.items() if kind == _JUNCTION])
    others = [file for file, kind in zones.items() if not any(word in kind.lower() for word in _NOT_CPU)]
    return max(junction or _degrees(others + [file for c in chips for file in c.glob("temp*_input")]), default=None)


def _degrees(files: list[Path]) -> list[float]:
    values = [value / 1e3 for value in map(number, files) if value is not None]
    return [value for value in values if 0 < value < 150]  # sensors that are not connected report absurd values
