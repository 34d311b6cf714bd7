"""The state of the machine during a measurement: clocks, temperature, throttling and CPU load of other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof_runtime.measure.turns import Timing
from edgeproof_runtime.system.host import usable_cores
from edgeproof_runtime.system.jetson import Jetson
from edgeproof_runtime.system.nvml import first_gpu, import_nvml
from edgeproof_runtime.system.sensors import number, temperature_c, text

__all__ = ["Conditions", "Reading"]

_OTHER_LOAD = 0.10  # of the usable cores, used by other processes
_STEAL = 0.02  # of all CPU time, given to other guests by the hypervisor
_CLOCK_FELL = 0.90  # of the highest clock read
_HOT_C = 90.0
# NVML's nvmlClocksThrottleReason* bits; idle and fixed clocks are normal, so they are left out.
_GPU_REASONS = {"heat": 0x20 | 0x40, "power limit": 0x4, "power brake or heat": 0x8, "power brake": 0x80}
_SLOWED = 1.10  # the reference engine, last fifth of the measurement over its best fifth


@dataclass(frozen=True, slots=True)
class Reading:
    """The machine at one moment; a value that it does not report is None.

    Attributes:
        time_s: seconds since the measurement began.
        clock_mhz: CPU clock, MHz, mean over the cores.
        temperature_c: hottest sensor of the CPU or SoC, °C.
        throttled: thermal throttling events that the kernel has counted since boot.
        other_cores: cores used by other processes since the last reading (CPU seconds per second).
        steal: share of all CPU time given to other guests by the hypervisor since the last reading.
        pressure: share of the time since the last reading in which a task waited for a CPU (PSI).
        gpu_clock_mhz: clock of the first NVIDIA GPU's streaming multiprocessors, MHz.
        gpu_temperature_c: temperature of that GPU, °C.
        gpu_slowed_by: why its clocks are lowered: `heat`, `power limit`, `power brake`; on a Jetson the parts
            that are too hot or draw too much. None if they are not.
    """

    time_s: float
    clock_mhz: float | None
    temperature_c: float | None
    throttled: int | None
    other_cores: float | None
    steal: float | None
    pressure: float | None
    gpu_clock_mhz: float | None = None
    gpu_temperature_c: float | None = None
    gpu_slowed_by: str | None = None


@dataclass(frozen=True, slots=True)
class _Counters:
    at_s: float
    busy_s: float
    steal_s: float
    total_s: float
    own_s: float
    pressure_s: float | None


class Conditions:
    """Readings of the machine during a measurement, and the warnings that follow from them.

    Args:
        root: root of ``/proc`` and ``/sys``; tests pass another.
        cores: cores usable by this process; None asks the machine.
        nvml: returns the module ``pynvml``; None imports it.
    """

    def __init__(
        self, root: Path = Path("/"), *, cores: int | None = None, nvml: Callable[[], Any] | None = None
    ) -> None:
        self._root = root
        self._gpu = first_gpu(nvml or import_nvml)
        self._jetson = Jetson.find(root)
        self._cores = cores or usable_cores()
        self._began_s = time.monotonic()
        self._last = self._counters()
        self.readings: list[Reading] = []

    def sample(self) -> None:
        """Take a reading, in well below a millisecond per core."""
        now, last = self._counters(), self._last
        self._last = now
        passed_s = now.at_s - last.at_s
        other = steal = pressure = None
        if passed_s > 0 and now.total_s > last.total_s:
            other = max(0.0, (now.busy_s - last.busy_s) - (now.own_s - last.own_s)) / passed_s
            steal = (now.steal_s - last.steal_s) / (now.total_s - last.total_s)
        if passed_s > 0 and now.pressure_s is not None and last.pressure_s is not None:
            pressure = (now.pressure_s - last.pressure_s) / passed_s
        self.readings.append(
            Reading(
                time_s=now.at_s - self._began_s,
                clock_mhz=self._clock_mhz(),
                temperature_c=temperature_c(self._root),
                throttled=self._throttled(),
                other_cores=other,
                steal=steal,
                pressure=pressure,
                **self._gpu_state(),
            )
        )

    def to_json(self) -> dict[str, Any]:
        """Return the readings by column, and the ``cores`` that this process may use."""
        rows = [asdict(reading) for reading in self.readings]
        return {"cores": self._cores, **{name: [row[name] for row in rows] for name in Reading.__dataclass_fields__}}

    def warnings(self, reference: Timing | None = None) -> list[str]:
        """Return what makes the measurement less reliable, one sentence each.

        Args:
            reference: times of the reference engine; None leaves out the check for a machine that slowed down.
        """
        return [text for text in (*self._load(), *self._heat(), self._slowing(reference)) if text]

    def _load(self) -> list[str]:
        found = []
        other = [r.other_cores for r in self.readings if r.other_cores is not None]
        if other and float(np.mean(other)) > _OTHER_LOAD * self._cores:
            found.append(
                f"Host load: other processes used {np.mean(other):.1f} of {self._cores} cores during the measurement "
                f"(at most {max(other):.1f}): latencies are upper bounds. Stop them and measure again."
            )
        steal = [r.steal for r in self.readings if r.steal is not None]
        if steal and float(np.mean(steal)) > _STEAL:
            found.append(
                f"The hypervisor gave {np.mean(steal):.0%} of the CPU time to other guests during the measurement."
            )
        return found

    def _heat(self) -> list[str]:
        found = []
        counted = [r.throttled for r in self.readings if r.throttled is not None]
        if counted and counted[-1] > counted[0]:
            found.append(f"The CPU throttled {counted[-1] - counted[0]} times because of heat during the measurement.")
        clocks = [r.clock_mhz for r in self.readings if r.clock_mhz is not None]
        if len(clocks) > 1 and min(clocks) < _CLOCK_FELL * max(clocks):
            found.append(
                f"The CPU's clock fell from {max(clocks):.0f} to {min(clocks):.0f} MHz during the measurement: "
                "set the governor `performance`."
            )
        degrees = [r.temperature_c for r in self.readings if r.temperature_c is not None]
        if degrees and max(degrees) >= _HOT_C:
            found.append(f"The CPU reached {max(degrees):.0f} °C during the measurement: it may have throttled.")
        slowed = {r.gpu_slowed_by for r in self.readings if r.gpu_slowed_by}
        if slowed:
            found.append(f"The machine lowered its clocks during the measurement: {', '.join(sorted(slowed))}.")
        return found

    def _slowing(self, reference: Timing | None) -> str | None:
        if reference is None or len(reference.blocks) < 10:
            return None
        fifths = [float(np.median(part)) for part in np.array_split(reference.block_fastest_ms, 5)]
        if fifths[-1] <= _SLOWED * min(fifths):
            return None
        return (
            f"The machine slowed down during the measurement: the {reference.name} took "
            f"{fifths[-1] / min(fifths):.2f} times as long at the end as at its best. Possible causes: heat, a power "
            "limit or another guest. Let the machine cool down and measure again."
        )

    def _counters(self) -> _Counters:
        ticks = os.sysconf("SC_CLK_TCK")
        busy = steal = total = 0.0
        first = (text(self._root / "proc/stat") or "").partition("\n")[0].split()
        if first[:1] == ["cpu"] and len(first) >= 9:
            user, nice, system, idle, iowait, irq, softirq, stolen = (int(v) / ticks for v in first[1:9])
            busy, steal = user + nice + system + irq + softirq, stolen
            total = busy + idle + iowait + stolen
        pressure = None
        for line in (text(self._root / "proc/pressure/cpu") or "").splitlines():
            if line.startswith("some"):
                pressure = int(line.rpartition("total=")[2]) / 1e6
        return _Counters(time.monotonic(), busy, steal, total, time.process_time(), pressure)

    def _clock_mhz(self) -> float | None:
        files = (self._root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        values = [value / 1e3 for value in map(number, files) if value is not None]
        return float(np.mean(values)) if values else None

    def _throttled(self) -> int | None:
        files = (self._root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
        values = [value for value in map(number, files) if value is not None]
        return sum(values) if values else None

    def _gpu_state(self) -> dict[str, Any]:
        if self._jetson is not None:  # whose GPU answers NVML with "not supported"
            gpu = self._jetson.gpu() or {}
            reasons = ", ".join(self._jetson.throttled())
            return {"gpu_clock_mhz": gpu.get("clock_mhz"), "gpu_slowed_by": reasons or None}
        if self._gpu is None:
            return {}
        nvml, gpu = self._gpu
        try:
            reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)
            return {
                "gpu_clock_mhz": float(nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
                "gpu_temperature_c": float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
                "gpu_slowed_by": ", ".join(name for name, bits in _GPU_REASONS.items() if reasons & bits) or None,
            }
        except nvml.NVMLError:
            return {}
