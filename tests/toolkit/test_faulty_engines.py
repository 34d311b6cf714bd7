"""Engines that crash, hang, exhaust the memory or compute wrongly, met by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import onnx
import pytest

from bundles import frames, tiny_onnx
from command_line import Cli
from edgeproof_export import ContractFlags, export_bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.errors import GateError
from edgeproof_runtime.selection.auto import load_engine
from faulty_engines import entry_of, gelu_onnx


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number, frame in enumerate(frames(4)):
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return folder


@pytest.mark.slow
def test_a_crash_hang_or_memory_explosion_is_a_note_and_the_others_serve(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    monkeypatch.setenv("EDGEPROOF_TRIAL_SECONDS", "10")
    monkeypatch.setenv("EDGEPROOF_TRIAL_MIB", "600")
    onnx.save(gelu_onnx(), tmp_path / "g.onnx")
    with (
        catalog.registered(entry_of("crash")),
        catalog.registered(entry_of("hang")),
        catalog.registered(entry_of("memory")),
    ):
        flags = ("--input-size", 16, "--mean", "0,0,0", "--std", "1,1,1", "--data", data)
        code, out, err = cli("export", "g.onnx", "--out", "g.edge", *flags, "--json", "report.json")
        assert code == 0, err
        report = json.loads((tmp_path / "report.json").read_text())
        reasons = {row["name"]: row["reason"] for row in report["engines"] if not row["passed"]}
        assert "crashes on this model (SIGSEGV)" in reasons["crash"]
        assert "hangs on this model" in reasons["hang"]
        assert "exhausts the memory on this model" in reasons["memory"]
        for name in ("crash", "hang", "memory"):
            assert f"note: {reasons[name]}: left out" in " ".join(err.split())
        assert report["passed"] is True
        # OpenCV 5.0.0 crashes on an exact GELU; another one may take it.
        assert reasons.get("opencv") is None or "(SIG" in reasons["opencv"]
        code, out, err = cli("verify", "g.edge")
        assert code == 0, err
        assert f"crash fp32: left out: {reasons['crash']}" in " ".join(err.split())
        code, out, err = cli("inspect", "g.edge")
        assert reasons["crash"] in " ".join(out.split())
        for command in (("run", "g.edge", "--source", data), ("verify", "g.edge")):
            code, _, err = cli(*command, "--engine", "crash")
            assert code == 2
            assert "use onnxruntime or openvino" in " ".join(err.split())
        code, _, err = cli("export", "g.onnx", "--out", "h.edge", *flags, "--engines", "openvino,crash")
        assert code == 1
        assert "crash cannot run the model" in err
    assert not list(tmp_path.glob(".*.partial"))
    assert not (tmp_path / "h.edge").exists()


@pytest.mark.slow
def test_an_engine_that_missed_its_bound_is_refused_until_it_passes(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    with catalog.registered(entry_of("wrong")):
        onnx.save(tiny_onnx(), tmp_path / "t.onnx")
        flags = ContractFlags(input_size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
        bundle = export_bundle(str(tmp_path / "t.onnx"), tmp_path / "t.edge", contract=flags, data=str(data)).bundle
        with pytest.raises(GateError, match="wrong outputs for this model, at the export and here"):
            load_engine(bundle, "wrong")
        with load_engine(bundle, "wrong", judged=True):
            pass
        code, _, err = cli("run", bundle.path, "--source", data, "--engine", "wrong")
        assert code == 1
        assert "fix: use another engine" in " ".join(err.split())
        assert cli("verify", bundle.path, "--engine", "wrong")[0] == 1
        code, out, err = cli("verify", bundle.path)
        assert code == 0, err
        assert "wrong fp32: left out: missed its bound at the export, and here" in " ".join(err.split())
        assert "verified on onnxruntime" in out
        # Another version is another engine.
        monkeypatch.setenv("EDGEPROOF_TEST_VERSION", "2")
        with load_engine(bundle, "wrong"):
            pass
