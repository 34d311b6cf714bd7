"""Signed bundles: what a trusted signature covers is used, and anything else is refused before it is read."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bundles import make_bundle, tiny_onnx
from edgeproof_export.attach import add_evidence, attach
from edgeproof_export.bundle import new_bundle
from edgeproof_export.compile import compile_bundle
from edgeproof_export.signing import sign_bundle
from edgeproof_runtime.bundle import trust as trusted_engines
from edgeproof_runtime.bundle.envelope import read_envelope
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.signatures import VARIABLE, covered_files, require_signed
from edgeproof_runtime.bundle.trust import is_built_here, is_trusted
from edgeproof_runtime.engines.openvino import OpenVinoEngine
from edgeproof_runtime.errors import BundleError, InputError
from signing import NOW, make_certificate, make_key

HEX = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROOF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(trusted_engines.VARIABLE, "")
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keys, a signed bundle A.edge with evidence, and another signed bundle B.edge."""
    folder = tmp_path_factory.mktemp("signed")
    for name in ("key", "other"):
        make_key(folder / f"{name}.pem", folder / f"{name}.pub")
    for name, seed in (("A", 0), ("B", 1)):
        bundle = make_bundle(folder / f"{name}.edge", model=tiny_onnx(seed=seed))
        add_evidence(bundle, "evaluate", {"kind": "evaluate", "passed": True})
        sign_bundle(bundle, folder / "key.pem")
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of `made` to change."""
    return Path(shutil.copytree(made, tmp_path / "made"))


def signature_of(bundle: Path) -> Path:
    (path,) = (bundle / "signatures").iterdir()
    return path


def edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return a change of the signature file's JSON."""

    def work(bundle: Path) -> None:
        path = signature_of(bundle)
        document = json.loads(path.read_bytes())
        change(document)
        path.write_text(json.dumps(document))

    return work


def of_payload(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return a change of the signed statement, which leaves the signature as it is."""

    def work(document: dict[str, Any]) -> None:
        envelope = document["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement)
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

    return edited(work)


def changed_attachment(bundle: Path) -> None:
    (payload,) = (bundle / "attachments").glob("*.evaluate.json")
    payload.write_bytes(payload.read_bytes().replace(b"true", b"nope"))


def swapped(name: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).write_bytes((bundle.parent / "B.edge" / name).read_bytes()) and None


def linked(bundle: Path) -> None:
    target = bundle.parent / "elsewhere"
    (bundle / "labels.txt").rename(target)
    (bundle / "labels.txt").symlink_to(target)


def renamed(bundle: Path) -> None:
    (bundle / "golden/0.png").rename(bundle / "golden/9.png")


def replayed(bundle: Path) -> None:
    """The signature, manifest and files of another bundle that the same key signed, but one file of this one."""
    shutil.copytree(bundle.parent / "B.edge", bundle, dirs_exist_ok=True)


TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "not signed": (lambda bundle: shutil.rmtree(bundle / "signatures"), "not signed"),
    "a changed file": (lambda bundle: (bundle / "labels.txt").write_text("a\nb\nc\nd\ne\n"), "changed.*labels.txt"),
    "an added file": (lambda bundle: (bundle / "extra.onnx").write_bytes(b"x"), "not signed.*extra.onnx"),
    "an added library": (lambda bundle: (bundle / "attachments/x.so").write_bytes(b"x"), "not signed.*x.so"),
    "a removed file": (lambda bundle: (bundle / "golden/0.png").unlink(), "missing.*golden/0.png"),
    "a renamed file": (renamed, "missing.*golden/0.png"),
    "a link": (linked, "symbolic link.*labels.txt"),
    "a linked folder": (lambda bundle: (bundle / "more").symlink_to("/usr"), "symbolic link.*more"),
    "a FIFO": (lambda bundle: os.mkfifo(bundle / "fifo"), "not a regular file.*fifo"),
    "a swapped model": (swapped("model.onnx"), "changed.*model.onnx"),
    "swapped golden outputs": (swapped("golden/0.logits.npy"), "changed.*golden/0.logits.npy"),
    "a swapped manifest": (swapped("bundle.json"), "changed.*bundle.json"),
    "a changed attachment": (changed_attachment, "changed.*attachments/"),
    "a removed attachment": (lambda bundle: shutil.rmtree(bundle / "attachments"), "missing.*attachments/"),
    "the signature of another bundle": (
        lambda bundle: signature_of(bundle).write_bytes(signature_of(bundle.parent / "B.edge").read_bytes()),
        "missing.*attachments/",
    ),
    "another key": (lambda bundle: sign_bundle_again(bundle, "other"), "another key"),
    "a truncated file": (lambda bundle: os.truncate(signature_of(bundle), 300), "invalid JSON"),
    "an empty file": (lambda bundle: os.truncate(signature_of(bundle), 0), "invalid JSON"),
    "garbage": (lambda bundle: signature_of(bundle).write_bytes(os.urandom(500)), "invalid JSON"),
    "a signature of zeros": (
        edited(lambda one: one["dsseEnvelope"]["signatures"][0].update(sig="AAAA")),
        "wrong, or made with another key",
    ),
    "no signature in the envelope": (edited(lambda one: one["dsseEnvelope"].update(signatures=[])), "signatures: inv"),
    "another media type": (edited(lambda one: one.update(mediaType="text/plain")), "mediaType: invalid"),
    "another payload type": (
        edited(lambda one: one["dsseEnvelope"].update(payloadType="text/plain")),
        "payloadType: invalid",
    ),
    "base64 with garbage": (edited(lambda one: one["dsseEnvelope"].update(payload="!e30=")), "base64: invalid"),
    "a key that claims to be a certificate": (
        edited(
            lambda one: one.update(verificationMaterial={"x509CertificateChain": {"certificates": [{"rawBytes": ""}]}})
        ),
        "another kind of signature.*certificates",
    ),
    "a key that claims to be keyless": (
        edited(lambda one: one.update(verificationMaterial={"certificate": {"rawBytes": ""}})),
        "another kind of signature.*keyless",
    ),
    "no verification material": (edited(lambda one: one.update(verificationMaterial={})), "verificationMaterial: inv"),
    "a changed digest": (
        of_payload(lambda one: one["predicate"]["resources"][0].update(digest=HEX)),
        "wrong, or made with another key",
    ),
    "another algorithm": (
        of_payload(lambda one: one["predicate"]["resources"][0].update(algorithm="md5")),
        "wrong, or made with another key",
    ),
}


def sign_bundle_again(bundle: Path, key: str) -> None:
    signature_of(bundle).unlink()
    sign_bundle(Bundle.open(bundle), bundle.parent / f"{key}.pem")


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


# Signed by the trusted key, so that only the content of the statement is wrong.
STATEMENTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a path that escapes": (
        lambda one: one["predicate"]["resources"][0].update(name="../bundle.json"),
        "resource name",
    ),
    "an absolute path": (lambda one: one["predicate"]["resources"][0].update(name="/etc/passwd"), "resource name"),
    "a name twice": (
        lambda one: one["predicate"]["resources"].append(one["predicate"]["resources"][0]),
        "each name once",
    ),
    "a weak algorithm": (lambda one: one["predicate"]["resources"][0].update(algorithm="md5"), "expected sha256"),
    "a short digest": (lambda one: one["predicate"]["resources"][0].update(digest="00"), "64 hex digits"),
    "a root of other digests": (lambda one: one["subject"][0]["digest"].update(sha256=HEX), "hash of its resources"),
    "shards": (lambda one: one["predicate"]["serialization"].update(method="shards"), "serialization.method"),
    "another predicate": (lambda one: one.update(predicateType="https://slsa.dev/provenance/v1"), "predicateType"),
    "another statement": (lambda one: one.update(_type="https://in-toto.io/Statement/v0.1"), "_type: invalid"),
    "two subjects": (lambda one: one["subject"].append(one["subject"][0]), "one subject"),
    "no resources": (lambda one: one["predicate"].pop("resources"), "resources: missing"),
    "a list": (lambda one: one.update(predicate=[]), "predicate"),
    "a time in words": (lambda one: one["predicate"].update(edgeproof={"signed_at": "yesterday"}), "signed_at"),
    "nothing": (lambda one: (one.clear(), one.update(predicate={})), "_type: missing"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_signed_statements_that_say_something_else(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    change, said = STATEMENTS[name]
    from edgeproof_export import signing

    original = signing.statement_of

    def altered(*given: Any) -> dict[str, Any]:
        statement = original(*given)
        change(statement)
        return statement

    monkeypatch.setattr(signing, "statement_of", altered)
    sign_bundle_again(place / "A.edge", "key")
    with pytest.raises(BundleError, match=said):
        require_signed(place / "A.edge", place / "key.pub")


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
