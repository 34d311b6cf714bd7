"""How busy this machine and this process are at a moment."""

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
    """One look at the machine.

    Attributes:
        cpu_percent: 0..100 per logical core, since the look before.
        process_cpu_percent: of one core, since the look before.
        memory_used_bytes: of the machine, without what it would give up at once.
        memory_total_bytes: of the machine.
        process_rss_bytes: resident memory of this process.
        process_threads: threads of this process.
        process_descriptors: open files, sockets and pipes of this process.
        temperature_c: the hottest sensor; None where the machine tells none.
        gpus: as `edgeproof_runtime.system.host.gpu_facts`.
        unavailable: ``gpu`` or ``temperature_c`` -> why it is not known.
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
    """Looks at the machine, at most once in ``interval_s``; safe in several threads.

    Args:
        interval_s: how long a look stays good. ``nvidia-smi``, where there is one, takes up to a second of it.
    """

    def __init__(self, interval_s: float = 2.0) -> None:
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._process = psutil.Process()
        self._newest: HostLoad | None = None
        self._looked_s = 0.0
        self._process.cpu_percent()  # measures from the call before, so the first is only a beginning
        self._cpu_times = _cpu_times()

    def sample(self) -> HostLoad:
        """The newest look, or a new one where that is too old."""
        with self._lock:
            now_s = time.monotonic()
            if self._newest is None or now_s - self._looked_s >= self._interval_s:
                self._newest = self._look()
                self._looked_s = now_s
            return self._newest

    def _look(self) -> HostLoad:
        memory = psutil.virtual_memory()
        before, self._cpu_times = self._cpu_times, _cpu_times()
        temperature_c = _hottest_c()
        gpus = gpu_facts()
        unavailable = {}
        if temperature_c is None:
            unavailable["temperature_c"] = "this machine shows no temperature sensor"
        if not gpus:
            smi = shutil.which("nvidia-smi")
            unavailable["gpu"] = "nvidia-smi names no GPU" if smi else "nvidia-smi is not installed"
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
    """Seconds busy and seconds altogether of each core since the machine started."""
    # psutil.cpu_percent measures from the same thread's call before, and looks come from several.
    found = []
    for core in psutil.cpu_times(percpu=True):
        counted = sum(core) - getattr(core, "guest", 0.0) - getattr(core, "guest_nice", 0.0)  # in user already
        found.append((counted - core.idle - getattr(core, "iowait", 0.0), counted))
    return found


def _busy_percent(before: tuple[float, float], after: tuple[float, float]) -> float:
    passed_s = after[1] - before[1]
    return round(min(100.0, max(0.0, 100 * (after[0] - before[0]) / passed_s)), 1) if passed_s > 0 else 0.0


def _hottest_c() -> float | None:
    read = getattr(psutil, "sensors_temperatures", dict)
    return max((sensor.current for sensors in read().values() for sensor in sensors), default=None)
