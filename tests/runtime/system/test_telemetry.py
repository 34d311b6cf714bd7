"""Nothing that edgeproof loads reports to its makers: no file of the kind, no socket, in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bundles import make_bundle
from edgeproof_runtime.system.spec import SPEC
from edgeproof_runtime.system.telemetry import switch_off_telemetry

VARIABLES = [name for name, _ in SPEC["telemetry_off"]]
CI = ("CI", "TF_BUILD", "JENKINS_URL", "ORT_RUNNING_UNIT_TESTS")  # libraries are quiet under these by themselves

WATCHED = """
import os, sys
reached = []
def watch(event, values):
    if event in ("socket.connect", "socket.getaddrinfo"):
        reached.append(str(values))
sys.addaudithook(watch)
{code}
sockets = [link for name in os.listdir("/proc/self/fd") if os.path.lexists(path := f"/proc/self/fd/{{name}}")
           if (link := os.readlink(path)).startswith("socket:")]
assert not reached and not sockets, (reached, sockets)
"""  # fmt: skip

LOADED = """
from edgeproof import Bundle, Classifier
import numpy as np
with Classifier({bundle!r}, engine={engine!r}) as classifier:
    classifier(np.zeros((40, 40, 3), np.uint8))
"""

QUANTISED = """
import edgeproof
import nncf, nncf.telemetry.wrapper as wrapper
import openvino
assert openvino.convert_model
wrapper.telemetry.send_event("a", "b", "c")
"""


def quiet_environment(home: Path) -> dict[str, str]:
    home.mkdir()
    dropped = {*VARIABLES, *CI, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "EDGEPROOF_CACHE"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped and "PYTEST" not in name}
    return {**kept, "HOME": str(home), "TMPDIR": str(home)}


def written(home: Path) -> list[str]:
    """Files below a home folder that edgeproof does not write itself."""
    own = home / ".cache" / "edgeproof"
    return [str(path) for path in home.rglob("*") if path.is_file() and not path.is_relative_to(own)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "opencv"])
def test_loading_a_model_reports_to_nobody(engine: str, tmp_path: Path) -> None:
    pytest.importorskip({"opencv": "cv2"}.get(engine, engine))
    bundle = make_bundle(tmp_path / "tiny.edge")
    code = WATCHED.format(code=LOADED.format(bundle=str(bundle.path), engine=engine))
    subprocess.run([sys.executable, "-c", code], env=quiet_environment(tmp_path / "home"), check=True, timeout=120)
    assert written(tmp_path / "home") == []


@pytest.mark.slow
def test_nncf_and_the_converter_of_openvino_report_to_nobody(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    code = WATCHED.format(code=QUANTISED)
    subprocess.run([sys.executable, "-c", code], env=quiet_environment(tmp_path / "home"), check=True, timeout=120)
    assert written(tmp_path / "home") == []


@pytest.mark.parametrize("layer", ["edgeproof", "edgeproof_runtime"])
def test_importing_a_layer_switches_it_off(layer: str, tmp_path: Path) -> None:
    code = (
        f"import {layer}, os, sys; assert 'onnxruntime' not in sys.modules; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = quiet_environment(tmp_path / "home")
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout == "1\n"


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    switch_off_telemetry()
    assert (os.environ["ORT_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"]) == ("0", "1")
    assert sys.modules["openvino_telemetry"] is None
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.delitem(sys.modules, "openvino_telemetry")
    switch_off_telemetry()
    assert "openvino_telemetry" not in sys.modules


def test_the_device_program_sets_the_same_variables(device_program: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge")
    command = [str(device_program), str(bundle.path), "--verify"]
    subprocess.run(command, env=quiet_environment(tmp_path / "home"), check=True, capture_output=True, timeout=120)
    assert written(tmp_path / "home") == []
