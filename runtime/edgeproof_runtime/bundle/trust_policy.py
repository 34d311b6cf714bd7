"""Whose signatures count: a public key, certificates of authorities, or a policy file that names several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeproof_runtime.bundle.envelope import Envelope
from edgeproof_runtime.bundle.keyless import Identity
from edgeproof_runtime.bundle.signing_keys import Authorities, PublicKey
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.system.compat import tomllib
from edgeproof_runtime.system.regular import read_regular

__all__ = ["Signer", "TrustPolicy"]

_MAX_BYTES = 1 << 20
_FIELDS = {"signed_after", "signer"}
_SIGNER_FIELDS = {"name", "key", "certificates", "identity", "issuer", "not_before", "not_after"}
_EXPECTED = "a PEM public key, PEM certificates, or a policy NAME.toml"


@dataclass(frozen=True, slots=True)
class Signer:
    """Someone whose signatures count.

    Attributes:
        name: for people.
        check: a key, authorities or an identity, which verifies a signature.
        not_before, not_after: time in which this signer's signatures count; None without a limit.
    """

    name: str
    check: PublicKey | Authorities | Identity
    not_before: datetime | None = None
    not_after: datetime | None = None

    def verify(self, envelope: Envelope, content: bytes, now: datetime) -> str:
        """Check a signature.

        Args:
            envelope: the signature.
            content: its file, as `Identity` needs it.
            now: the present time.

        Returns:
            The signer: its name, and the subject of a certificate.

        Raises:
            BundleError: the signature is not valid, not of this signer, or the signer's time is over.
        """
        if self.not_before is not None and now < self.not_before:
            raise BundleError("not trusted yet", got=_text(now), expected=f"not_before {_text(self.not_before)}")
        if self.not_after is not None and now > self.not_after:
            raise BundleError("expired", got=_text(now), expected=f"not_after {_text(self.not_after)}")
        wanted = {PublicKey: "publicKey", Authorities: "certificates", Identity: "keyless"}[type(self.check)]
        if envelope.material != wanted:
            raise BundleError("another kind of signature", got=envelope.material, expected=wanted)
        if isinstance(self.check, Authorities):
            return f"{self.name} ({self.check.verify(envelope, now)})"
        if isinstance(self.check, Identity):
            self.check.verify(envelope, content)
        else:
            self.check.verify(envelope)
        return self.name


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Whose signatures count, and since when.

    Attributes:
        path: file that was read.
        signers: one valid signature of any of them suffices.
        signed_after: oldest time of a signature, ``2026-11-28T12:00:00Z``; None without a limit.
    """

    path: Path
    signers: tuple[Signer, ...]
    signed_after: str | None = None

    @classmethod
    def read(cls, path: Path) -> TrustPolicy:
        """Read a public key, certificates or a policy.

        Raises:
            InputError: the file cannot be read, is none of them, or has an unknown or invalid field.
            UnavailableError: the package that verifies signatures is not installed.
        """
        content = _content(path)
        if path.suffix == ".toml":
            return cls._policy(path, content)
        return cls(path, (Signer(path.name, _key_of(content, str(path))),))

    @classmethod
    def _policy(cls, path: Path, content: bytes) -> TrustPolicy:
        try:
            raw = tomllib.loads(content.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not TOML", got=error, expected=_EXPECTED) from error
        _known(raw, _FIELDS, str(path))
        signers = raw.get("signer")
        if not isinstance(signers, list) or not signers:
            raise InputError(f"{path}: signer: missing", expected="[[signer]] with name and key")
        after = _time(raw, "signed_after", str(path))
        return cls(path, tuple(_signer(one, path) for one in signers), None if after is None else _text(after))


def _signer(raw: Mapping[str, Any], path: Path) -> Signer:
    name = raw.get("name")
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: signer.name: must be a string", got=repr(name))
    where = f"{path}: signer {name}"
    _known(raw, _SIGNER_FIELDS, where)
    kinds = [kind for kind in ("key", "certificates", "identity") if kind in raw]
    if len(kinds) != 1 or not isinstance(raw[kinds[0]], str):
        raise InputError(
            f"{where}: requires one of key, certificates and identity", got=", ".join(kinds) or "none of them"
        )
    check: PublicKey | Authorities | Identity
    if kinds == ["identity"]:
        if not isinstance(raw.get("issuer"), str):
            raise InputError(f"{where}: issuer: missing", expected="the address of the identity's OpenID issuer")
        check = Identity(raw["identity"], raw["issuer"])
    else:
        file = path.parent / raw[kinds[0]]
        check = _key_of(_content(file), str(file))
        if isinstance(check, PublicKey) != (kinds == ["key"]):
            raise InputError(f"{where}: {kinds[0]}: holds another kind", got=file)
    return Signer(name, check, _time(raw, "not_before", where), _time(raw, "not_after", where))


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read", got=error, expected=_EXPECTED) from error


def _key_of(content: bytes, name: str) -> PublicKey | Authorities:
    if b"-----BEGIN CERTIFICATE-----" in content:
        return Authorities.read(content, name)
    if b"PRIVATE KEY-----" in content:
        raise InputError(
            f"{name}: is a private key",
            expected="the public key, which verifies",
            fix="openssl ec -in private.pem -pubout -out public.pem",
        )
    if b"-----BEGIN PUBLIC KEY-----" not in content:
        raise InputError(f"{name}: no key", expected=_EXPECTED)
    return PublicKey.read(content, name)


def _known(raw: Mapping[str, Any], fields: set[str], where: str) -> None:
    unknown = sorted(set(raw) - fields)
    if unknown:
        raise InputError(f"{where}: unknown field", got=", ".join(unknown), expected=", ".join(sorted(fields)))


def _time(raw: Mapping[str, Any], field: str, where: str) -> datetime | None:
    found = raw.get(field)
    if found is None:
        return None
    if not isinstance(found, datetime) or found.tzinfo is None:
        raise InputError(f"{where}: {field}: invalid", got=found, expected="a time with zone: 2026-11-28T12:00:00Z")
    return found.astimezone(timezone.utc)


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
