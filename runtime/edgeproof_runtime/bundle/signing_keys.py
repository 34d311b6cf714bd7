"""Public keys and certificates: ECDSA on P-256, P-384 and P-521, as OpenSSF Model Signing uses them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from edgeproof_runtime.bundle.envelope import Envelope, pae
from edgeproof_runtime.errors import BundleError, InputError, UnavailableError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authorities", "PublicKey", "require_cryptography"]

_Extension = TypeVar("_Extension")
_MOST_LINKS = 8
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_HASHES = ("sha256", "sha384", "sha512")


def require_cryptography() -> None:
    """Raise unless the package that verifies signatures is installed.

    Raises:
        UnavailableError: it is not.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "signatures: not available", got=error, expected="the package cryptography", fix="pip install cryptography"
        ) from error


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A trusted public key.

    Attributes:
        key: the key.
        digest: sha256 of its PEM file, which signatures name.
    """

    key: ec.EllipticCurvePublicKey
    digest: str

    @classmethod
    def read(cls, pem: bytes, name: str) -> PublicKey:
        """Read a PEM public key.

        Raises:
            InputError: not one, or of an unsupported kind.
        """
        require_cryptography()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization

        try:
            found = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InputError(f"{name}: not a public key", got=error, expected="a PEM public key") from error
        return cls.of(found, name)

    @classmethod
    def of(cls, key: object, name: str) -> PublicKey:
        """Check the kind of a key.

        Raises:
            InputError: unsupported.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
            kind = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__.lstrip("_")
            raise InputError(
                f"{name}: unsupported key",
                got=kind,
                expected="an ECDSA key on P-256, P-384 or P-521",
                fix="openssl ecparam -name prime256v1 -genkey -noout -out private.pem",
            )
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return cls(key, hashlib.sha256(pem).hexdigest())

    def verify(self, envelope: Envelope) -> None:
        """Check a signature.

        Raises:
            BundleError: this key did not make it.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        # The key's curve chooses the hash; nothing in the file does.
        chosen = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}
        try:
            self.key.verify(envelope.signature, pae(envelope.payload), ec.ECDSA(chosen[self.key.curve.name]))
        except InvalidSignature as error:
            raise BundleError("signature: wrong, or made with another key") from error


@dataclass(frozen=True, slots=True)
class Authorities:
    """Trusted certificates, with which signers' certificates must be signed.

    Attributes:
        certificates: as read.
    """

    certificates: tuple[x509.Certificate, ...]

    @classmethod
    def read(cls, pem: bytes, name: str) -> Authorities:
        """Read PEM certificates.

        Raises:
            InputError: not certificates.
        """
        require_cryptography()
        from cryptography import x509

        try:
            return cls(tuple(x509.load_pem_x509_certificates(pem)))
        except ValueError as error:
            raise InputError(f"{name}: no certificates", got=error, expected="PEM certificates") from error

    def verify(self, envelope: Envelope, now: datetime) -> str:
        """Check a signature and the chain from its certificate to a trusted one.

        Args:
            envelope: a signature with certificates.
            now: time at which every certificate must be valid.

        Returns:
            The subject of the signer's certificate.

        Raises:
            BundleError: the chain, a certificate of it or the signature is not valid.
        """
        chain = [_parsed(one) for one in envelope.certificates]
        self._check_chain(chain, now)
        subject = chain[0].subject.rfc4514_string()
        PublicKey.of(chain[0].public_key(), f"certificate {subject}").verify(envelope)
        return subject

    def _check_chain(self, chain: Sequence[x509.Certificate], now: datetime) -> None:
        _check_signer(chain[0])
        current, above = chain[0], list(chain[1:])
        for depth in range(_MOST_LINKS):
            _check_dates(current, now)
            _check_extensions(current)
            if current in self.certificates:
                return
            anchor = next((one for one in self.certificates if _issued(one, current)), None)
            if anchor is not None:
                _check_dates(anchor, now)
                _check_issuer(anchor, depth)
                return
            issuer = next((one for one in above if _issued(one, current)), None)
            if issuer is None:
                break
            above.remove(issuer)
            _check_issuer(issuer, depth)
            current = issuer
        raise BundleError(
            "certificate: not issued by a trusted certificate", got=f"issuer {current.issuer.rfc4514_string()}"
        )


def _parsed(der: bytes) -> x509.Certificate:
    """Read a certificate and all that is used of it, because the package parses most fields when they are asked for.

    Raises:
        BundleError: it cannot be read.
    """
    from cryptography import x509

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forms that later versions refuse
            one = x509.load_der_x509_certificate(der)
            _ = (one.version, one.public_key(), one.extensions, one.subject.rfc4514_string())
            _ = (one.issuer.rfc4514_string(), one.not_valid_before_utc, one.not_valid_after_utc)
            _ = one.signature_hash_algorithm
    except Exception as error:  # errors of several classes have no other base
        raise BundleError("certificate: cannot be read", got=error) from error
    return one


def _issued(issuer: x509.Certificate, one: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return one.signature_hash_algorithm is not None and one.signature_hash_algorithm.name in _HASHES


def _check_dates(one: x509.Certificate, now: datetime) -> None:
    begin, end = one.not_valid_before_utc, one.not_valid_after_utc
    if not begin <= now <= end:
        raise BundleError(
            f"certificate {one.subject.rfc4514_string()}: {'expired' if now > end else 'not valid yet'}",
            got=f"{begin:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ}",
            expected=f"valid at {now:%Y-%m-%dT%H:%M:%SZ}, this machine's clock",
        )


def _check_extensions(one: x509.Certificate) -> None:
    from cryptography import x509

    known = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)
    unknown = [found.oid.dotted_string for found in one.extensions if found.critical and type(found.value) not in known]
    if unknown:
        raise BundleError("certificate: unsupported critical extension", got=", ".join(unknown))


def _check_signer(one: x509.Certificate) -> None:
    """Require a use for signatures, as ``model-signing`` does."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    usage, extended = _extension(one, x509.KeyUsage), _extension(one, x509.ExtendedKeyUsage)
    may_sign = usage is not None and usage.digital_signature
    may_sign |= extended is not None and ExtendedKeyUsageOID.CODE_SIGNING in extended
    if not may_sign:
        raise BundleError(
            f"certificate {one.subject.rfc4514_string()}: must not sign",
            expected="key usage digitalSignature, or extended key usage codeSigning",
        )


def _check_issuer(one: x509.Certificate, depth: int) -> None:
    from cryptography import x509

    name = one.subject.rfc4514_string()
    constraints, usage = _extension(one, x509.BasicConstraints), _extension(one, x509.KeyUsage)
    if constraints is None or not constraints.ca:
        raise BundleError(f"certificate {name}: not of an authority", expected="basic constraints CA:TRUE")
    if constraints.path_length is not None and depth > constraints.path_length:
        raise BundleError(f"certificate {name}: chain too long", got=depth, expected=constraints.path_length)
    if usage is not None and not usage.key_cert_sign:
        raise BundleError(f"certificate {name}: must not sign certificates", expected="key usage keyCertSign")


def _extension(one: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    return next((found.value for found in one.extensions if isinstance(found.value, kind)), None)
