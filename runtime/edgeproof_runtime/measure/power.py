"""Energy as the machine measures it: RAPL's counters, NVML's, or the sensors of a Jetson. Nothing is estimated."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeproof_runtime.system.jetson import PowerInput, power_input
from edgeproof_runtime.system.nvml import gpus, import_nvml

__all__ = ["PowerMeter"]

_SAMPLING_S = 0.01
_NO_RAPL = (
    "no RAPL counter in /sys/class/powercap (not an Intel or AMD machine, or a virtual one), "
    "no NVIDIA GPU with an energy counter, no INA3221 or INA238 sensor of a Jetson"
)


class PowerMeter(ABC):
    """Energy between `start` and `stop`."""

    source: str
    covers: str

    @staticmethod
    def find(root: Path = Path("/"), *, nvml: Callable[[], Any] | None = None) -> PowerMeter:
        """Return the best meter of this machine; without one, a meter that reports the reason.

        Args:
            root: root of ``/sys``; tests pass another.
            nvml: returns the module ``pynvml``; None imports it.
        """
        for kind in (lambda: _Rails.of(root), lambda: _Nvml.of(nvml or import_nvml), lambda: _Rapl.of(root)):
            meter = kind()
            if isinstance(meter, PowerMeter):
                return meter
        denied = _Rapl.denied(root)
        return _NoMeter(denied or _NO_RAPL)

    @abstractmethod
    def start(self) -> None:
        """Start counting."""

    @abstractmethod
    def stop(self) -> float | None:
        """Stop counting and return the joules since `start`; None if energy is not available."""

    def to_json(self) -> dict[str, Any]:
        """Return whether energy is available, its source and what it covers; else the reason."""
        return {"available": True, "source": self.source, "covers": self.covers, "reason": None}


class _NoMeter(PowerMeter):
    def __init__(self, reason: str) -> None:
        self._reason = reason

    def start(self) -> None:
        pass

    def stop(self) -> float | None:
        return None

    def to_json(self) -> dict[str, Any]:
        return {"available": False, "source": None, "covers": None, "reason": self._reason}


class _Rapl(PowerMeter):
    """Intel's and AMD's running average power limit: a counter of microjoules per package that wraps around."""

    source = "RAPL"
    covers = "the CPU packages, including everything else that runs on them"

    def __init__(self, zones: list[Path]) -> None:
        self._zones = zones
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        self._begin: list[int] = []

    @classmethod
    def _packages(cls, root: Path) -> list[Path]:
        zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))
        return [z for z in zones if z.name.count(":") == 1 and (z / "energy_uj").exists()]

    @classmethod
    def of(cls, root: Path) -> _Rapl | None:
        zones = cls._packages(root)
        try:
            meter = cls(zones)
            meter._read()
        except (OSError, ValueError):
            return None
        return meter if zones else None

    @classmethod
    def denied(cls, root: Path) -> str | None:
        for zone in cls._packages(root):
            try:
                (zone / "energy_uj").read_text()
            except OSError:
                return f"{zone / 'energy_uj'} is readable by root only: sudo chmod a+r {zone / 'energy_uj'}"
        return None

    def _read(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]

    def start(self) -> None:
        self._begin = self._read()

    def stop(self) -> float | None:
        spent = 0
        for begin, end, full in zip(self._begin, self._read(), self._ranges, strict=True):
            spent += end - begin if end >= begin else end - begin + full
        return spent / 1e6


class _Nvml(PowerMeter):
    """NVML's counter of millijoules since the driver was loaded; Volta and later."""

    source = "NVML"
    covers = "the GPUs, not the CPU"

    def __init__(self, nvml: Any, handles: list[Any]) -> None:
        self._nvml, self._handles, self._begin = nvml, handles, 0

    @classmethod
    def of(cls, load: Callable[[], Any]) -> _Nvml | None:
        found = gpus(load)
        if found is None:
            return None
        meter = cls(*found)
        try:
            meter._read()
        except meter._nvml.NVMLError:
            return None
        return meter

    def _read(self) -> int:
        return sum(self._nvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in self._handles)

    def start(self) -> None:
        self._begin = self._read()

    def stop(self) -> float | None:
        return (self._read() - self._begin) / 1e3


class _Rails(PowerMeter):
    """A Jetson's power monitor: watts of its rails, sampled every 10 ms and integrated over time."""

    def __init__(self, rails: PowerInput) -> None:
        self.source, self.covers = rails.source, rails.covers
        self._watts = rails.watts
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._joules: float | None = 0.0

    @classmethod
    def of(cls, root: Path) -> _Rails | None:
        rails = power_input(root)
        return None if rails is None else cls(rails)

    def start(self) -> None:
        self._joules = 0.0
        self._ending.clear()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        joules = 0.0
        try:
            last, watts = time.monotonic(), self._watts()
            ended = False
            while not ended:
                ended = self._ending.wait(_SAMPLING_S)
                now, then = time.monotonic(), watts
                watts = self._watts()
                joules += (now - last) * (watts + then) / 2
                last = now
        except (OSError, ValueError):
            self._joules = None  # a partial sum would be too low
        else:
            self._joules = joules

    def stop(self) -> float | None:
        if self._thread is None:
            return None
        self._ending.set()
        self._thread.join()
        return self._joules
