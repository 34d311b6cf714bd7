"""Build the common parts of a report, and store reports in their bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError, Skipped, one_line
from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.live.collector import Collector
from edgeproof_runtime.sources import StreamSpec
from edgeproof_runtime.system.steps import step
from edgeproof_runtime.tasks.unknown import UnknownRule

__all__ = ["keep_evidence", "rules_of", "settings_of", "skipped_warnings", "unknown_frames"]


def settings_of(bundle: Bundle, **chosen: Any) -> dict[str, Any]:
    """Return a report's settings: the bundle's path and every option that is not None."""
    return {"bundle": str(bundle.path), **{name: value for name, value in chosen.items() if value is not None}}


def rules_of(rule: UnknownRule | None, specs: Sequence[StreamSpec]) -> str | None:
    """Return the setting ``unknown`` of a live report: the rules in force, or None without one."""
    rules = {str(one) for one in (spec.unknown or rule for spec in specs) if one is not None}
    return ", ".join(sorted(rules)) or None


def unknown_frames(settings: Mapping[str, Any], collector: Collector) -> dict[str, int]:
    """Return the count ``frames_unknown`` of a live report, where a rule is in force."""
    return {} if settings.get("unknown") is None else {"frames_unknown": collector.unknown}


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
        with step(f"store the {report.kind} report in {bundle.path}"):
            add_evidence(bundle, report.kind, report.to_json())
    except InputError as error:
        return one_line(error)
    return None
