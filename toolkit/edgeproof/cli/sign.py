"""`edgeproof sign`: sign a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Reads
from edgeproof.cli._shared import BundlePath, JsonFile, count, out
from edgeproof.library.sign import sign as sign_bundle
from edgeproof_runtime.system.files import write_json

__all__ = ["sign"]


def sign(
    bundle: BundlePath,
    key: Annotated[
        Path | None,
        typer.Option(
            help="Private key, PEM: ECDSA on P-256, P-384 or P-521.", metavar="PRIVATE.pem", show_default=False
        ),
        Reads(),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            help="Password of an encrypted key; better as the variable EDGEPROOF_SIGN_PASSWORD.",
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="Certificate of the key, PEM: devices then trust its authority.", metavar="FILE"),
        Reads(),
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(help="Certificates between it and the authority's, PEM. Repeat for several.", metavar="FILE"),
        Reads(),
    ] = None,
    pkcs11: Annotated[
        str | None,
        typer.Option(
            help="Key in a PKCS#11 token instead of --key, as a URI (requires the extra sign).",
            metavar="URI",
            show_default=False,
        ),
    ] = None,
    keyless: Annotated[
        bool,
        typer.Option(
            "--keyless",
            help="Sign with an identity instead of a key (Sigstore; requires the extra sign and a network).",
        ),
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Sign every file of a bundle: model, contract, golden cases, evidence and compiled engines.

    Writes a signature of OpenSSF Model Signing 1.x into signatures/ of the bundle; `model_signing verify` reads it too.
    Sign last: what is added later is not covered. Commands with --trust then refuse the bundle if it was changed.

    Examples:

      openssl ecparam -name prime256v1 -genkey -noout -out private.pem

      openssl ec -in private.pem -pubout -out public.pem

      edgeproof sign model.edge --key private.pem

      edgeproof sign model.edge --key private.pem --certificate signer.pem --chain intermediate.pem

      edgeproof sign model.edge --pkcs11 'pkcs11:token=release;object=key?pin-source=/run/pin'

      edgeproof run model.edge --source 0 --trust public.pem
    """
    signature = sign_bundle(
        bundle, key, password=password, certificate=certificate, chain=chain or (), pkcs11=pkcs11, keyless=keyless
    )
    out.print(f"signed {count(len(signature.files), 'file')} of {bundle}: {signature.path}")
    facts = (
        signature.signed_at and f"at {signature.signed_at}",
        signature.key_sha256 and f"with the key of sha256 {signature.key_sha256[:16]}",
        signature.subject and f"certificate of {signature.subject}",
    )
    if any(facts):
        out.print(", ".join(fact for fact in facts if fact))
    if json_file is not None:
        write_json(json_file, signature.to_json())
