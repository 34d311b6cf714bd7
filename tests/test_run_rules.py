"""The rules of a test run: what is made once per run, which tests run alone, and which skips CI accepts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from run_wide import FOLDER_VARIABLE, machine, once
from skips import read_patterns

SKIPPING = """
import pytest

def test_passes():
    pass

def test_without_a_gpu():
    pytest.skip("there is no CUDA driver or GPU")

@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    raise ValueError
"""
RULES = """
from skips import SkipPolicy, WithoutTorch

def pytest_configure(config):
    config.pluginmanager.register(WithoutTorch())
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipPolicy.from_environment())
"""


def run_with_skips(
    folder: Path, more: str, *, ci: str, arguments: tuple[str, ...] = (), without_torch: str = ""
) -> tuple[int, str]:
    """Exit code and output of a test run of its own, under the rules of this one."""
    (folder / "conftest.py").write_text(RULES)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_some.py").write_text(SKIPPING + more)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)],
        cwd=folder, capture_output=True, text=True, check=False,
        env={
            **os.environ, "CI": ci, "EDGEPROOF_TESTS_WITHOUT_TORCH": without_torch,
            "PYTHONPATH": str(Path(__file__).parent),
        },
    )  # fmt: skip
    return done.returncode, done.stdout


MISSING = 'def test_missing():\n    pytest.skip("edgeproof-run is not built: cmake --preset app")\n'


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["one process", "workers"])
def test_an_unexpected_skip_fails_ci(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, out = run_with_skips(tmp_path, MISSING, ci="true", arguments=arguments)
    assert code == 1, out
    told = out.partition("unexpected skips")[2]
    assert "edgeproof-run is not built: cmake --preset app\n    test_some.py::test_missing" in told
    assert "CUDA driver" not in told


def test_a_module_that_is_skipped_whole_counts(tmp_path: Path) -> None:
    code, out = run_with_skips(tmp_path, 'pytest.importorskip("no_such_package")\n', ci="true")
    assert code != 0
    assert "no_such_package" in out.partition("unexpected skips")[2]


NO_TORCH = """
def test_trains():
    raise ModuleNotFoundError("No module named 'torch'")
"""


def test_a_run_meant_to_be_without_torch_passes_ci(tmp_path: Path) -> None:
    (tmp_path / "test_whole.py").write_text("raise ModuleNotFoundError(\"No module named 'timm'\")\n")
    code, out = run_with_skips(tmp_path, NO_TORCH, ci="true", without_torch="1")
    assert code == 0, out
    assert "unexpected" not in out
    code, out = run_with_skips(tmp_path, NO_TORCH + MISSING, ci="true", without_torch="1")
    assert code == 1, out
    assert "torch" not in out.partition("unexpected skips")[2]


def test_torch_that_is_missing_fails_ci_elsewhere(tmp_path: Path) -> None:
    code, out = run_with_skips(tmp_path, NO_TORCH, ci="true")
    assert code == 1, out
    assert "package torch is not installed" in out.partition("unexpected skips")[2]


def test_outside_ci_a_skip_is_only_told(tmp_path: Path) -> None:
    code, out = run_with_skips(tmp_path, MISSING, ci="")
    assert code == 0, out
    assert "they would fail in CI" in out


def test_expected_skips_pass_ci(tmp_path: Path) -> None:
    code, out = run_with_skips(tmp_path, "", ci="true")
    assert code == 0, out
    assert "unexpected" not in out


@pytest.mark.parametrize(
    "reason",
    [
        "/x/edgeproof-run is not built: cmake --preset app && cmake --build --preset app, or set EDGEPROOF_RUN",
        "no MQTT broker: mosquitto is not installed",
        "stress-ng is not installed",
        "could not import 'openvino': No module named 'openvino'",
    ],
)
def test_what_the_makefile_installs_must_not_be_missing(reason: str) -> None:
    assert not any(pattern.search(reason) for pattern in read_patterns())


def test_every_pattern_stands_below_a_reason() -> None:
    text = Path(__file__).with_name("expected_skips.txt").read_text(encoding="utf-8")
    for paragraph in re.split(r"\n\n+", text.strip()):
        assert paragraph.startswith("#"), paragraph


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def test_an_artifact_is_made_once_whoever_asks(folder: Path) -> None:
    made: list[Path] = []

    def make(out: Path) -> None:
        made.append(out)
        out.write_text("made")

    threads = [threading.Thread(target=once, args=("a.txt", make)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert made[0].name == "a.txt"
    assert once("a.txt", make).read_text() == "made"


def test_an_artifact_that_failed_is_tried_again(folder: Path) -> None:
    def fail(out: Path) -> None:
        out.write_text("half")
        raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        once("a.txt", fail)
    assert once("a.txt", lambda out: out.write_text("whole")).read_text() == "whole"


def test_a_serial_test_runs_alone_and_is_not_overtaken(folder: Path) -> None:
    order: list[str] = []
    waiting, go_on = threading.Event(), threading.Event()

    def share() -> None:
        with machine(alone=False):
            order.append("shared begins")
            waiting.set()
            go_on.wait(30)
            order.append("shared ends")

    def alone() -> None:
        with machine(alone=True):
            order.append("alone")

    def late() -> None:
        with machine(alone=False):
            order.append("late")

    first = threading.Thread(target=share)
    first.start()
    assert waiting.wait(30)
    second = threading.Thread(target=alone)
    second.start()
    until_gate_is_taken(folder)
    third = threading.Thread(target=late)
    third.start()
    go_on.set()
    for thread in (first, second, third):
        thread.join(30)
    assert order == ["shared begins", "shared ends", "alone", "late"]


def until_gate_is_taken(folder: Path) -> None:
    """Return when a test waits to be alone: it holds the gate."""
    import fcntl

    for _ in range(3000):
        with (folder / "gate.lock").open("w") as gate:
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        threading.Event().wait(0.01)
    raise AssertionError("no test waits at the gate")
