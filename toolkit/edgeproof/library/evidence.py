"""Build the common parts of a report, and store reports in their bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError, Skipped
from edgeproof_runtime.evidence.report import Report

__all__ = ["keep_evidence", "settings_of", "skipped_warnings"]


def settings_of(bundle: Bundle, **chosen: Any) -> dict[str, Any]:
    """Return a report's settings: the bundle's path and every option that is not None."""
    return {"bundle": str(bundle.path), **{name: value for name, value in chosen.items() if value is not None}}


def skipped_warnings(skipped: Sequence[Skipped]) -> list[str]:
    """Return a warning for each skipped file or frame."""
    return [f"Skipped {item.name}: {item.reason}." for item in skipped]


def keep_evidence(bundle: Bundle, report: Report) -> str | None:
    """Attach a report to its bundle.

    Returns:
        One line on why the bundle could not be written; None on success.
    """
    from edgeproof_export.attach import add_evidence

    try:
        add_evidence(bundle, report.kind, report.to_json())
    except InputError as error:
        return " ".join(str(error).split())
    return None
