"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgeproof_runtime.errors import InputError

__all__ = ["cache_folder", "write_atomically"]


def cache_folder() -> Path:
    """``$EDGEPROOF_CACHE``, else ``edgeproof`` in the user's cache folder."""
    if "EDGEPROOF_CACHE" in os.environ:
        return Path(os.environ["EDGEPROOF_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeproof"


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader, or a power cut, finds the old content or the new one, never a part.

    Writes a temporary file beside it, fsyncs it, renames it over ``path`` and fsyncs the folder, which
    is created if needed.

    Raises:
        InputError: the place cannot be written; nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(0o644)  # mkstemp keeps others out, a report is meant to be read
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written", got=error, fix="choose a place that exists and is writable"
        ) from error
