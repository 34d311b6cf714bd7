"""`edgeproof-run --trust`: the same bundles are refused as in Python, before an engine is loaded."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeproof_export.attach import Addition, add_evidence, attach
from edgeproof_export.signing import sign_bundle
from edgeproof_runtime.bundle.attachments import EngineFacts
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.trust import trust
from signing import TAMPERINGS, write_signed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_signed(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `made` to change."""
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    for variable in ("EDGEPROOF_TRUST", "EDGEPROOF_TRUST_ENGINES"):
        monkeypatch.delenv(variable, raising=False)
    return Path(shutil.copytree(made, tmp_path / "made"))


def run(program: Path, *arguments: object) -> tuple[int, str]:
    command = [program, *map(str, arguments), "--verify", "--engine", "opencv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stderr


def test_a_signed_bundle_runs(device_program: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, err = run(device_program, place / "A.edge", "--trust", place / "key.pub")
    assert (code, "signed by key.pub at 20" in err, "left out" in err) == (0, True, False), err
    monkeypatch.setenv("EDGEPROOF_TRUST", str(place / "other.pub"))
    code, err = run(device_program, place / "A.edge")
    assert (code, "no valid signature" in err) == (2, True), err


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_refused(device_program: Path, place: Path, name: str) -> None:
    change, said = TAMPERINGS[name]
    change(place / "A.edge")
    code, err = run(device_program, place / "A.edge", "--trust", place / "key.pub")
    assert code == 2, err
    assert re.search(said, err, re.DOTALL), err
    assert "opencv" not in err  # no engine was asked


def test_what_is_added_later_is_left_out(device_program: Path, place: Path) -> None:
    bundle = Bundle.open(place / "A.edge")
    model = bundle.sha256("model.onnx")
    add_evidence(bundle, "bench", {"kind": "bench"})
    facts = EngineFacts("openvino", "fp32", model)
    for key in ("ours", "theirs"):
        files = {f"engines/{key}/model.blob": key.encode(), f"engines/{key}/engine.json": b"{}"}
        attach(bundle, [Addition("engine", key, files, facts)])
    trust(bundle.sha256("engines/ours/model.blob"), "built here", onnx_sha256=model)
    code, err = run(device_program, place / "A.edge", "--trust", place / "key.pub")
    assert code == 0, err
    left_out = re.findall(r"note: (\w+ \w+) left out \S+ not signed", err)
    assert sorted(left_out) == ["engine theirs", "evidence bench"], err
    trust(bundle.sha256("engines/theirs/model.blob"), "trusted by the user")
    assert "engine theirs left out" in run(device_program, place / "A.edge", "--trust", place / "key.pub")[1]
    sign_bundle(bundle, place / "key.pem")
    assert "left out" not in run(device_program, place / "A.edge", "--trust", place / "key.pub")[1]
