"""Keys, certificates, signed bundles, and what can be done to them."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bundles import make_bundle, transposed_onnx
from edgeproof_export.attach import add_evidence
from edgeproof_export.signing import sign_bundle
from edgeproof_runtime.bundle.reader import Bundle

NOW = datetime.now(timezone.utc)
HEX = "0123456789abcdef" * 4


def write_signed(folder: Path) -> Path:
    """Write keys (key, other), a signed bundle A.edge with evidence, and another signed bundle B.edge."""
    for name in ("key", "other"):
        make_key(folder / f"{name}.pem", folder / f"{name}.pub")
    for name, seed in (("A", 0), ("B", 1)):
        bundle = make_bundle(folder / f"{name}.edge", model=transposed_onnx(seed=seed))
        add_evidence(bundle, "evaluate", {"kind": "evaluate", "passed": True})
        sign_bundle(bundle, folder / "key.pem")
    return folder


def make_key(private: Path, public: Path, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """Write a new private key and its public key, PEM."""
    key = ec.generate_private_key(curve())
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return key


def make_certificate(
    path: Path,
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[str, ec.EllipticCurvePrivateKey] | None = None,
    *,
    authority: bool = False,
    path_length: int | None = None,
    begin: datetime = NOW - timedelta(days=1),
    days: float = 30,
    may_sign: bool = True,
) -> None:
    """Write a PEM certificate; without an issuer it is its own."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    by, signing = issuer or (subject, key)
    usage = x509.KeyUsage(
        digital_signature=may_sign and not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .sign(signing, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


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


def sign_bundle_again(bundle: Path, key: str) -> None:
    signature_of(bundle).unlink()
    sign_bundle(Bundle.open(bundle), bundle.parent / f"{key}.pem")


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
