"""`edgeproof sign`, and `--trust` of the commands that load a bundle into an engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

import edgeproof
from bundles import make_bundle, write_clip
from command_line import Cli
from edgeproof_runtime.bundle.signatures import VARIABLE
from signing import make_certificate, make_key


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    make_bundle(tmp_path / "B.edge")
    for name in ("key", "other"):
        make_key(tmp_path / f"{name}.pem", tmp_path / f"{name}.pub")
    write_clip(tmp_path / "clip.mp4")
    return tmp_path


def test_sign_and_trust(cli: Cli, place: Path) -> None:
    code, out, err = cli("inspect", "B.edge")
    assert (code, "signatures" in out, "none" in out) == (0, True, True), err
    code, out, err = cli("sign", "B.edge", "--key", "key.pem", "--json", "signed.json")
    assert code == 0, err
    assert out.startswith("signed 21 files of B.edge: B.edge/signatures/")
    assert json.loads(Path("signed.json").read_text())["files"][0] == "bundle.json"
    assert "not checked" in cli("inspect", "B.edge")[1]
    assert "signed by key.pub at" in cli("inspect", "B.edge", "--trust", "key.pub")[1]
    code, out, err = cli("verify", "B.edge", "--engine", "opencv", "--trust", "key.pub")
    assert (code, "signed by key.pub" in err) == (0, True), err
    code, _, err = cli("verify", "B.edge", "--engine", "opencv", "--trust", "other.pub")
    assert (code, "no valid signature" in err, "fix:" in err) == (2, True, True)


LIVE = ("--source", "clip.mp4")
COMMANDS = {
    "verify": (),
    "evaluate": ("--data", "x"),
    "label": ("--data", "x", "--out", "labels"),
    "run": LIVE,
    "serve": ("--port", "0", *LIVE),
    "bench": (),
    "inspect": (),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_runs_before_the_signature_is_checked(
    cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def reached(*_: object, **__: object) -> None:
        raise AssertionError("an engine's command was reached")

    for name in ("verify", "evaluate", "run", "bench"):
        monkeypatch.setattr(sys.modules[f"edgeproof.cli.{name}"], f"{name}_bundle", reached)
    monkeypatch.setattr("edgeproof.dashboard.service.open_service", reached)
    given = (command, "B.edge", *COMMANDS[command])
    for environment in (False, True):
        if environment:
            monkeypatch.setenv(VARIABLE, "key.pub")
        code, out, err = cli(*given) if environment else cli(*given, "--trust", "key.pub")
        assert (code, "B.edge: not signed" in err) == (2, True), (out, err)


def test_settings_name_the_key(cli: Cli, place: Path) -> None:
    """``trust`` of a file of settings is relative to the file, as its bundle is."""
    folder = place / "site"
    folder.mkdir()
    (place / "key.pub").rename(folder / "key.pub")
    (folder / "edgeproof.toml").write_text(
        'bundle = "../B.edge"\nengine = "opencv"\ntrust = "key.pub"\n[clip]\nsource = "../clip.mp4"\n'
    )
    code, _, err = cli("run", "site/edgeproof.toml")
    assert (code, "not signed" in err) == (2, True), err
    assert cli("sign", "B.edge", "--key", "key.pem")[0] == 0
    code, _, err = cli("run", "site/edgeproof.toml")
    assert code == 0, err


def test_encrypted_keys(cli: Cli, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = serialization.load_pem_private_key(Path("key.pem").read_bytes(), None)
    Path("key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"s3cret"),
        )
    )
    code, _, err = cli("sign", "B.edge", "--key", "key.pem")
    assert (code, "not a private key that can be read" in err) == (2, True), err
    for password in ("wr0ng", "s3cret"):
        monkeypatch.setenv("EDGEPROOF_SIGN_PASSWORD", password)
        code, out, err = cli("sign", "B.edge", "--key", "key.pem")
        assert code == (0 if password == "s3cret" else 2), err  # noqa: S105
        assert password not in out + err


def test_the_library(cli: Cli, place: Path) -> None:
    key = make_key(place / "ca.pem", place / "ca.pub")
    make_certificate(place / "ca.crt", "ca", key, authority=True)
    leaf = make_key(place / "leaf.pem", place / "leaf.pub")
    make_certificate(place / "leaf.crt", "leaf", leaf, ("ca", key))
    signature = edgeproof.sign("B.edge", "leaf.pem", certificate="leaf.crt")
    assert signature.subject == "CN=leaf"
    assert "certificate of CN=leaf" in cli("sign", "B.edge", "--key", "leaf.pem", "--certificate", "leaf.crt")[1]
    bundle = edgeproof.Bundle.open("B.edge", trust="ca.crt")
    assert edgeproof.verify(bundle, engine="opencv").passed
    with edgeproof.Classifier("B.edge", engine="opencv", trust="ca.crt") as classifier:
        assert classifier.bundle.signed is not None
    with pytest.raises(edgeproof.InputError, match="no valid signature"):
        edgeproof.Classifier("B.edge", engine="opencv", trust="key.pub")
