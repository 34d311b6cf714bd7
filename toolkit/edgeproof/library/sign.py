"""Sign a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeproof_export.signing import Signature, sign_bundle, sign_with_token
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.boundary import bounded

__all__ = ["sign"]


@bounded
def sign(
    bundle: str | Path | Bundle,
    key: str | Path | None = None,
    *,
    password: str | None = None,
    certificate: str | Path | None = None,
    chain: Sequence[str | Path] = (),
    pkcs11: str | None = None,
    keyless: bool = False,
) -> Signature:
    """Sign every file of a bundle, evidence and compiled engines included.

    With one of a private key, a key in a PKCS#11 token, and an identity (keyless, by Sigstore).

    The signature is one of OpenSSF Model Signing 1.x, in ``signatures/`` of the bundle. Sign last: what is added to the
    bundle later is not covered. A signature by the same key is replaced; others stay.

    Args:
        bundle: path of a bundle, or an opened one.
        key: PEM private key, ECDSA on P-256, P-384 or P-521.
        password: of an encrypted key.
        certificate: PEM certificate of the key; verifiers then trust the authority that issued it.
        chain: PEM certificates between that certificate and the trusted one.
        pkcs11: URI (RFC 7512) of a key in a token, in place of ``key``. Requires the extra ``sign``.
        keyless: sign with the identity of the environment or of a browser. Requires the extra ``sign`` and a network.

    Returns:
        The signature: its file, time, key and the names of the signed files.

    Raises:
        BundleError: the bundle is damaged.
        InputError: not exactly one of ``key``, ``pkcs11`` and ``keyless``; a key or certificate cannot be read or does
            not fit, the bundle has parts that its readers leave out, or it cannot be written.
        UnavailableError: the package ``cryptography`` or the extra ``sign`` is not installed.
    """
    given = [name for name, value in (("key", key), ("pkcs11", pkcs11), ("keyless", keyless or None)) if value]
    if len(given) != 1:
        raise InputError(
            "sign: requires one of key, pkcs11 and keyless", got=", ".join(given) or "none", fix="--key PRIVATE.pem"
        )
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle, trust=False)
    of_key = None if certificate is None else Path(certificate)
    above = tuple(map(Path, chain))
    if key is None:
        return sign_with_token(opened, pkcs11, certificate=of_key, chain=above)
    return sign_bundle(
        opened,
        Path(key),
        password=None if password is None else password.encode(),
        certificate=of_key,
        chain=above,
    )
