"""Load of this machine and of this process."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from edgeproof_runtime.system.host import gpu_facts

__all__ = ["HostLoad", "LoadSampler"]


@dataclass(frozen=True, slots=True)
class HostLoad:
    """One sample of the host load.

    Attributes:
        cpu_percent: load of each logical core since the previous sample, 0..100.
        process_cpu_percent: load of this process since the previous sample, in percent of one core.
        memory_used_bytes: memory of the machine in use, without caches that it can free at once.
        memory_total_bytes: memory of the machine.
        process_rss_bytes: resident memory of this process.
        process_threads: threads of this process.
        process_descriptors: open files, sockets and pipes of this process.
        temperature_c: the hottest sensor; None without a sensor.
        gpus: from `edgeproof_runtime.system.host.gpu_facts`.
        unavailable: ``gpu`` or ``temperature_c`` -> why it is not available.
    """

    cpu_percent: tuple[float, ...]
    process_cpu_percent: float
    memory_used_bytes: int
    memory_total_bytes: int
    process_rss_bytes: int
    process_threads: int
    process_descriptors: int
    temperature_c: float | None
    gpus: tuple[dict[str, Any], ...]
    unavailable: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class LoadSampler:
    """Samples the host load at most once per ``interval_s``. Thread-safe.

    Args:
        interval_s: how long a sample is reused, in seconds. ``nvidia-smi`` may take 1 s of it.
    """

    def __init__(self, interval_s: float = 2.0) -> None:
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._newest: HostLoad | None = None
        self._sampled_s = 0.0
        self._process.cpu_percent()  # psutil measures since the previous call; this one starts the interval
        self._cpu_times = _cpu_times()

    def sample(self) -> HostLoad:
        """Return the latest sample, or take a new one if the latest is older than the interval."""
        with self._lock:
            now_s = time.monotonic()
            if self._newest is None or now_s - self._sampled_s >= self._interval_s:
                self._newest = self._measure()
                self._sampled_s = now_s
            return self._newest

    def _measure(self) -> HostLoad:
        memory = psutil.virtual_memory()
        before, self._cpu_times = self._cpu_times, _cpu_times()
        temperature_c = _hottest_c()
        gpus = gpu_facts()
        unavailable = {}
        if temperature_c is None:
            unavailable["temperature_c"] = "no temperature sensor found"
        if not gpus:
            smi = shutil.which("nvidia-smi")
            unavailable["gpu"] = "nvidia-smi lists no GPU" if smi else "nvidia-smi is not installed"
        return HostLoad(
            cpu_percent=tuple(map(_busy_percent, before, self._cpu_times)),
            process_cpu_percent=self._process.cpu_percent(),
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            process_rss_bytes=self._process.memory_info().rss,
            process_threads=self._process.num_threads(),
            process_descriptors=self._process.num_fds(),
            temperature_c=temperature_c,
            gpus=tuple(gpus),
            unavailable=unavailable,
        )


def _cpu_times() -> list[tuple[float, float]]:
    """Return (busy, total) seconds of each core since the machine started."""
    # psutil.cpu_percent measures since the same thread's previous call; samples come from several threads.
    found = []
    for core in psutil.cpu_times(percpu=True):
        counted = sum(core) - getattr(core, "guest", 0.0) - getattr(core, "guest_nice", 0.0)  # already in user
        found.append((counted - core.idle - getattr(core, "iowait", 0.0), counted))
    return found


def _busy_percent(before: tuple[float, float], after: tuple[float, float]) -> float:
    passed_s = after[1] - before[1]
    return round(min(100.0, max(0.0, 100 * (after[0] - before[0]) / passed_s)), 1) if passed_s > 0 else 0.0


def _hottest_c() -> float | None:
    read = getattr(psutil, "sensors_temperatures", dict)
    return max((sensor.current for sensors in read().values() for sensor in sensors), default=None)
