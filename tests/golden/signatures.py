"""Golden signatures, right and wrong, which pytest and ctest read alike. Run as a script it writes ``signatures.json``.

Keys are made anew each time and not kept. Those in ``model_signing/`` are of the project
sigstore/model-transparency (Apache-2.0, scripts/tests), made by its own tool in the version that their name says.
"""
# ruff: noqa: E501 - tables of cases, one to a line

from __future__ import annotations

import base64
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402

from edgeproof_export.signing import _certificates, _document, _ecdsa, _private_key  # noqa: E402
from edgeproof_runtime.bundle.envelope import pae, statement_of  # noqa: E402
from signing import NOW, make_certificate, make_key  # noqa: E402

PUBLISHED = HERE / "model_signing"
DIGESTS = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("bundle.json", "model.onnx", "golden/0.png")}
SIGNED_AT = "2026-11-28T12:00:00Z"
TIME = "2026-11-29T12:00:00Z"
Change = Callable[[dict[str, Any]], object]


def cases(folder: Path) -> list[dict[str, Any]]:
    for name, curve in (("p256", ec.SECP256R1), ("p384", ec.SECP384R1), ("p521", ec.SECP521R1), ("k256", ec.SECP256K1)):
        make_key(folder / f"{name}.pem", folder / f"{name}.pub", curve)
    weak = rsa.generate_private_key(65537, 2048).public_key()
    (folder / "rsa.pub").write_bytes(
        weak.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return [
        *of_keys(folder),
        *of_files(folder),
        *of_statements(folder),
        *of_policies(folder),
        *of_certificates(folder),
        *published(),
    ]


def signature(
    folder: Path,
    key: str = "p256",
    change: Change | None = None,
    *,
    certificate: str | None = None,
    chain: tuple[str, ...] = (),
) -> str:
    """A signature whose statement was changed before it was signed."""
    private, public = _private_key(folder / f"{key}.pem", None)
    statement = statement_of("b.edge", DIGESTS, ["signatures"], SIGNED_AT)
    if change is not None:
        change(statement)
    payload = json.dumps(statement).encode()
    given = (
        []
        if certificate is None
        else _certificates(folder / f"{certificate}.crt", [folder / f"{name}.crt" for name in chain], public)
    )
    return _document(payload, _ecdsa(private, pae(payload)), public, given).decode()


def altered(text: str, change: Change) -> str:
    """A signature file that was changed after it was signed."""
    document = json.loads(text)
    change(document)
    return json.dumps(document)


def case(what: str, trust: dict[str, str], signed: str, *, now: str = TIME, **expected: Any) -> dict[str, Any]:
    if "refused" not in expected:
        expected = {"signer": next(iter(trust)), "signed_at": SIGNED_AT, "digests": DIGESTS, **expected}
    return {"what": what, "trust": trust, "now": now, "signature": signed, **expected}


def files(folder: Path, *names: str) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in names}


def of_keys(folder: Path) -> list[dict[str, Any]]:
    found = [
        case(f"a key on {name}", files(folder, f"{name}.pub"), signature(folder, name))
        for name in ("p256", "p384", "p521")
    ]
    wrong = "wrong, or made with another key"
    found += [
        case("another key", files(folder, "p256.pub"), signature(folder, "p384"), refused=wrong),
        case("another hash than the curve's", files(folder, "p384.pub"), of_another_hash(folder), refused=wrong),
        case("a curve that is not NIST's", files(folder, "k256.pub"), signature(folder), refused="unsupported key"),
        case("RSA", files(folder, "rsa.pub"), signature(folder), refused="unsupported key"),
        case(
            "a private key",
            {"p256.pem": "-----BEGIN " + "PRIVATE KEY-----\n"},
            signature(folder),
            refused="is a private key",
        ),
        case("no key", {"p256.pub": "hello"}, signature(folder), refused="no key"),
        case(
            "a damaged key",
            {"p256.pub": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
            signature(folder),
            refused="not a public key",
        ),
    ]
    return found


def of_another_hash(folder: Path) -> str:
    from cryptography.hazmat.primitives import hashes

    private, public = _private_key(folder / "p384.pem", None)
    payload = json.dumps(statement_of("b.edge", DIGESTS, [], SIGNED_AT)).encode()
    return _document(payload, private.sign(pae(payload), ec.ECDSA(hashes.SHA256())), public, []).decode()


def of_files(folder: Path) -> list[dict[str, Any]]:
    good, trust = signature(folder), files(folder, "p256.pub")
    envelope: Callable[[dict[str, Any]], dict[str, Any]] = lambda one: one["dsseEnvelope"]  # noqa: E731
    changes: tuple[tuple[str, Change, str], ...] = (
        ("another media type", lambda one: one.update(mediaType="text/plain"), "mediaType: invalid"),
        ("another payload type", lambda one: envelope(one).update(payloadType="text/plain"), "payloadType: invalid"),
        ("no payload", lambda one: envelope(one).pop("payload"), "payload: missing"),
        ("no signature", lambda one: envelope(one).update(signatures=[]), "signatures: invalid"),
        ("two signatures", lambda one: envelope(one)["signatures"].append(envelope(one)["signatures"][0]), "signatures: invalid"),
        ("signatures that are no list", lambda one: envelope(one).update(signatures={}), "signatures: invalid"),
        ("a signature of zeros", lambda one: envelope(one)["signatures"][0].update(sig="AAAA"), "wrong, or made"),
        ("an empty signature", lambda one: envelope(one)["signatures"][0].update(sig=""), "wrong, or made"),
        ("a number as signature", lambda one: envelope(one)["signatures"][0].update(sig=7), "base64: invalid"),
        ("base64 of another alphabet", lambda one: envelope(one)["signatures"][0].update(sig="__-="), "base64: invalid"),
        ("base64 without padding", lambda one: envelope(one)["signatures"][0].update(sig="AAA"), "base64: invalid"),
        ("base64 with a line feed", lambda one: envelope(one)["signatures"][0].update(sig="AA\nA="), "base64: invalid"),
        ("another payload", lambda one: envelope(one).update(payload=base64.b64encode(b"{}").decode()), "wrong, or made"),
        ("no material", lambda one: one.update(verificationMaterial={}), "verificationMaterial: invalid"),
        ("material that is a list", lambda one: one.update(verificationMaterial=[]), "verificationMaterial: invalid"),
        ("two kinds of material", lambda one: one["verificationMaterial"].update(certificate={}), "verificationMaterial: invalid"),
        ("certificates in place of the key", lambda one: one.update(
            verificationMaterial={"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}}), "another kind"),
        ("keyless in place of the key", lambda one: one.update(verificationMaterial={"certificate": {}}), "another kind"),
        ("an empty chain", lambda one: one.update(
            verificationMaterial={"x509CertificateChain": {"certificates": []}}), "certificates: invalid"),
    )  # fmt: skip
    found = [case(what, trust, altered(good, change), refused=said) for what, change, said in changes]
    texts = {"nothing": "", "half a file": good[: len(good) // 2], "a byte order mark": "\ufeff" + good, "a list": "[]",
             "a key twice": good.replace("{", '{"mediaType": "a",', 1)}  # fmt: skip
    said = {"a list": "mediaType: missing"}
    return found + [case(what, trust, text, refused=said.get(what, "invalid JSON")) for what, text in texts.items()]


def of_statements(folder: Path) -> list[dict[str, Any]]:
    """Signed by the trusted key, so that only what the statement says is wrong."""
    trust = files(folder, "p256.pub")
    resources: Callable[[dict[str, Any]], list[dict[str, Any]]] = lambda one: one["predicate"]["resources"]  # noqa: E731
    changes: tuple[tuple[str, Change, str], ...] = (
        ("a path that escapes", lambda one: resources(one)[0].update(name="../bundle.json"), "resource name"),
        ("an absolute path", lambda one: resources(one)[0].update(name="/etc/passwd"), "resource name"),
        ("a path with dots inside", lambda one: resources(one)[0].update(name="a/../bundle.json"), "resource name"),
        ("a path with a backslash", lambda one: resources(one)[0].update(name="..\\x"), "resource name"),
        ("an empty name", lambda one: resources(one)[0].update(name=""), "resource name"),
        ("a name twice", lambda one: resources(one).append(resources(one)[0]), "resource name"),
        ("a weak algorithm", lambda one: resources(one)[0].update(algorithm="md5"), "algorithm: invalid"),
        ("a short digest", lambda one: resources(one)[0].update(digest="00"), "digest: invalid"),
        ("a digest in capitals", lambda one: resources(one)[0].update(digest="A" * 64), "digest: invalid"),
        (
            "a root of other digests",
            lambda one: one["subject"][0]["digest"].update(sha256="0" * 64),
            "subject: invalid",
        ),
        ("two subjects", lambda one: one["subject"].append(one["subject"][0]), "subject: invalid"),
        ("shards", lambda one: one["predicate"]["serialization"].update(method="shards"), "serialization.method"),
        ("BLAKE3", lambda one: one["predicate"]["serialization"].update(hash_type="blake3"), "serialization.hash_type"),
        ("another predicate", lambda one: one.update(predicateType="https://slsa.dev/provenance/v1"), "predicateType"),
        ("another statement", lambda one: one.update(_type="https://in-toto.io/Statement/v0.1"), "_type: invalid"),
        ("no resources", lambda one: one["predicate"].pop("resources"), "resources: missing"),
        ("a predicate that is a list", lambda one: one.update(predicate=[]), "predicate"),
        ("a time in words", lambda one: one["predicate"].update(edgeproof={"signed_at": "now"}), "signed_at: invalid"),
        (
            "a time that is a number",
            lambda one: one["predicate"].update(edgeproof={"signed_at": 1}),
            "signed_at: invalid",
        ),
    )
    found = [case(what, trust, signature(folder, change=change), refused=said) for what, change, said in changes]
    found.append(case("no time", trust, signature(folder, change=without_time), signed_at=None))
    unknown: Change = lambda one: one["predicate"].update(other=[1, {"a": None}])  # noqa: E731
    return [*found, case("a field of a later version", trust, signature(folder, change=unknown))]


def without_time(statement: dict[str, Any]) -> None:
    del statement["predicate"]["edgeproof"]


def of_policies(folder: Path) -> list[dict[str, Any]]:
    good, keys = signature(folder), files(folder, "p256.pub", "p384.pub")
    release = '[[signer]]\nname = "release"\nkey = "p256.pub"\n'
    other = '[[signer]]\nname = "other"\nkey = "p384.pub"\n'

    def policy(what: str, text: str, signed: str = good, **expected: Any) -> dict[str, Any]:
        return case(what, {"policy.toml": text, **keys}, signed, **expected)

    accepted = {
        "one signer": release,
        "the second of two": f'# ours\n\n{other}  [[signer]] # release\n name = "release" # by hand\nkey="p256.pub"\n',
        "times that hold": f"signed_after = 2026-11-01T00:00:00Z\n{release}not_before = 2026-01-01T00:00:00Z\n"
        "not_after = 2027-01-01T00:00:00Z # next year\r\n",
    }
    refused = {
        "another signer": (other, "other: signature: wrong"),
        "expired": (f"{release}not_after = 2026-01-01T00:00:00Z\n", "expired"),
        "not trusted yet": (f"{release}not_before = 2027-01-01T00:00:00Z\n", "not trusted yet"),
        "signed too long ago": (f"signed_after = 2026-11-29T00:00:00Z\n{release}", "signed too long ago"),
        "an unknown field": (f"trust_all = \"yes\"\n{release}", "unknown field"),
        "an unknown field of a signer": (f'{release}until = "x"\n', "unknown field"),
        "no signer": ("", "signer: missing"),
        "no key": ('[[signer]]\nname = "x"\n', "requires one of"),
        "no name": ('[[signer]]\nkey = "p256.pub"\n', "signer.name"),
        "a key and certificates": (f'{release}certificates = "p256.pub"\n', "requires one of"),
        "a key in place of certificates": ('[[signer]]\nname = "x"\ncertificates = "p256.pub"\n', "another kind"),
        "a key that is not there": ('[[signer]]\nname = "x"\nkey = "gone.pub"\n', "cannot be read"),
        "a time in words": (f'{release}not_after = "soon"\n', "not_after: invalid"),
        "not TOML": ("key = \n", "policy.toml: "),
        "a name twice": (f'{release}key = "p384.pub"\n', "policy.toml: "),
        "no issuer": ('[[signer]]\nname = "x"\nidentity = "a@b.c"\n', "issuer: missing"),
        "an identity, and a key's signature": ('[[signer]]\nname = "x"\nidentity = "a@b.c"\nissuer = "https://b.c"\n',
                                                "another kind"),
    }  # fmt: skip
    found = [policy(f"policy: {what}", text, signer="release") for what, text in accepted.items()]
    found += [policy(f"policy: {what}", text, refused=said) for what, (text, said) in refused.items()]
    old = signature(folder, change=without_time)
    text = f"signed_after = 2026-11-01T00:00:00Z\n{release}"
    return [*found, policy("policy: a signature without a time", text, old, refused="signed too long ago")]


def of_certificates(folder: Path) -> list[dict[str, Any]]:
    root, middle, leaf, impostor = (
        make_key(folder / f"{name}.pem", folder / f"{name}.pub") for name in ("root", "middle", "leaf", "impostor")
    )
    now = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"

    def certificate(name: str, key: Any, *given: Any, **more: Any) -> None:
        make_certificate(folder / f"{name}.crt", name.split("-")[0], key, *given, **more)

    certificate("root", root, authority=True)
    certificate("middle", middle, ("root", root), authority=True, path_length=0)
    certificate("leaf", leaf, ("middle", middle))
    certificate("leaf-mute", leaf, ("middle", middle), may_sign=False)
    certificate("leaf-short", leaf, ("middle", middle), days=0.5)
    certificate("leaf-forged", leaf, ("root", impostor))
    certificate("middle-plain", middle, ("root", root))
    certificate("second", impostor, ("middle", middle), authority=True)
    certificate("leaf-deep", leaf, ("second", impostor))

    def chained(
        what: str, authority: str, leaf: str, chain: tuple[str, ...], at: str = now, **expected: Any
    ) -> dict[str, Any]:
        signed = signature(folder, "leaf", certificate=leaf, chain=chain)
        given = {"signer": f"{authority}.crt (CN=leaf)"} if "refused" not in expected else {}
        return case(f"certificates: {what}", files(folder, f"{authority}.crt"), signed, now=at, **given, **expected)

    later, earlier = (f"{NOW + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (31, -2))
    unknown = "not issued by a trusted certificate"
    return [
        chained("a chain", "root", "leaf", ("middle",)),
        chained("a chain with its root", "root", "leaf", ("middle", "root")),
        chained("the issuer", "middle", "leaf", ()),
        chained("the signer's own", "leaf", "leaf", ()),
        chained("half a chain", "root", "leaf", (), refused=unknown),
        chained("expired", "root", "leaf", ("middle",), later, refused="expired"),
        chained("the signer's expired", "root", "leaf-short", ("middle",), refused="expired"),
        chained("not valid yet", "root", "leaf", ("middle",), earlier, refused="not valid yet"),
        chained("not for signatures", "root", "leaf-mute", ("middle",), refused="must not sign"),
        chained("an issuer without authority", "root", "leaf", ("middle-plain",), refused="not of an authority"),
        chained("an impostor of the issuer's name", "root", "leaf-forged", (), refused=unknown),
        chained("a longer chain than allowed", "root", "leaf-deep", ("second", "middle"), refused="chain too long"),
        case("certificates: garbage", files(folder, "root.crt"), altered(signature(folder), lambda one: one.update(
            verificationMaterial={"x509CertificateChain": {"certificates": [{"rawBytes": "AAAA"}]}})), refused="cannot be read"),
        case("certificates: of a key's signature", files(folder, "root.crt"), signature(folder), refused="another kind"),
        case("certificates: a key for a chain", files(folder, "leaf.pub"),
             signature(folder, "leaf", certificate="leaf", chain=("middle",)), refused="another kind"),
    ]  # fmt: skip


def published() -> list[dict[str, Any]]:
    """Signatures that `model-signing` made."""
    digests = {
        "signme-1": "f6310066c7320497ea554260c32c43660bff648cb2a61194832cc086077085e1",
        "signme-2": "32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028",
    }
    of_key = {**digests, "signme-1": "bc9a717db6064a32cbe9eae6fc40651dd6d36ef1757183f590eff2b1765d7ebc"}
    key, authority = files(PUBLISHED, "signing-key-pub.pem"), files(PUBLISHED, "ca-cert.pem")
    found = []
    for name, trust, expected in (
        ("v1.1.0-key", key, {"digests": of_key}),
        ("v1.1.0-certificate", authority, {"signer": "ca-cert.pem (CN=intermediate-ca)", "digests": digests}),
        ("v0.3.1-certificate", authority, {"signer": "ca-cert.pem (CN=intermediate-ca)", "digests": digests}),
        ("v1.1.0-sigstore", key, {"refused": "another kind"}),
    ):
        signed = (PUBLISHED / f"{name}.sig").read_text()
        more = expected if "refused" in expected else {"signed_at": None, **expected}
        found.append(case(f"model-signing {name}", trust, signed, now="2026-11-29T12:00:00Z", **more))
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = cases(Path(folder))
    (HERE / "signatures.json").write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
