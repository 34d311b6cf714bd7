"""Compiled engines are code: which of them this machine may deserialise."""

from __future__ import annotations

import logging
import os
import re
import stat
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import cache_folder, read_cached, write_json
from edgeproof_runtime.system.spec import SPEC

__all__ = ["VARIABLE", "is_trusted", "require_trusted", "trust"]

VARIABLE: str = SPEC["trust_variable"]
"""Environment variable that names the sha256 of engines to trust, separated by commas or spaces."""

_SCHEMA: str = SPEC["schemas"]["trusted_engine"]
_LOG = logging.getLogger("edgeproof.engines")

Why = Literal["built here", "trusted by the user"]


def is_trusted(sha256: str) -> bool:
    """Return whether a compiled engine may be deserialised: it was built here, or is trusted by its hash.

    Signatures by trusted keys belong here: this function alone decides. No key format is defined yet.
    """
    return sha256 in re.split(r"[\s,]+", os.environ.get(VARIABLE, "")) or _is_recorded(sha256)


def require_trusted(path: Path, sha256: str, target: str) -> None:
    """Refuse a compiled engine that must not be deserialised.

    Raises:
        UnavailableError: this machine did not build it, and nobody said that it is trusted.
    """
    if is_trusted(sha256):
        return
    command = f"edgeproof compile BUNDLE --target {target}"
    raise UnavailableError(
        f"{path}: not compiled on this machine, and a compiled engine is code",
        got=f"sha256 {sha256}",
        expected="an engine that was compiled here, or that you trust",
        fix=f"{command} --force; or, if you trust who compiled it, {command} --trust",
    )


def trust(sha256: str, why: Why) -> None:
    """Record in the user's cache that an engine may be deserialised; a cache that cannot be written is a warning."""
    document = {
        "schema": _SCHEMA,
        "sha256": sha256,
        "why": why,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    try:
        write_json(_record(sha256), document)
    except InputError as error:
        _LOG.warning("the engine will not load here: %s; %s=%s trusts it", error.what, VARIABLE, sha256)


def _is_recorded(sha256: str) -> bool:
    path = _record(sha256)
    try:
        found = path.stat()
    except OSError:
        return False
    # Nobody but this user and root can have written it.
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return False
    document = read_cached(path, _SCHEMA)
    return document is not None and document.get("sha256") == sha256


def _record(sha256: str) -> Path:
    return cache_folder() / "trusted-engines" / f"{sha256}.json"
