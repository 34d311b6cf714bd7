"""`edgeproof pull`: take a bundle out of a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Writes
from edgeproof.cli._shared import count, err, out, progress_bar
from edgeproof.cli.push import PlainHttp
from edgeproof.fleet.transfer import pull as pull_bundle
from edgeproof_runtime.system.files import write_json

__all__ = ["pull"]


def pull(
    reference: Annotated[
        str,
        typer.Argument(help="Address, oci://host[:port]/name[:tag][@sha256:...].", metavar="REF", show_default=False),
    ],
    bundle: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of the bundle, NAME.edge.", metavar="NAME.edge", show_default=False),
        Writes("bundle"),
    ],
    plain_http: PlainHttp = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write address, digest and sizes as JSON; - is stdout.", metavar="FILE"),
        Writes("file"),
    ] = None,
) -> None:
    """Pull a bundle out of an OCI registry. Every file's digest is checked; the folder appears whole or not at all.

    A pull that was interrupted goes on where it stopped when it is called again.

    Examples:

      edgeproof pull oci://registry.example/site/model:stable --out model.edge
    """
    with progress_bar() as tell:
        pulled = pull_bundle(reference, bundle, plain_http=plain_http, progress=tell)
    if json_file is not None:
        write_json(json_file, pulled.to_json())
    err.print(f"{count(pulled.files, 'file')}, {pulled.size_bytes} bytes, {pulled.received_bytes} of them received")
    out.print(f"{bundle}: {pulled.reference}")
