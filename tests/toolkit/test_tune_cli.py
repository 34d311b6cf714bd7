"""`edgeproof tune`: it measures once, says what it remembers, and a Classifier takes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgeproof
from bundles import make_bundle
from command_line import Cli
from quick_choice import choose_quickly


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_quickly(monkeypatch, tmp_path / "cache")


@pytest.mark.slow
def test_what_was_measured_is_taken_from_then_on(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge").path
    code, out, _ = cli("tune", bundle, "--json", tmp_path / "tune.json")
    assert code == 0
    report = json.loads((tmp_path / "tune.json").read_text())
    rows, settings = report["engines"], report["settings"]
    assert report["kind"] == "tune"
    assert rows[0]["chosen"]
    assert (settings["engine"], settings.get("threads")) == (rows[0]["name"], rows[0]["threads"])
    assert f"auto takes {rows[0]['name']} fp32" in out
    with edgeproof.Classifier(bundle) as classifier:
        assert classifier.engine.name == rows[0]["name"]

    code, out, _ = cli("tune", bundle)
    assert (code, settings["measured_at"] in out) == (0, True)
    assert edgeproof.tune(bundle).engines == edgeproof.tune(bundle, engine="auto").engines
    monitored: list[str] = []
    edgeproof.tune(bundle, again=True, progress=lambda phase, _done, _total: monitored.append(phase))
    assert "comparing engines" in monitored


def test_what_cannot_be_measured_is_a_message(cli: Cli, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.edge").path
    for arguments, text in (
        (("--engine", "tensorflow"), "tensorflow"),
        (("--precision", "int8"), "int8"),
        (("--threads", "0"), "threads"),
    ):
        code, _, err = cli("tune", bundle, *arguments)
        assert (code, text in err) == (2, True), err
    assert cli("tune", tmp_path / "no.edge")[0] == 2
