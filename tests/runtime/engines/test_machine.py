"""What identifies this machine: its key changes with every distribution that an engine depends on."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import cv2
import pytest

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.machine import host_facts, machine_key
from edgeproof_runtime.system.host import system_facts


def install(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Pretend that distributions are installed in these versions (None: not installed)."""
    pretended, real = {name.replace("_", "-"): version for name, version in versions.items()}, metadata.version

    def version(name: str) -> str:
        found = pretended[name] if name in pretended else real(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)


def test_a_report_host_has_packages_and_key_beside_the_systems_facts() -> None:
    facts = host_facts()
    assert list(facts) == [*system_facts(), "packages", "machine_key"]
    assert facts["packages"]["numpy"] == metadata.version("numpy")
    assert facts["machine_key"] == machine_key()


def test_machine_key_is_the_same_in_another_process() -> None:
    code = "from edgeproof_runtime.engines.machine import machine_key; print(machine_key())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == machine_key()
    assert len(machine_key()) == 16


def test_facts_import_no_engine() -> None:
    code = (
        "import sys; from edgeproof_runtime.engines.machine import host_facts; host_facts();"
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'openvino', 'matplotlib', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_tensorrt_rtx_plugin_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, onnxruntime_ep_nv_tensorrt_rtx="0.4.0")
    before = machine_key()
    assert host_facts()["packages"]["onnxruntime-ep-nv-tensorrt-rtx"] == "0.4.0"
    install(monkeypatch, onnxruntime_ep_nv_tensorrt_rtx="0.5.0")
    assert machine_key() != before


@pytest.mark.parametrize("distribution", catalog.distributions())
def test_every_distribution_of_an_engine_counts(monkeypatch: pytest.MonkeyPatch, distribution: str) -> None:
    install(monkeypatch, **{distribution: None})
    keys = {machine_key()}
    for version in ("1.0", "1.1"):
        install(monkeypatch, **{distribution: version})
        keys.add(machine_key())
    assert len(keys) == 3


def test_an_opencv_without_metadata_is_named_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, **dict.fromkeys(catalog.find("opencv").distributions))
    assert host_facts()["packages"]["opencv"] == cv2.__version__
