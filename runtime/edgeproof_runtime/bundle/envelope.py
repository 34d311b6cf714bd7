"""Signature files: a Sigstore bundle with a DSSE envelope over the sha256 of every file of a folder.

The format is OpenSSF Model Signing 1.x, which the package ``model-signing`` writes and verifies.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edgeproof_runtime.bundle.manifest import is_plain
from edgeproof_runtime.errors import BundleError
from edgeproof_runtime.system.documents import parse_document
from edgeproof_runtime.system.spec import SPEC

__all__ = ["MEDIA_TYPE", "PAYLOAD_TYPE", "Envelope", "pae", "parse_time", "read_envelope", "statement_of"]

_TYPES: dict[str, str] = SPEC["signing"]
MEDIA_TYPE: str = _TYPES["media_type"]
PAYLOAD_TYPE: str = _TYPES["payload_type"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # fixed width: text sorts as time does


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signature file whose structure was checked, and nothing else: `payload` is not trusted before it is verified.

    Attributes:
        material: ``publicKey``, ``certificates`` (a chain without entries of a log) or ``keyless``.
        certificates: DER certificates, the signer's first; empty for ``publicKey``.
        payload: the signed statement.
        signature: ASN.1 DER of an ECDSA signature over `pae` of the payload.
    """

    material: str
    certificates: tuple[bytes, ...]
    payload: bytes
    signature: bytes

    def digests(self) -> dict[str, str]:
        """Return the sha256 of each signed file by its name in the folder.

        Raises:
            BundleError: the payload is not a statement of Model Signing 1.x over files.
        """
        return _digests_of(_predicate_of(self._statement()))

    def signed_at(self) -> str | None:
        """Return when the signer says that it signed, UTC; None for a signature that does not say."""
        ours = self._statement()["predicate"].get("edgeproof")
        return None if ours is None else parse_time(_get(ours, "signed_at"))

    def _statement(self) -> Any:
        statement = parse_document(self.payload, "payload", error=BundleError)
        predicate = _get(statement, "predicate")
        _require("predicate", isinstance(predicate, Mapping), predicate, "an object")
        return statement


def pae(payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding of a payload (DSSE 1.0.0, protocol.md)."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def parse_time(text: Any) -> str:
    """Return a UTC time ``2026-11-28T12:00:00Z`` unchanged.

    Raises:
        BundleError: it is written in another way.
    """
    _require("signed_at", isinstance(text, str) and _TIME.fullmatch(text), text, "UTC, such as 2026-11-28T12:00:00Z")
    return str(text)


def read_envelope(content: bytes, name: str) -> Envelope:
    """Parse a signature file.

    Raises:
        BundleError: it is not a Sigstore bundle with one DSSE signature.
    """
    bundle = parse_document(content, name, error=BundleError)
    media_type = _get(bundle, "mediaType")
    _require("mediaType", media_type == MEDIA_TYPE, media_type, MEDIA_TYPE)
    material, certificates = _material_of(_get(bundle, "verificationMaterial"))
    envelope = _get(bundle, "dsseEnvelope")
    payload_type = _get(envelope, "payloadType")
    _require("payloadType", payload_type == PAYLOAD_TYPE, payload_type, PAYLOAD_TYPE)
    signatures = _get(envelope, "signatures")
    _require("signatures", isinstance(signatures, list) and len(signatures) == 1, _count(signatures), "one signature")
    return Envelope(material, certificates, _decoded(_get(envelope, "payload")), _decoded(_get(signatures[0], "sig")))


def statement_of(name: str, digests: Mapping[str, str], ignored: Sequence[str], signed_at: str) -> dict[str, Any]:
    """Return the statement that is signed.

    Args:
        name: the folder's name, for people.
        digests: sha256 of each file by its name in the folder.
        ignored: names that the signature leaves out.
        signed_at: time of the signature; see `parse_time`.
    """
    names = sorted(digests, key=lambda name: PurePosixPath(name).parts)
    root = hashlib.sha256(b"".join(bytes.fromhex(digests[name]) for name in names)).hexdigest()
    return {
        "_type": _TYPES["statement_type"],
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": _TYPES["predicate_type"],
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(ignored),
            },
            "resources": [{"name": name, "algorithm": "sha256", "digest": digests[name]} for name in names],
            "edgeproof": {"signed_at": signed_at},  # verifiers of version 1.0 ignore other fields
        },
    }


def _material_of(found: Any) -> tuple[str, tuple[bytes, ...]]:
    _require("verificationMaterial", isinstance(found, Mapping), found, "an object")
    kinds = [kind for kind in ("publicKey", "x509CertificateChain", "certificate") if found.get(kind) is not None]
    expected = "publicKey, x509CertificateChain or certificate"
    _require("verificationMaterial", len(kinds) == 1, ", ".join(kinds) or "nothing known", expected)
    if kinds == ["publicKey"]:
        return "publicKey", ()
    if kinds == ["certificate"] or found.get("tlogEntries"):
        return "keyless", ()  # sigstore reads and checks it
    chain = _get(found["x509CertificateChain"], "certificates")
    _require("certificates", isinstance(chain, list) and 1 <= len(chain) <= 8, _count(chain), "1 to 8 certificates")
    return "certificates", tuple(_decoded(_get(one, "rawBytes")) for one in chain)


def _predicate_of(statement: Any) -> Any:
    for field, expected in (("_type", _TYPES["statement_type"]), ("predicateType", _TYPES["predicate_type"])):
        found = _get(statement, field)
        _require(field, found == expected, found, expected)
    subjects = _get(statement, "subject")
    _require("subject", isinstance(subjects, list) and len(subjects) == 1, _count(subjects), "one subject")
    predicate = statement["predicate"]
    serialization = _get(predicate, "serialization")
    for field, expected in (("method", "files"), ("hash_type", "sha256")):
        found = _get(serialization, field)
        _require(f"serialization.{field}", found == expected, found, expected)
    return {"resources": _get(predicate, "resources"), "root": _get(_get(subjects[0], "digest"), "sha256")}


def _digests_of(predicate: Mapping[str, Any]) -> dict[str, str]:
    resources = predicate["resources"]
    _require("resources", isinstance(resources, list), resources, "a list")
    digests: dict[str, str] = {}
    root = hashlib.sha256()
    for resource in resources:
        name, algorithm, digest = (_get(resource, field) for field in ("name", "algorithm", "digest"))
        _require("resource name", isinstance(name, str) and is_plain(name), name, "a plain relative path")
        _require("resource name", name not in digests, name, "each name once")
        _require(f"{name}: algorithm", algorithm == "sha256", algorithm, "sha256")
        _require(f"{name}: digest", isinstance(digest, str) and _SHA256.fullmatch(digest), digest, "64 hex digits")
        digests[name] = digest
        root.update(bytes.fromhex(digest))
    found = root.hexdigest()
    _require("subject", predicate["root"] == found, predicate["root"], f"{found}, the hash of its resources")
    return digests


def _get(found: Any, field: str) -> Any:
    if not isinstance(found, Mapping) or field not in found:
        raise BundleError(f"{field}: missing")
    return found[field]


def _require(field: str, holds: object, got: Any, expected: str) -> None:
    if not holds:
        raise BundleError(f"{field}: invalid", got=repr(got)[:200], expected=expected)


def _count(found: Any) -> Any:
    return len(found) if isinstance(found, list) else found


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (AttributeError, UnicodeEncodeError, binascii.Error) as error:
        raise BundleError("base64: invalid", got=error) from error
