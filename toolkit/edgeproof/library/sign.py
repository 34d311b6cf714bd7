"""Sign a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeproof_export.signing import Signature, sign_bundle
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.system.boundary import bounded

__all__ = ["sign"]


@bounded
def sign(
    bundle: str | Path | Bundle,
    key: str | Path,
    *,
    password: str | None = None,
    certificate: str | Path | None = None,
    chain: Sequence[str | Path] = (),
) -> Signature:
    """Sign every file of a bundle, evidence and compiled engines included, with a private key.

    The signature is one of OpenSSF Model Signing 1.x, in ``signatures/`` of the bundle. Sign last: what is added to the
    bundle later is not covered. A signature by the same key is replaced; others stay.

    Args:
        bundle: path of a bundle, or an opened one.
        key: PEM private key, ECDSA on P-256, P-384 or P-521.
        password: of an encrypted key.
        certificate: PEM certificate of the key; verifiers then trust the authority that issued it.
        chain: PEM certificates between that certificate and the trusted one.

    Returns:
        The signature: its file, time, key and the names of the signed files.

    Raises:
        BundleError: the bundle is damaged.
        InputError: a key or certificate cannot be read or does not fit, the bundle has parts that its readers leave
            out, or it cannot be written.
        UnavailableError: the package ``cryptography`` is not installed.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle, trust=False)
    return sign_bundle(
        opened,
        Path(key),
        password=None if password is None else password.encode(),
        certificate=None if certificate is None else Path(certificate),
        chain=tuple(map(Path, chain)),
    )
