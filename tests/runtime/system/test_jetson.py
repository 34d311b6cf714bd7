"""Six Jetsons made up as files: power, clocks, heat and power mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from boards import BOARDS, Board, put
from edgeproof_runtime.measure.conditions import Conditions
from edgeproof_runtime.measure.power import PowerMeter
from edgeproof_runtime.system.host import host_warnings, system_facts
from edgeproof_runtime.system.jetson import Jetson, power_input
from edgeproof_runtime.system.sensors import temperature_c


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> Board:
    return BOARDS[request.param]


def found(board: Board, root: Path) -> Jetson:
    jetson = Jetson.find(board.write(root))
    assert jetson is not None
    return jetson


def test_power_is_that_of_the_boards_input_and_says_which_rails(board: Board, tmp_path: Path) -> None:
    supply = power_input(board.write(tmp_path))
    assert supply is not None
    assert tuple(rail.label for rail in supply.rails) == board.rails
    assert supply.watts() == pytest.approx(board.watts, abs=1e-3)
    meter = PowerMeter.find(tmp_path, nvml=_no_nvml).to_json()
    assert meter["source"] == ("INA238" if board.rails == ("VIN",) else "INA3221")
    assert all(label in meter["covers"] for label in board.rails)


def test_thor_without_its_input_monitor_adds_its_rails(tmp_path: Path) -> None:
    BOARDS["agx-thor"].write(tmp_path)
    (tmp_path / "sys/class/hwmon/hwmon2/power1_input").unlink()
    supply = power_input(tmp_path)
    assert supply is not None
    assert supply.covers == "the board, the sum of rails VDD_GPU, VDD_CPU_SOC_MSS, VIN_SYS_5V0"
    assert supply.watts() == pytest.approx(6 + 9.6 + 5)


def test_a_monitor_that_is_switched_off_gives_no_power(tmp_path: Path) -> None:
    jetson = found(BOARDS["orin-nx"], tmp_path)
    (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").unlink()
    assert power_input(tmp_path) is None
    assert jetson.to_json()["power_w"] is None


def test_clock_and_load_of_the_gpu(board: Board, tmp_path: Path) -> None:
    gpu = found(board, tmp_path).gpu()
    name, (low, high, now) = next(iter(board.clocks.items()))
    assert gpu == {
        "clock": name,
        "clock_mhz": now / 1e6,
        "min_mhz": low / 1e6,
        "max_mhz": high / 1e6,
        "load_percent": board.load[1] / 10 if board.load else None,
        "governor": "nvhost_podgov",
    }


def test_a_gpu_before_the_new_names(tmp_path: Path) -> None:
    root = BOARDS["agx-orin"].write(tmp_path)
    (root / "sys/class/devfreq/17000000.gpu").rename(root / "sys/class/devfreq/17000000.ga10b")
    (root / "sys/devices/platform/gpu.0/load").unlink()
    put(root, "sys/class/devfreq/17000000.ga10b/device/load", "333")
    gpu = Jetson(root, None, None).gpu()
    assert gpu is not None
    assert (gpu["clock"], gpu["load_percent"]) == ("17000000.ga10b", 33.3)


def test_fixed_clocks_are_recognised_without_root(tmp_path: Path) -> None:
    jetson = found(BOARDS["orin-nx"], tmp_path)
    assert jetson.clocks_fixed() is True
    put(tmp_path, "sys/devices/system/cpu/cpu1/cpufreq/scaling_min_freq", "729600")
    assert jetson.clocks_fixed() is False
    assert found(BOARDS["agx-thor"], tmp_path / "thor").clocks_fixed() is False
    assert Jetson(tmp_path / "nowhere", None, None).clocks_fixed() is None


def test_thor_has_two_gpu_clocks_to_fix(tmp_path: Path) -> None:
    jetson = found(BOARDS["agx-thor"], tmp_path)
    for core in range(2):
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_min_freq", "2601000")
    put(tmp_path, "sys/class/devfreq/gpu-gpc-0/min_freq", "1575000000")
    assert jetson.clocks_fixed() is False
    put(tmp_path, "sys/class/devfreq/gpu-nvd-0/min_freq", "1692000000")
    assert jetson.clocks_fixed() is True


def test_throttling_names_the_part(tmp_path: Path) -> None:
    jetson = found(BOARDS["agx-orin"], tmp_path)
    assert jetson.throttled() == ["cpu: heat"]
    put(tmp_path, "sys/class/hwmon/hwmon1/curr2_crit_alarm", "1")
    assert jetson.throttled() == ["cpu: heat", "VDD_CPU_CV: current limit"]
    conditions = Conditions(tmp_path, cores=2, nvml=_no_nvml)
    conditions.sample()
    assert conditions.readings[0].gpu_clock_mhz == 1300.5
    assert "lowered its clocks during the measurement: cpu: heat, VDD_CPU_CV" in " ".join(conditions.warnings())


TEMPERATURES = {
    "orin-nano-super": 49.125,
    "orin-nx": 49.125,
    "agx-orin": 97.0,
    "agx-xavier": 43.5,
    "xavier-nx": 43.5,
    "agx-thor": 39.5,
}


@pytest.mark.parametrize("name", BOARDS)
def test_temperature_is_the_junctions_and_neither_the_disks_nor_the_constant_zone(name: str, tmp_path: Path) -> None:
    assert temperature_c(BOARDS[name].write(tmp_path)) == TEMPERATURES[name]


def test_a_zone_that_is_switched_off_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = BOARDS["orin-nx"].write(tmp_path)
    zone, read = root / "sys/class/thermal/thermal_zone2/temp", Path.read_text

    def gated(path: Path, *arguments: object, **named: object) -> str:
        if path == zone:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return read(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", gated)
    assert temperature_c(root) == 48.5


MODES = {  # now, and the mode with more power
    "orin-nano-super": ("15W", (2, "MAXN_SUPER")),
    "orin-nx": ("MAXN", None),
    "agx-orin": ("30W", (0, "MAXN")),
    "agx-xavier": ("15W", (0, "MAXN")),
    "xavier-nx": ("15W_6CORE", (8, "20W_6CORE")),
    "agx-thor": ("120W", (0, "MAXN")),
}


@pytest.mark.parametrize("name", BOARDS)
def test_power_modes_have_names_and_the_numbers_of_their_module(name: str, tmp_path: Path) -> None:
    jetson = found(BOARDS[name], tmp_path)
    mode, higher = MODES[name]
    assert (jetson.power_mode() or ("", ""))[1] == mode
    assert jetson.higher_mode() == higher


def test_modes_of_equal_power_are_not_advised(tmp_path: Path) -> None:
    jetson = found(BOARDS["xavier-nx"], tmp_path)
    put(tmp_path, "var/lib/nvpmodel/status", "pmode:0006 fmode:quiet")
    assert jetson.power_mode() == (6, "20W_2CORE")
    assert jetson.higher_mode() is None


@pytest.mark.parametrize("status", ["", "pmode:0009", "pmode:x"])
def test_an_unknown_mode_is_none(status: str, tmp_path: Path) -> None:
    jetson = found(BOARDS["orin-nx"], tmp_path)
    put(tmp_path, "var/lib/nvpmodel/status", status)
    assert (jetson.power_mode(), jetson.higher_mode()) == (None, None)


def test_a_jetson_in_a_container_is_known_by_its_device_tree(tmp_path: Path) -> None:
    assert Jetson.find(tmp_path) is None
    put(tmp_path, "proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0")
    put(tmp_path, "proc/device-tree/model", "NVIDIA Jetson Orin Nano\0")
    jetson = Jetson.find(tmp_path)
    assert jetson is not None
    assert (jetson.board, jetson.l4t) == ("NVIDIA Jetson Orin Nano", None)
    assert jetson.to_json()["gpu"] is None


def test_a_report_says_that_clocks_follow_the_load(board: Board, tmp_path: Path) -> None:
    facts = system_facts(board.write(tmp_path))
    assert facts["jetson"]["board"] == board.model
    assert facts["cpu"]["governors"] == ["schedutil"]
    assert any("jetson_clocks" in text for text in host_warnings(facts)) is not facts["jetson"]["clocks_fixed"]


def _no_nvml() -> object:
    raise ImportError("pynvml")
