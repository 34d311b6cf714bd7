"""Compiled engines are code: which of them this machine may deserialise."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import cache_folder, read_cached, write_json
from edgeproof_runtime.system.spec import SPEC

__all__ = ["VARIABLE", "is_built_here", "is_trusted", "require_trusted", "trust", "trust_signed"]

VARIABLE: str = SPEC["trust_variable"]
"""Environment variable that names the sha256 of engines to trust, separated by commas or spaces."""

_SCHEMA: str = SPEC["schemas"]["trusted_engine"]
_LOG = logging.getLogger("edgeproof.engines")

Why = Literal["built here", "trusted by the user"]


def is_trusted(sha256: str) -> bool:
    """Return whether a compiled engine may be deserialised: built here, signed, or trusted by its hash.

    This function alone decides. A signature by a trusted key adds hashes by `trust_signed`.
    """
    return sha256 in re.split(r"[\s,]+", os.environ.get(VARIABLE, "")) or _recorded(sha256) is not None


def is_built_here(sha256: str, onnx_sha256: str) -> bool:
    """Return whether this user of this machine compiled an engine from an ONNX file.

    Args:
        sha256: of the engine.
        onnx_sha256: of the ONNX file. An engine of another model is another program.
    """
    found = _recorded(sha256)
    return found is not None and found.get("why") == "built here" and found.get("onnx_sha256") == onnx_sha256


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


def trust_signed(digests: Iterable[str]) -> None:
    """Trust engines in this process and its children: a trusted signature covers them."""
    known = re.split(r"[\s,]+", os.environ.get(VARIABLE, ""))
    new = [digest for digest in dict.fromkeys(digests) if digest not in known]
    if new:
        os.environ[VARIABLE] = " ".join([*filter(None, known), *new])  # for child processes


def trust(sha256: str, why: Why, *, onnx_sha256: str | None = None) -> None:
    """Record in the user's cache that an engine may be deserialised; a cache that cannot be written is a warning.

    Args:
        sha256: of the engine.
        why: the reason.
        onnx_sha256: of the ONNX file that it was built from, if it was built here.
    """
    document = {
        "schema": _SCHEMA,
        "sha256": sha256,
        "why": why,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **({} if onnx_sha256 is None else {"onnx_sha256": onnx_sha256}),
    }
    try:
        write_json(_record(sha256), document)
    except InputError as error:
        _LOG.warning("the engine will not load here: %s; %s=%s trusts it", error.what, VARIABLE, sha256)


def _recorded(sha256: str) -> dict[str, Any] | None:
    path = _record(sha256)
    try:
        found = path.stat()
    except OSError:
        return None
    # Nobody but this user and root can have written it.
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
    document = read_cached(path, _SCHEMA)
    return document if document is not None and document.get("sha256") == sha256 else None


def _record(sha256: str) -> Path:
    return cache_folder() / "trusted-engines" / f"{sha256}.json"
