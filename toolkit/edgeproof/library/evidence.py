"""Build the common parts of a report, and keep reports in the bundle that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeproof.library.inputs import reread
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError, Skipped
from edgeproof_runtime.evidence.report import Report

__all__ = ["keep_evidence", "settings_of", "skipped_warnings"]


def settings_of(bundle: Bundle, **chosen: Any) -> dict[str, Any]:
    """Return a report's settings: the bundle's path and every choice that is not None."""
    return {"bundle": str(bundle.path), **{name: value for name, value in chosen.items() if value is not None}}


def skipped_warnings(skipped: Sequence[Skipped]) -> list[str]:
    """Return a sentence for each file or frame that was skipped."""
    return [f"Skipped {item.name}: {item.reason}." for item in skipped]


def keep_evidence(bundle: Bundle, report: Report) -> str | None:
    """Write a report into a bundle's ``evidence/``.

    Returns:
        Why the bundle could not be written, in one line; None if it was.
    """
    from edgeproof_export.bundle import add_evidence

    try:
        # Whatever was added to the bundle since it was opened must stay.
        add_evidence(reread(bundle), report.kind, report.to_json())
    except InputError as error:
        return " ".join(str(error).split())
    return None
