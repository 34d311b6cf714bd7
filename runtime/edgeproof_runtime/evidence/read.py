"""Reading of a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.evidence.report import SCHEMA
from edgeproof_runtime.system.documents import read_document
from edgeproof_runtime.system.spec import SPEC

__all__ = ["read_report"]


def read_report(path: Path) -> dict[str, Any]:
    """Read a report's JSON; a key that the file lacks is None.

    Args:
        path: JSON file of a report.

    Raises:
        InputError: the file cannot be read or is not a report.
    """
    raw = read_document(path, expected="a report written with --json")
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        got = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise InputError(f"{path}: not a report", got=got, expected=SCHEMA)
    return dict.fromkeys(SPEC["report_keys"]) | raw
