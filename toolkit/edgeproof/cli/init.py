"""`edgeproof init`: write a commented file of settings for `run` and `serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeproof.cli._paths import Reads, Writes
from edgeproof.cli._shared import BundlePath, err
from edgeproof.library.settings import settings_text
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.files import is_stream, write_atomically
from edgeproof_runtime.system.redact import redact_address

__all__ = ["init"]


def init(
    bundle: BundlePath,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Camera, stream, video or folder (default: the first camera, or a test card where there is none). "
            "Repeat for several.",
            metavar="SRC",
            show_default=False,
        ),
        Reads(),
    ] = None,
    file: Annotated[
        Path, typer.Option("--out", help="File to write; - is stdout.", metavar="FILE.toml"), Writes("settings")
    ] = Path("edgeproof.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write edgeproof.toml: bundle, sources, thresholds and sinks, each explained, for run and serve.

    The file is valid as it is; its comments show what else can be set, by the task of the bundle.

    Examples:

      edgeproof init model.edge --source rtsp://camera/stream

      edgeproof run edgeproof.toml

      edgeproof serve edgeproof.toml --port 9000
    """
    opened = Bundle.open(bundle)
    streams = is_stream(file)
    if not streams and file.suffix.lower() != ".toml":
        raise InputError("--out: not a TOML file name", got=file, expected="a name that ends in .toml")
    if file.exists() and not streams and not force:
        raise InputError(f"{file}: exists", fix="--force replaces it, or choose another name with --out")
    folder = Path.cwd() if streams else file.absolute().parent
    write_atomically(file, settings_text(opened, source or (), folder, file.name).encode())
    if any(redact_address(one) != one for one in source or ()):
        err.print(
            f"note: {file} holds the password of a source: write ${{NAME}} in the address, which is read from the "
            "environment, or chmod 600 the file",
            style="yellow",
        )
    if not streams:
        err.print(f"settings {file}; next: edgeproof run {file}, or edgeproof serve {file}")
