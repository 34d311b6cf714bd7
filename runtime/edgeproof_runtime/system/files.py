"""Atomic file writes, and documents in the cache folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgeproof_runtime.errors import InputError

__all__ = ["cache_folder", "read_cached", "write_atomically", "write_cached"]


def cache_folder() -> Path:
    """Return ``$EDGEPROOF_CACHE``, or ``edgeproof`` in the user's cache folder."""
    if "EDGEPROOF_CACHE" in os.environ:
        return Path(os.environ["EDGEPROOF_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeproof"


def read_cached(path: Path, schema: str) -> dict[str, Any] | None:
    """Read a JSON document of the cache; None if it is missing, damaged or of another schema."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) and raw.get("schema") == schema else None


def write_cached(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON document to the cache. A cache that cannot be written is no error: the work is done again."""
    with suppress(InputError):
        write_atomically(path, json.dumps(document, indent=2).encode())


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file atomically: a reader finds the old content or the new, never a part, even after a power cut.

    Writes a temporary file beside ``path``, fsyncs it, renames it and fsyncs the folder. A missing folder is
    created.

    Raises:
        InputError: ``path`` cannot be written; no temporary file is left.
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
            temporary.chmod(0o644)  # mkstemp makes it private, but others read reports
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
            f"{path}: cannot be written", got=error, fix="choose a folder that exists and is writable"
        ) from error
