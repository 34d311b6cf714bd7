"""Sign bundles: the signature of OpenSSF Model Signing 1.x over the sha256 of every file, evidence included."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeproof_export.bundle import writing
from edgeproof_runtime.bundle.content import digest_of
from edgeproof_runtime.bundle.envelope import MEDIA_TYPE, PAYLOAD_TYPE, pae, read_envelope, statement_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.signatures import FOLDER, files_of
from edgeproof_runtime.bundle.signing_keys import PublicKey, require_cryptography
from edgeproof_runtime.errors import BundleError, InputError, UnavailableError
from edgeproof_runtime.system.files import write_atomically
from edgeproof_runtime.system.regular import read_regular

__all__ = ["Signature", "sign_bundle", "sign_with_token"]

_MAX_KEY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that was written into a bundle.

    Attributes:
        path: its file.
        signed_at: time of the signature, UTC; None where ``model-signing`` made it.
        key_sha256: sha256 of the public key's PEM file; None for a keyless signature, and for one with a certificate
            of a token.
        subject: of the certificate; None for a bare key.
        files: names of the signed files.
    """

    path: Path
    signed_at: str | None
    key_sha256: str | None
    subject: str | None
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "schema": "edgeproof.sign/1",
            "signature": str(self.path),
            "signed_at": self.signed_at,
            "key_sha256": self.key_sha256,
            "subject": self.subject,
            "files": list(self.files),
        }


def sign_bundle(
    bundle: Bundle,
    key: Path,
    *,
    password: bytes | None = None,
    certificate: Path | None = None,
    chain: Sequence[Path] = (),
) -> Signature:
    """Sign every file of a bundle and write the signature into ``signatures/``.

    Other signatures stay. One by the same key is replaced.

    Args:
        bundle: an opened bundle.
        key: PEM private key, ECDSA on P-256, P-384 or P-521.
        password: of an encrypted key.
        certificate: PEM certificate of the key; it goes into the signature.
        chain: PEM certificates between it and a trusted authority's.

    Raises:
        InputError: a key or certificate cannot be read or does not fit, a file of the bundle is damaged or a link, or
            the folder cannot be written.
        BundleError: the bundle is damaged.
    """
    require_cryptography()
    private, public = _private_key(key, password)
    certificates = _certificates(certificate, chain, public)
    try:
        with writing(bundle.path):
            digests = _digests_of(bundle)
            signed_at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            statement = statement_of(bundle.path.resolve().name, digests, [FOLDER], signed_at)
            payload = json.dumps(statement, indent=2).encode()
            target = bundle.path / FOLDER / f"{public.digest[:16]}.sig"
            write_atomically(target, _document(payload, _ecdsa(private, pae(payload)), public, certificates))
    except OSError as error:
        raise InputError(f"{bundle.path}: cannot be written", got=error) from error
    subject = certificates[0].subject.rfc4514_string() if certificates else None
    return Signature(target, signed_at, public.digest, subject, tuple(digests))


def sign_with_token(
    bundle: Bundle, uri: str | None = None, *, certificate: Path | None = None, chain: Sequence[Path] = ()
) -> Signature:
    """Sign a bundle with a key in a PKCS#11 token or, without ``uri``, with an identity (Sigstore, keyless).

    The package ``model-signing`` signs. For a keyless signature it takes the identity of the environment, as in
    continuous integration, or asks in a browser; it requires a network.

    Args:
        bundle: an opened bundle.
        uri: RFC 7512, such as ``pkcs11:token=release;object=key?module-path=/usr/lib/softhsm/libsofthsm2.so``, with
            ``pin-source`` (a file) or ``pin-value``.
        certificate: PEM certificate of the token's key.
        chain: PEM certificates between it and a trusted authority's.

    Raises:
        BundleError: the bundle is damaged.
        InputError: the token, the identity's issuer or the log refuses, or the bundle cannot be signed.
        UnavailableError: the package is not installed.
    """
    try:
        import model_signing
    except ImportError as error:
        raise UnavailableError(
            "PKCS#11 and keyless signatures: not available", got=error, fix='pip install "edgeproof[sign]"'
        ) from error
    config = model_signing.signing.Config()
    config.set_hashing_config(model_signing.hashing.Config().set_ignored_paths(paths=[FOLDER], ignore_git_paths=False))
    with writing(bundle.path), tempfile.TemporaryDirectory() as folder:
        digests = _digests_of(bundle)
        written = Path(folder) / "bundle.sig"
        try:
            if uri is None:
                config.use_sigstore_signer(use_ambient_credentials=True)
            elif certificate is None:
                config.use_pkcs11_signer(pkcs11_uri=uri)
            else:
                config.use_pkcs11_certificate_signer(
                    pkcs11_uri=uri, signing_certificate=certificate, certificate_chain=list(chain)
                )
            config.sign(bundle.path, written)
        except Exception as error:  # of the package, the token's library and the network
            raise InputError(f"{bundle.path}: cannot be signed", got=f"{type(error).__name__}: {error}") from error
        content = _read(written)
        if read_envelope(content, written.name).digests() != digests:
            raise InputError(f"{bundle.path}: changed while it was signed", fix="sign it again")
        key_sha256 = json.loads(content)["verificationMaterial"].get("publicKey", {}).get("hint")
        name = key_sha256[:16] if key_sha256 else "keyless" if uri is None else "certificate"
        target = bundle.path / FOLDER / f"{name}.sig"
        write_atomically(target, content)
    return Signature(target, None, key_sha256, None, tuple(digests))


def _digests_of(bundle: Bundle) -> dict[str, str]:
    """Return the sha256 of every file to sign, in a locked bundle."""
    bundle.reread()
    names = [name for name in files_of(bundle.path) if not name.startswith(f"{FOLDER}/")]
    digests = {name: digest_of(bundle.path, name) for name in names}
    _require_whole(bundle, digests)
    return digests


def _require_whole(bundle: Bundle, digests: Mapping[str, str]) -> None:
    """Refuse to sign what readers would refuse or leave out: the signer would vouch for it."""
    expected = {bundle.locate(name).relative_to(bundle.path).as_posix(): bundle.sha256(name) for name in bundle.files}
    for name, sha256 in {"bundle.json": bundle.manifest_sha256, **expected}.items():
        if digests.get(name) != sha256:
            raise BundleError(
                f"{bundle.path / name}: modified", got=f"sha256 {digests.get(name)}", expected=f"sha256 {sha256}"
            )
    if bundle.left_out:
        raise InputError(
            f"{bundle.path}: has parts that are not usable",
            got="; ".join(part.note for part in bundle.left_out),
            fix="run the command that made them again, or remove their files from attachments/",
        )


def _private_key(path: Path, password: bytes | None) -> tuple[Any, PublicKey]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        private = serialization.load_pem_private_key(_read(path), password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path}: not a private key that can be read",
            got=error,
            expected="a PEM private key, ECDSA on P-256, P-384 or P-521; of an encrypted one also its password",
            fix="openssl ecparam -name prime256v1 -genkey -noout -out private.pem",
        ) from error
    return private, PublicKey.of(private.public_key(), str(path))


def _certificates(certificate: Path | None, chain: Sequence[Path], public: PublicKey) -> list[Any]:
    from cryptography import x509

    if certificate is None:
        if chain:
            raise InputError("--chain: requires --certificate", got=", ".join(map(str, chain)))
        return []
    found: list[Any] = []
    for path in (certificate, *chain):
        try:
            found += x509.load_pem_x509_certificates(_read(path))
        except ValueError as error:
            raise InputError(f"{path}: no certificates", got=error, expected="PEM certificates") from error
    if PublicKey.of(found[0].public_key(), str(certificate)).digest != public.digest:
        raise InputError(f"{certificate}: is of another key", expected="the certificate of --key")
    return found


def _ecdsa(private: Any, message: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    chosen = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
    signature: bytes = private.sign(message, ec.ECDSA(chosen[private.curve.key_size]))
    return signature


def _document(payload: bytes, signature: bytes, public: PublicKey, certificates: Sequence[Any]) -> bytes:
    from cryptography.hazmat.primitives import serialization

    chain = [{"rawBytes": _text(one.public_bytes(serialization.Encoding.DER))} for one in certificates]
    material = {"x509CertificateChain": {"certificates": chain}} if chain else {"publicKey": {"hint": public.digest}}
    document = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {**material, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": _text(payload),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": _text(signature), "keyid": ""}],
        },
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_KEY_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read", got=error) from error
