"""Signatures of the package `model-signing` are verified here, and ours by it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import edgeproof
from bundles import make_bundle
from edgeproof_export.attach import add_evidence
from edgeproof_export.signing import sign_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.signatures import require_signed
from edgeproof_runtime.errors import BundleError, InputError, UnavailableError
from signing import make_certificate, make_key


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model-signing")
    add_evidence(make_bundle(folder / "A.edge"), "evaluate", {"kind": "evaluate"})
    for name, curve in (("p256", ec.SECP256R1), ("p384", ec.SECP384R1), ("p521", ec.SECP521R1)):
        make_key(folder / f"{name}.pem", folder / f"{name}.pub", curve)
    root, leaf = (make_key(folder / f"{name}.pem", folder / f"{name}.pub") for name in ("root", "leaf"))
    make_certificate(folder / "root.crt", "root", root, authority=True)
    make_certificate(folder / "leaf.crt", "leaf", leaf, ("root", root))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made"))


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    """The package `model-signing`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports
        yield pytest.importorskip("model_signing")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["p256", "p384", "p521"])
def test_both_directions_with_keys(place: Path, key: str, tool: Any) -> None:
    bundle, public = place / "A.edge", place / f"{key}.pub"
    signature = sign_bundle(Bundle.open(bundle), place / f"{key}.pem").path
    tool.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(bundle, signature)
    labels = (bundle / "labels.txt").read_bytes()
    (bundle / "labels.txt").write_text("a\n")
    with pytest.raises(ValueError, match="Hash mismatch"):
        tool.verifying.Config().use_elliptic_key_verifier(public_key=public).verify(bundle, signature)
    (bundle / "labels.txt").write_bytes(labels)
    signature.unlink()
    signer = tool.signing.Config().use_elliptic_key_signer(private_key=place / f"{key}.pem")
    signer.set_hashing_config(ignoring(tool, bundle)).sign(bundle, bundle / "signatures/theirs.sig")
    signed = require_signed(bundle, public)
    assert (signed.signature, signed.signed_at) == ("signatures/theirs.sig", None)
    (bundle / "labels.txt").write_text("a\n")
    with pytest.raises(BundleError, match="changed"):
        require_signed(bundle, public)


@pytest.mark.slow
def test_both_directions_with_certificates(place: Path, tool: Any) -> None:
    bundle, leaf, root = place / "A.edge", place / "leaf.crt", place / "root.crt"
    signature = sign_bundle(Bundle.open(bundle), place / "leaf.pem", certificate=leaf, chain=[root]).path
    tool.verifying.Config().use_certificate_verifier(certificate_chain=[root]).verify(bundle, signature)
    signature.unlink()
    tool.signing.Config().use_certificate_signer(
        private_key=place / "leaf.pem", signing_certificate=leaf, certificate_chain=[root]
    ).set_hashing_config(ignoring(tool, bundle)).sign(bundle, bundle / "signatures/theirs.sig")
    assert require_signed(bundle, root).signer == "root.crt (CN=leaf)"


def ignoring(tool: Any, bundle: Path) -> Any:
    """Leave the signature out, as the tool's command does."""
    return tool.hashing.Config().set_ignored_paths(paths=[bundle / "signatures"], ignore_git_paths=True)


def test_signing_again_replaces_the_signature_of_the_same_key(place: Path) -> None:
    bundle = Bundle.open(place / "A.edge")
    first = sign_bundle(bundle, place / "p256.pem")
    add_evidence(bundle, "bench", {"kind": "bench"})
    second = sign_bundle(bundle, place / "p256.pem")
    third = sign_bundle(bundle, place / "p384.pem")
    assert first.path == second.path != third.path
    assert len(second.files) == len(first.files) + 2 == len(third.files)
    assert Bundle.open(bundle.path, trust=place / "p256.pub").read_evidence("bench") == {"kind": "bench"}
    assert second.to_json()["schema"] == "edgeproof.sign/1"
    assert json.loads(json.dumps(second.to_json()))["key_sha256"].startswith(second.path.stem)


def test_what_is_not_signed(place: Path) -> None:
    bundle = Bundle.open(place / "A.edge")
    (bundle.path / "link").symlink_to("labels.txt")
    with pytest.raises(BundleError, match="symbolic link"):
        sign_bundle(bundle, place / "p256.pem")
    (bundle.path / "link").unlink()
    (bundle.path / "labels.txt").write_text("a\n")
    with pytest.raises(InputError, match="modified"):
        sign_bundle(bundle, place / "p256.pem")
    assert not (bundle.path / "signatures").exists()


@pytest.mark.slow
def test_a_key_in_a_token(place: Path, tool: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The key stays in the token; devices verify its public key as any other."""
    module = next(iter(sorted(Path("/usr/lib").glob("**/libsofthsm2.so"))), None)
    program = shutil.which("softhsm2-util")
    if module is None or program is None:
        pytest.skip("softhsm2 is not installed: apt-get install softhsm2")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    for command in (
        ["--init-token", "--free", "--label", "release", "--so-pin", "1234", "--pin", "1234"],
        ["--import", str(place / "p256.pem"), "--token", "release", "--label", "key", "--id", "a1", "--pin", "1234"],
    ):
        subprocess.run([program, *command], check=True, capture_output=True)
    bundle = place / "A.edge"
    uri = f"pkcs11:token=release;object=key?module-path={module}&pin-value="
    signature = edgeproof.sign(bundle, pkcs11=f"{uri}1234")
    signed = require_signed(bundle, place / "p256.pub")
    assert signed.signature == f"signatures/{signature.path.name}"
    assert set(signed.digests) == set(signature.files)
    signature.path.unlink()
    with pytest.raises(InputError, match="cannot be signed") as refused:
        edgeproof.sign(bundle, pkcs11=f"{uri}4321")
    assert "4321" not in str(refused.value)
    with pytest.raises(InputError, match="requires one of"):
        edgeproof.sign(bundle, place / "p256.pem", pkcs11=uri)
    with pytest.raises(InputError, match="requires one of"):
        edgeproof.sign(bundle)


def test_the_extra_is_named_where_it_is_missing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(UnavailableError, match=r"edgeproof\[sign\]"):
        edgeproof.sign(place / "A.edge", keyless=True)
