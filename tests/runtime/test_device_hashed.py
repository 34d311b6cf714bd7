"""edgeproof-run loads the bytes that it hashed: it opens the model once, and refuses a file that changes meanwhile."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bundles import make_bundle, transposed_onnx
from edgeproof_runtime.bundle.reader import Bundle
from exchanging import exchanging, opened

ENGINES = ("openvino", "opencv")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    (tmp_path / "folder").mkdir()
    return make_bundle(tmp_path / "folder" / "tiny.edge", model=transposed_onnx())


@pytest.fixture(params=ENGINES)
def command(
    request: pytest.FixtureRequest,
    device_program: Path,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Verification of the bundle on an engine that has never been tried here."""
    usage = subprocess.run([device_program, "--help"], capture_output=True, text=True, check=True).stdout
    if f"{request.param}|" not in usage:
        pytest.skip(f"edgeproof-run was built without {request.param}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return [str(device_program), str(bundle.path), "--verify", "--engine", request.param]


def test_the_model_is_opened_once_in_the_trial_and_once_in_the_program(command: list[str], tmp_path: Path) -> None:
    calls = opened(command, tmp_path / "opens")
    program = calls[0][0]
    readers = [process for process, call in calls if '/model.onnx"' in call]
    assert len(readers) == 2, readers
    assert readers[0] != program  # the trial's child
    assert readers[1] == program
    assert len(list((tmp_path / "cache").rglob("trials/*.json"))) == 1
    again = [process for process, call in opened(command, tmp_path / "again") if '/model.onnx"' in call]
    assert len(again) == 1  # the trial's outcome is known


def test_a_model_that_is_exchanged_meanwhile_is_never_loaded_unhashed(command: list[str], bundle: Bundle) -> None:
    other = transposed_onnx(seed=1).SerializeToString()
    codes = []
    with exchanging(bundle.path / "model.onnx", other):
        for _ in range(25):
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            codes.append(done.returncode)
            assert done.returncode in (0, 2), done.stdout + done.stderr  # 1: the gates met another model
            if done.returncode == 2:
                assert "modified" in done.stderr or "changed" in done.stderr, done.stderr
    assert 2 in codes
