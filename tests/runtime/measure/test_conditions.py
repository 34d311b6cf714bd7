"""The machine while it is measured: load, heat, throttling, clocks, energy; on machines made up for it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgeproof_runtime.measure import Block, Timing, WarmUp
from edgeproof_runtime.measure.conditions import Conditions
from edgeproof_runtime.measure.power import PowerMeter


class Machine:
    """A /proc and /sys made up; times in seconds of all cores together."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("sys/class/thermal/thermal_zone0/temp", "52000")
        self.put("sys/class/thermal/thermal_zone1/temp", "-274000")
        self.state(busy=0, idle=0)
        self.clock(2400)
        self.throttled(3)

    def put(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def state(self, *, busy: float, idle: float, steal: float = 0, waiting: float = 0) -> None:
        ticks = os.sysconf("SC_CLK_TCK")
        user, rest, stolen = (round(value * ticks) for value in (busy, idle, steal))
        self.put("proc/stat", f"cpu  {user} 0 0 {rest} 0 0 0 {stolen} 0 0\ncpu0 1 2 3")
        self.put(
            "proc/pressure/cpu", f"some avg10=0.00 avg60=0.00 avg300=0.00 total={round(waiting * 1e6)}\nfull total=0"
        )

    def clock(self, mhz: int) -> None:
        for core in range(2):
            self.put(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", str(mhz * 1000))

    def throttled(self, count: int) -> None:
        self.put("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", str(count))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def watched(machine: Machine, monkeypatch: pytest.MonkeyPatch, **state: float) -> Conditions:
    """Ten seconds on two cores, of which this process used five."""
    clock, own = [100.0], [7.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "process_time", lambda: own[0])
    conditions = Conditions(machine.root, cores=2, nvml=_no_nvml)
    clock[0], own[0] = 110.0, 12.0
    machine.state(**state)
    conditions.sample()
    return conditions


def test_a_quiet_machine_has_nothing_to_warn_of(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    conditions = watched(machine, monkeypatch, busy=5.5, idle=14.5, waiting=0.2)
    (reading,) = conditions.readings
    assert reading.other_cores == pytest.approx(0.05)
    assert (reading.clock_mhz, reading.temperature_c, reading.throttled, reading.steal) == (2400, 52, 3, 0)
    assert reading.pressure == pytest.approx(0.02)
    assert conditions.warnings() == []
    assert conditions.to_json()["other_cores"] == [reading.other_cores]


def test_other_load_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (warning,) = watched(machine, monkeypatch, busy=14, idle=6).warnings()
    assert "used 0.9 of 2 cores" in warning


def test_stolen_time_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    (warning,) = watched(machine, monkeypatch, busy=5, idle=13, steal=2).warnings()
    assert "hypervisor gave 10%" in warning


def test_heat_is_told(machine: Machine) -> None:
    conditions = Conditions(machine.root, cores=2, nvml=_no_nvml)
    conditions.sample()
    machine.throttled(9)
    machine.clock(1200)
    machine.put("sys/class/hwmon/hwmon0/name", "coretemp")
    machine.put("sys/class/hwmon/hwmon0/temp1_input", "97500")
    machine.put("sys/class/hwmon/hwmon1/name", "nvme")
    machine.put("sys/class/hwmon/hwmon1/temp1_input", "99500")
    conditions.sample()
    text = " ".join(conditions.warnings())
    assert "throttled 6 times" in text
    assert "from 2400 to 1200 MHz" in text
    assert "reached 98 °C" in text


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    conditions = Conditions(tmp_path, cores=2, nvml=_no_nvml)
    conditions.sample()
    assert conditions.warnings() == []
    assert conditions.to_json()["clock_mhz"] == [None]


def test_a_yardstick_that_slows_shows_throttling_where_no_sensor_does(tmp_path: Path) -> None:
    def timing(times: list[float]) -> Timing:
        return Timing("yardstick", tuple(Block(np.array([ms]), 1, 0.1, 0.1) for ms in times), WarmUp(1, 0.1, True))

    conditions = Conditions(tmp_path, cores=2, nvml=_no_nvml)
    assert conditions.warnings(timing([1.0] * 20)) == []
    (warning,) = conditions.warnings(timing([1.0] * 10 + [1.3] * 10))
    assert "1.30 times as long" in warning


def test_a_gpu_that_is_held_back_is_told(tmp_path: Path) -> None:
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        NVML_CLOCK_SM=1,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetClockInfo=lambda *_: 1410,
        nvmlDeviceGetTemperature=lambda *_: 84,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda *_: 0x40 | 0x1,
    )
    conditions = Conditions(tmp_path, cores=2, nvml=lambda: nvml)
    conditions.sample()
    assert (conditions.readings[0].gpu_clock_mhz, conditions.readings[0].gpu_temperature_c) == (1410, 84)
    (warning,) = conditions.warnings()
    assert warning.endswith("lowered its clocks during the measurement: heat.")


def test_rapl_counts_joules_and_wraps(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    core = tmp_path / "sys/class/powercap/intel-rapl:0:0"
    for folder, energy in ((zone, 9_000_000), (core, 1)):
        folder.mkdir(parents=True)
        (folder / "energy_uj").write_text(f"{energy}\n")
        (folder / "max_energy_range_uj").write_text("10000000\n")
    meter = PowerMeter.find(tmp_path, nvml=_no_nvml)
    assert meter.to_json()["source"] == "RAPL"
    meter.start()
    (zone / "energy_uj").write_text("9500000\n")
    assert meter.stop() == 0.5
    meter.start()
    (zone / "energy_uj").write_text("500000\n")
    assert meter.stop() == 1.0


def test_a_counter_for_root_only_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    (zone / "max_energy_range_uj").write_text("10\n")
    (zone / "energy_uj").write_text("1\n")
    read = Path.read_text

    def denied(path: Path, *arguments: object, **named: object) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", denied)
    found = PowerMeter.find(tmp_path, nvml=_no_nvml).to_json()
    assert found["available"] is False
    assert "chmod a+r" in found["reason"]


def test_nvml_counts_all_gpus(tmp_path: Path) -> None:
    spent = [1000, 5000]
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: spent[handle],
    )
    meter = PowerMeter.find(tmp_path, nvml=lambda: nvml)
    meter.start()
    spent[:] = [1500, 7000]
    assert meter.stop() == 2.5
    assert meter.to_json()["source"] == "NVML"


@pytest.mark.serial
def test_a_jetsons_sensor_is_summed_over_time(tmp_path: Path) -> None:
    rail = tmp_path / "sys/class/hwmon/hwmon3"
    rail.mkdir(parents=True)
    for name, text in {
        "name": "ina3221",
        "in1_label": "VDD_CPU",
        "in2_label": "VDD_IN",
        "in2_input": "5000",
        "curr2_input": "2000",
    }.items():
        (rail / name).write_text(f"{text}\n")
    meter = PowerMeter.find(tmp_path, nvml=_no_nvml)
    assert meter.to_json()["source"] == "INA3221"
    meter.start()
    begin = time.monotonic()
    time.sleep(0.05)
    joules = meter.stop()
    assert joules == pytest.approx(10 * (time.monotonic() - begin), rel=0.2)


def test_a_sensor_that_goes_away_gives_no_energy_rather_than_too_little(tmp_path: Path) -> None:
    rail = tmp_path / "sys/class/hwmon/hwmon3"
    rail.mkdir(parents=True)
    for name, text in {"name": "ina3221", "in1_label": "VDD_IN", "in1_input": "5000", "curr1_input": "1000"}.items():
        (rail / name).write_text(text)
    meter = PowerMeter.find(tmp_path, nvml=_no_nvml)
    meter.start()
    (rail / "curr1_input").unlink()
    assert meter.stop() is None


def test_without_a_meter_the_reason_is_given(tmp_path: Path) -> None:
    meter = PowerMeter.find(tmp_path, nvml=_no_nvml)
    meter.start()
    assert meter.stop() is None
    assert "no RAPL" in meter.to_json()["reason"]


def _no_nvml() -> object:
    raise ImportError("pynvml")
