"""Signatures of an identity instead of a key: verified by the package ``sigstore``, which asks its trust root."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edgeproof_runtime.bundle.envelope import PAYLOAD_TYPE, Envelope
from edgeproof_runtime.errors import BundleError, UnavailableError

__all__ = ["Identity"]

_LOG = logging.getLogger("edgeproof.bundle")


@dataclass(frozen=True, slots=True)
class Identity:
    """A trusted identity.

    Attributes:
        name: such as a mail address, or the address of a workflow.
        issuer: OpenID issuer that vouches for it.
    """

    name: str
    issuer: str

    def verify(self, envelope: Envelope, content: bytes) -> None:
        """Check a signature, its certificate and its entry in the transparency log.

        Args:
            envelope: the signature.
            content: its file.

        Raises:
            BundleError: the signature is not valid, or of another identity.
            UnavailableError: the package is not installed, or has no trust root and cannot get one.
        """
        try:
            from sigstore.errors import Error
            from sigstore.models import Bundle, ClientTrustConfig
            from sigstore.verify import Verifier, policy
        except ImportError as error:
            raise UnavailableError(
                "keyless signatures: not available", got=error, fix='pip install "edgeproof[sign]"'
            ) from error
        try:
            try:
                config = ClientTrustConfig.production()
            except (Error, OSError) as error:
                _LOG.warning("no newer trust root: %s; the copy on this machine is used", error)
                config = ClientTrustConfig.production(offline=True)
            verifier = Verifier(trusted_root=config.trusted_root)
        except (Error, OSError) as error:
            raise UnavailableError(
                "keyless signatures: no trust root", got=error, expected="a network, or its copy from an earlier use"
            ) from error
        try:
            kind, payload = verifier.verify_dsse(
                Bundle.from_json(content), policy.Identity(identity=self.name, issuer=self.issuer)
            )
        except (Error, ValueError) as error:
            raise BundleError("keyless signature: not valid", got=error) from error
        if (kind, payload) != (PAYLOAD_TYPE, envelope.payload):
            raise BundleError("keyless signature: of another payload", got=kind, expected=PAYLOAD_TYPE)
