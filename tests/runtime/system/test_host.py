"""Host facts: real ones of this machine, and stand-in tools for hardware that is not here."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import psutil
import pytest

from edgeproof_runtime.system.host import host_warnings, system_facts


def test_facts_are_json_and_agree_with_the_system() -> None:
    facts = system_facts()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["cpu"]["model"]
    assert 1 <= facts["cpu"]["cores_usable"] <= facts["cpu"]["cores_logical"]
    assert facts["memory"]["total_bytes"] == psutil.virtual_memory().total


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no /proc/cpuinfo to compare with")
def test_features_are_the_cpus_own() -> None:
    words = set(Path("/proc/cpuinfo").read_text().split())
    features = system_facts()["cpu"]["features"]
    for flag in ("avx2", "avx512f", "avx512_vnni", "fma"):
        assert (flag in features) == (flag in words)
    assert ("neon-dotprod" in features) == ("asimddp" in words)


def _stand_in(folder: Path, name: str, script: str) -> None:
    tool = folder / name
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, but for the shell's own tools."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    return tmp_path


H100 = "NVIDIA H100 80GB HBM3, 575.57, 81559, 1980, 1980, 2619, 700.00, 31, 0, Enabled"


def test_gpu_facts_are_nvidia_smis(tools: Path) -> None:
    _stand_in(tools, "nvidia-smi", f"echo '{H100}, 9.0'")
    (gpu,) = system_facts()["gpu"]
    assert gpu == {
        "name": "NVIDIA H100 80GB HBM3",
        "driver": "575.57",
        "memory_mib": 81559.0,
        "clock_sm_mhz": 1980.0,
        "clock_sm_max_mhz": 1980.0,
        "clock_memory_mhz": 2619.0,
        "power_limit_w": 700.0,
        "temperature_c": 31.0,
        "utilization_percent": 0.0,
        "persistence_mode": "Enabled",
        "compute_capability": "9.0",
    }


def test_a_driver_that_does_not_know_a_field_still_tells_the_rest(tools: Path) -> None:
    _stand_in(tools, "nvidia-smi", f'case "$1" in *compute_cap*) exit 2;; esac; echo "{H100}"')
    (gpu,) = system_facts()["gpu"]
    assert gpu["driver"] == "575.57"
    assert "compute_capability" not in gpu


def test_what_a_gpu_does_not_know_is_null(tools: Path) -> None:
    _stand_in(tools, "nvidia-smi", "echo 'Orin, 540.4, [N/A], [Not Supported], N/A, , [N/A], 45, [N/A], Disabled, 8.7'")
    (gpu,) = system_facts()["gpu"]
    assert gpu["temperature_c"] == 45.0
    assert [gpu[k] for k in ("memory_mib", "clock_sm_mhz", "clock_sm_max_mhz", "clock_memory_mhz")] == [None] * 4


def test_a_broken_tool_counts_as_none(tools: Path) -> None:
    _stand_in(tools, "nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert system_facts()["gpu"] == []


def test_a_power_mode_that_no_file_tells_is_nvpmodels(tools: Path) -> None:
    _stand_in(tools, "nvpmodel", "echo 'NV Power Mode: MAXN_SUPER'; echo 2")
    (tools / "etc").mkdir()
    (tools / "etc/nv_tegra_release").write_text("# R36 (release)\n")
    assert system_facts(tools)["jetson"]["power_mode"] == "MAXN_SUPER"


def test_warnings_name_what_makes_timings_doubtful() -> None:
    facts = system_facts()
    quiet = deepcopy(facts)
    quiet["load_average_1min"] = 0.0
    quiet["cpu"]["governors"] = ["performance"]
    quiet["os"]["virtualized"] = False
    quiet["gpu"], quiet["jetson"] = [{"name": "any"}], None
    assert host_warnings(quiet) == []
    doubtful = deepcopy(facts)
    doubtful["load_average_1min"] = facts["cpu"]["cores_usable"] + 1.5
    doubtful["cpu"]["governors"] = ["powersave"]
    doubtful["os"]["virtualized"] = True
    doubtful["gpu"], doubtful["jetson"] = [], None
    busy, governor, virtual, gpu = host_warnings(doubtful)
    assert f"load average {doubtful['load_average_1min']:.1f}" in busy
    assert "powersave" in governor
    assert "virtual machine" in virtual
    assert "No NVIDIA GPU" in gpu
