"""`edgeproof push`: put a bundle into a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Writes
from edgeproof.cli._shared import BundlePath, count, err, out, progress_bar
from edgeproof.fleet.transfer import push as push_bundle
from edgeproof_runtime.system.files import write_json

__all__ = ["PlainHttp", "push"]

PlainHttp = Annotated[
    bool, typer.Option("--plain-http", help="Use HTTP without TLS; a registry on this machine always does.")
]


def push(
    bundle: BundlePath,
    reference: Annotated[
        str, typer.Argument(help="Address, oci://host[:port]/name[:tag].", metavar="REF", show_default=False)
    ],
    plain_http: PlainHttp = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write address, digest and sizes as JSON; - is stdout.", metavar="FILE"),
        Writes("file"),
    ] = None,
) -> None:
    """Push a bundle into an OCI registry, in the layout of CNCF ModelPack. Prints its address with the digest.

    Files that the registry has are not sent again; equal bundles have an equal digest. Passwords come from docker's
    config.json (docker login), or from EDGEPROOF_REGISTRY_USER and EDGEPROOF_REGISTRY_PASSWORD, or
    EDGEPROOF_REGISTRY_TOKEN.

    Examples:

      edgeproof push model.edge oci://registry.example/site/model:stable

      edgeproof push model.edge oci://127.0.0.1:5000/model:v2 --json pushed.json
    """
    with progress_bar() as tell:
        pushed = push_bundle(bundle, reference, plain_http=plain_http, progress=tell)
    if json_file is not None:
        write_json(json_file, pushed.to_json())
    err.print(f"{count(pushed.files, 'file')}, {pushed.size_bytes} bytes, {pushed.sent_bytes} of them sent")
    out.print(pushed.reference)
