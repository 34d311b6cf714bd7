"""Signed bundles: what a trusted signature covers is used, and anything else is refused before it is read."""

from __future__ import annotations

import base64
import json
import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from edgeproof_export.attach import add_evidence, attach
from edgeproof_export.bundle import new_bundle
from edgeproof_export.compile import compile_bundle
from edgeproof_export.signing import sign_bundle
from edgeproof_runtime.bundle import trust as trusted_engines
from edgeproof_runtime.bundle.envelope import read_envelope
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.signatures import VARIABLE, Signed, covered_files, require_signed, verified
from edgeproof_runtime.bundle.trust import is_built_here, is_trusted
from edgeproof_runtime.bundle.trust_policy import TrustPolicy
from edgeproof_runtime.engines.openvino import OpenVinoEngine
from edgeproof_runtime.errors import BundleError, InputError
from signing import (
    HEX,
    NOW,
    TAMPERINGS,
    changed_attachment,
    make_certificate,
    make_key,
    sign_bundle_again,
    signature_of,
    swapped,
    write_signed,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/signatures.json").read_bytes())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(trusted_engines.VARIABLE, "")
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_signed(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` to change."""
    return Path(shutil.copytree(made, tmp_path / "made"))


def test_a_signed_bundle_opens(place: Path) -> None:
    bundle = Bundle.open(place / "A.edge", trust=place / "key.pub")
    assert bundle.signed is not None
    assert bundle.signed.signer == "key.pub"
    assert bundle.signed.digests.keys() >= {"bundle.json", "model.onnx", "golden/0.png", "labels.txt"}
    assert bundle.read_evidence("evaluate") == {"kind": "evaluate", "passed": True}
    assert not bundle.left_out
    assert "signed by key.pub at 20" in bundle.facts()["signature"]
    assert Bundle.open(place / "A.edge").signed is None


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_refused(place: Path, name: str) -> None:
    change, said = TAMPERINGS[name]
    change(place / "A.edge")
    with pytest.raises(BundleError, match=f"(?s){said}"):
        Bundle.open(place / "A.edge", trust=place / "key.pub")


def test_one_valid_signature_of_several_suffices(place: Path) -> None:
    signature = signature_of(place / "A.edge")
    for name in ("0.sig", "z.sig"):
        (signature.parent / name).write_bytes(signature.read_bytes()[:-40])
    sign_bundle(Bundle.open(place / "A.edge"), place / "other.pem")
    for key in ("key", "other"):
        assert require_signed(place / "A.edge", place / f"{key}.pub").signer == f"{key}.pub"


def test_what_is_hashed_is_what_is_used(place: Path) -> None:
    """A file that is swapped between the check and its use is refused by the digest that was signed."""
    bundle = Bundle.open(place / "A.edge", trust=place / "key.pub")
    swapped("model.onnx")(place / "A.edge")
    with pytest.raises(BundleError, match="modified"), bundle.artifact().onnx():
        pass
    swapped("golden/0.logits.npy")(place / "A.edge")
    with pytest.raises(BundleError, match="modified"):
        list(bundle.golden())


def test_the_variable_requires_a_signature(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(place / "other.pub"))
    with pytest.raises(BundleError, match="no valid signature"):
        Bundle.open(place / "A.edge")
    assert Bundle.open(place / "A.edge", trust=place / "key.pub").signed is not None
    assert Bundle.open(place / "A.edge", trust=False).signed is None
    with new_bundle(place / "C.edge") as folder:  # a writer needs none
        shutil.copytree(place / "B.edge", folder, dirs_exist_ok=True)


def test_keys(tmp_path: Path, place: Path) -> None:
    bundle = Bundle.open(place / "B.edge")
    for curve in (ec.SECP384R1, ec.SECP521R1):
        make_key(tmp_path / "p.pem", tmp_path / "p.pub", curve)
        sign_bundle(bundle, tmp_path / "p.pem")
        assert require_signed(bundle.path, tmp_path / "p.pub")
    for private, kind in (
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (rsa.generate_private_key(65537, 2048), "RSA"),
    ):
        (tmp_path / "q.pub").write_bytes(
            private.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        with pytest.raises(InputError, match=f"(?s)unsupported key.*{kind}"):
            require_signed(bundle.path, tmp_path / "q.pub")
    with pytest.raises(InputError, match="is a private key"):
        require_signed(bundle.path, place / "key.pem")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="no key"):
        require_signed(bundle.path, tmp_path / "text")
    with pytest.raises(InputError, match="cannot be read"):
        require_signed(bundle.path, tmp_path / "nothing")
    with pytest.raises(InputError, match="not a private key"):
        sign_bundle(bundle, tmp_path / "text")


def test_policies(place: Path) -> None:
    bundle = place / "A.edge"
    policy = place / "policy.toml"

    def written(text: str) -> Path:
        policy.write_text(text)
        return policy

    signer = '[[signer]]\nname = "release"\nkey = "key.pub"\n'
    other = '[[signer]]\nname = "other"\nkey = "other.pub"\n'
    assert require_signed(bundle, written(other + signer)).signer == "release"
    assert require_signed(bundle, written("signed_after = 2026-01-01T00:00:00Z\n" + signer))
    for text, said in (
        (other, "other: signature: wrong, or made with another key"),
        (signer + "not_after = 2026-01-01T00:00:00Z\n", "release: expired"),
        (signer + "not_before = 2999-01-01T00:00:00Z\n", "release: not trusted yet"),
        ("signed_after = 2999-01-01T00:00:00Z\n" + signer, "signed too long ago"),
    ):
        with pytest.raises(BundleError, match=said):
            require_signed(bundle, written(text))
    for text, said in (
        ("", "signer: missing"),
        ("key = ", "not TOML"),
        (signer + "until = 3\n", "unknown field"),
        ("trust_all = true\n" + signer, "unknown field"),
        ('[[signer]]\nname = "x"\n', "requires one of"),
        ('[[signer]]\nkey = "key.pub"\n', "signer.name"),
        (signer + 'certificates = "key.pub"\n', "requires one of"),
        ('[[signer]]\nname = "x"\ncertificates = "key.pub"\n', "another kind"),
        ('[[signer]]\nname = "x"\nidentity = "a@b.c"\n', "issuer: missing"),
        (signer + 'not_after = "soon"\n', "not_after: invalid"),
        (signer + "not_after = 2026-01-01\n", "not_after: invalid"),
        ('[[signer]]\nname = "x"\nkey = "gone.pub"\n', "cannot be read"),
    ):
        with pytest.raises(InputError, match=said):
            require_signed(bundle, written(text))
    strip_time(bundle)
    assert require_signed(bundle, written(signer)).signed_at is None
    with pytest.raises(BundleError, match=r"signed too long ago.*without a time"):
        require_signed(bundle, written("signed_after = 2026-01-01T00:00:00Z\n" + signer))


def strip_time(bundle: Path) -> None:
    """Sign as `model-signing` does, which keeps no time."""
    from edgeproof_export import signing

    original = signing.statement_of
    try:
        signing.statement_of = lambda *given: without_time(original(*given))
        sign_bundle_again(bundle, "key")
    finally:
        signing.statement_of = original


def without_time(statement: dict[str, Any]) -> dict[str, Any]:
    del statement["predicate"]["edgeproof"]
    return statement


def test_certificates(place: Path) -> None:
    folder = place
    root, middle, leaf = (make_key(folder / f"{n}.pem", folder / f"{n}.pub") for n in ("root", "middle", "leaf"))
    make_certificate(folder / "root.crt", "root", root, authority=True)
    make_certificate(folder / "middle.crt", "middle", middle, ("root", root), authority=True, path_length=0)
    make_certificate(folder / "leaf.crt", "leaf", leaf, ("middle", middle))
    bundle = Bundle.open(folder / "A.edge")

    def sign(certificate: str = "leaf", chain: tuple[str, ...] = ("middle",), key: str = "leaf") -> None:
        paths = [folder / f"{name}.crt" for name in chain]
        sign_bundle(bundle, folder / f"{key}.pem", certificate=folder / f"{certificate}.crt", chain=paths)

    signature_of(bundle.path).unlink()
    sign()
    for authority in ("root", "middle", "leaf"):
        signed = require_signed(bundle.path, folder / f"{authority}.crt")
        assert signed.signer == f"{authority}.crt (CN=leaf)"
    with pytest.raises(BundleError, match="another kind of signature"):
        require_signed(bundle.path, folder / "leaf.pub")
    for days, said in ((31, "expired"), (-2, "not valid yet")):
        with pytest.raises(BundleError, match=said):
            require_signed(bundle.path, folder / "root.crt", now=NOW + timedelta(days=days))
    sign(chain=())
    with pytest.raises(BundleError, match="not issued by a trusted certificate"):
        require_signed(bundle.path, folder / "root.crt")
    with pytest.raises(InputError, match="is of another key"):
        sign(key="root")
    with pytest.raises(InputError, match="requires --certificate"):
        sign_bundle(bundle, folder / "leaf.pem", chain=[folder / "middle.crt"])
    faults: tuple[tuple[dict[str, Any], dict[str, Any], str], ...] = (
        ({"may_sign": False}, {}, "must not sign"),
        ({}, {"authority": False}, "not of an authority"),
        ({"days": 0.5}, {}, "expired"),
        ({}, {"days": 0.5}, "expired"),
    )
    for of_leaf, of_middle, said in faults:
        make_certificate(folder / "middle.crt", "middle", middle, ("root", root), **{"authority": True, **of_middle})
        make_certificate(folder / "leaf.crt", "leaf", leaf, ("middle", middle), **of_leaf)
        sign()
        with pytest.raises(BundleError, match=said):
            require_signed(bundle.path, folder / "root.crt")
    # An impostor of the same name
    impostor = make_key(folder / "impostor.pem", folder / "impostor.pub")
    make_certificate(folder / "leaf.crt", "leaf", leaf, ("root", impostor))
    sign(chain=())
    with pytest.raises(BundleError, match="not issued by a trusted certificate"):
        require_signed(bundle.path, folder / "root.crt")
    # A chain that is longer than its authority allows
    make_certificate(folder / "middle.crt", "middle", middle, ("root", root), authority=True, path_length=0)
    make_certificate(folder / "second.crt", "second", impostor, ("middle", middle), authority=True)
    make_certificate(folder / "leaf.crt", "leaf", leaf, ("second", impostor))
    sign(chain=("second", "middle"))
    with pytest.raises(BundleError, match="chain too long"):
        require_signed(bundle.path, folder / "root.crt")


def test_what_is_added_later_is_left_out(place: Path) -> None:
    """Evidence of the device supersedes signed evidence for readers without trust; with it, the signed one counts."""
    path = place / "A.edge"
    add_evidence(Bundle.open(path), "evaluate", {"kind": "evaluate", "passed": False})
    add_evidence(Bundle.open(path), "bench", {"kind": "bench"})
    assert Bundle.open(path).read_evidence("evaluate") == {"kind": "evaluate", "passed": False}
    bundle = Bundle.open(path, trust=place / "key.pub")
    assert bundle.read_evidence("evaluate") == {"kind": "evaluate", "passed": True}
    assert bundle.read_evidence("bench") is None
    assert [part.name for part in bundle.left_out] == ["bench", "evaluate"]
    assert "not signed" in bundle.left_out[0].reason
    attach(bundle, [], drop=lambda _bundle: [("evidence", "evaluate")])
    assert covered_files(path) >= {name for name in bundle.signed.digests if "attachments" in name}  # type: ignore[union-attr]
    assert Bundle.open(path, trust=place / "key.pub").read_evidence("evaluate") is not None


def test_engines_of_signed_bundles(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reason = OpenVinoEngine.unavailable_reason()
    if reason is not None:
        pytest.skip(str(reason))
    key = place / "key.pub"
    built = compile_bundle(Bundle.open(place / "A.edge", trust=key), "openvino").bundle
    (entry,) = built.engines("openvino")
    plan, model = built.sha256(entry.path), built.sha256("model.onnx")
    assert is_built_here(plan, model)
    assert not is_built_here(plan, HEX)
    # Compiled here, after the signature: used. On another machine: left out.
    assert Bundle.open(place / "A.edge", trust=key).engines("openvino")
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "another machine's"))
    assert not is_trusted(plan)
    elsewhere = Bundle.open(place / "A.edge", trust=key)
    assert not elsewhere.engines("openvino")
    assert "not compiled on this machine" in str(elsewhere.why_left_out("engine"))
    assert not is_trusted(plan)
    # Signed with the bundle: trusted on any machine, in this process and its children.
    sign_bundle(Bundle.open(place / "A.edge"), place / "key.pem")
    assert not is_trusted(plan)
    assert Bundle.open(place / "A.edge", trust=key).engines("openvino")
    assert is_trusted(plan)


def test_signing_refuses_what_readers_leave_out(place: Path) -> None:
    changed_attachment(place / "A.edge")
    with pytest.raises(InputError, match="has parts that are not usable"):
        sign_bundle(Bundle.open(place / "A.edge"), place / "key.pem")


def test_damaged_signature_files_are_refused_in_words(place: Path) -> None:
    """Every prefix, and every changed byte that is not of a field without a meaning."""
    path = signature_of(place / "A.edge")
    whole = path.read_bytes()
    original = read_envelope(whole, path.name)
    accepted = 0
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(content)
            try:
                require_signed(place / "A.edge", place / "key.pub")
            except BundleError:
                continue
            accepted += 1
            found = read_envelope(content, path.name)
            assert (found.payload, found.signature) == (original.payload, original.signature)
    assert accepted < 10  # of the key's hint and keyid


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden["what"])
def test_golden_signatures(golden: dict[str, Any], tmp_path: Path) -> None:
    """As in ctest; ``signatures.py`` beside them makes them."""
    for name, content in golden["trust"].items():
        (tmp_path / name).write_bytes(content.encode())
    trust = tmp_path / next(iter(golden["trust"]))
    now = datetime.strptime(golden["now"], "%Y-%m-%dT%H:%M:%S%z")

    def read() -> Signed:
        return verified(golden["signature"].encode(), "signatures/a.sig", TrustPolicy.read(trust), now)

    if "refused" in golden:
        with pytest.raises(InputError, match=re.escape(golden["refused"])):
            read()
        return
    signed = read()
    assert (signed.signer, signed.signed_at) == (golden["signer"], golden["signed_at"])
    assert signed.digests == golden["digests"]


def test_damaged_certificates_are_refused_in_words(tmp_path: Path) -> None:
    """Every part of a certificate, changed: no error of the package that parses it, and none is accepted."""
    (golden,) = (one for one in GOLDEN if one["what"] == "certificates: a chain")
    (name,) = golden["trust"]
    (tmp_path / name).write_bytes(golden["trust"][name].encode())
    policy = TrustPolicy.read(tmp_path / name)
    document = json.loads(golden["signature"])
    for one in document["verificationMaterial"]["x509CertificateChain"]["certificates"]:
        whole = base64.b64decode(one["rawBytes"])
        for at in range(0, len(whole), 2):
            for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :]):
                one["rawBytes"] = base64.b64encode(content).decode()
                with pytest.raises(InputError):
                    verified(json.dumps(document).encode(), "a.sig", policy, NOW)
        one["rawBytes"] = base64.b64encode(whole).decode()


@pytest.mark.slow
def test_keyless_signatures(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that `model-signing` made with an identity, verified offline with the trust root of the package sigstore."""
    models = pytest.importorskip("sigstore.models")
    fetched = models.ClientTrustConfig.production
    monkeypatch.setattr(models.ClientTrustConfig, "production", lambda **_: fetched(offline=True))
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("HOME", str(tmp_path))
    content = (Path(__file__).parents[2] / "golden/model_signing/v1.1.0-sigstore.sig").read_bytes()
    policy = place / "policy.toml"
    issuer = "https://sigstore.verify.ibm.com/oauth2"

    def read(identity: str, given: bytes = content) -> Signed:
        policy.write_text(f'[[signer]]\nname = "ci"\nidentity = "{identity}"\nissuer = "{issuer}"\n')
        return verified(given, "a.sig", TrustPolicy.read(policy), NOW)

    assert read("stefanb@us.ibm.com").digests.keys() == {"signme-1", "signme-2"}
    with pytest.raises(BundleError, match="keyless signature: not valid"):
        read("someone@else.com")
    other = json.loads(content)
    other["dsseEnvelope"]["payload"] = base64.b64encode(b"{}").decode()
    with pytest.raises(BundleError, match="keyless signature: not valid"):
        read("stefanb@us.ibm.com", json.dumps(other).encode())
    with pytest.raises(BundleError, match="another kind of signature"):
        require_signed(place / "A.edge", policy)
