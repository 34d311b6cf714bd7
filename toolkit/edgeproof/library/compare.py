"""Compare two reports of ``bench`` or ``evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof_runtime.evidence.compare import Bounds, Comparison, Pair, compare_reports
from edgeproof_runtime.evidence.read import read_report
from edgeproof_runtime.system.boundary import bounded

__all__ = ["ReportComparison", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportComparison:
    """Comparison of two reports within bounds.

    Attributes:
        old: path of the baseline report.
        new: path of the report compared with it.
        bounds: permitted slowdown and drop.
        comparison: configurations in both reports, and other differences.
        strict: whether an inconclusive configuration fails.
    """

    old: Path
    new: Path
    bounds: Bounds
    comparison: Comparison
    strict: bool = False

    @property
    def worse(self) -> Sequence[Pair]:
        """Return configurations that became slower or less accurate."""
        return [pair for pair in self.comparison.pairs if pair.worse]

    @property
    def unsure(self) -> Sequence[Pair]:
        """Return configurations with an inconclusive comparison."""
        return [pair for pair in self.comparison.pairs if pair.verdict == "cannot tell"]

    @property
    def failed(self) -> Sequence[Pair]:
        """Return configurations that fail the gate."""
        return [*self.worse, *(self.unsure if self.strict else [])]

    @property
    def passed(self) -> bool:
        """Return whether every configuration passes the gate.

        With ``strict``, a configuration that is only in the old report has nothing to be compared with, and fails.
        """
        return not (self.failed or (self.strict and self.comparison.only_old))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, ``"schema": "edgeproof.comparison/1"``."""
        return {
            "schema": "edgeproof.comparison/1",
            "old": str(self.old),
            "new": str(self.new),
            "max_slowdown": self.bounds.max_slowdown,
            "max_drop_points": self.bounds.max_drop,
            **self.comparison.to_json(),
        }


@bounded
def compare(
    old: str | Path,
    new: str | Path,
    *,
    max_slowdown: float = 0.05,
    max_drop: float = 0.5,
    force: bool = False,
    strict: bool = False,
) -> ReportComparison:
    """Compare a report of ``bench`` or ``evaluate`` with an older one.

    Args:
        old: JSON file of the baseline report.
        new: JSON file of the report to compare with it.
        max_slowdown: permitted slowdown; 0.05 is 5 %.
        max_drop: permitted drop of top-1, mAP or AUROC, percentage points.
        force: compare reports of different machines or power modes.
        strict: fail configurations with an inconclusive comparison.

    Raises:
        InputError: a file cannot be read, or the reports are not comparable.
    """
    bounds = Bounds(max_slowdown, max_drop)
    comparison = compare_reports(read_report(Path(old)), read_report(Path(new)), bounds, force=force)
    return ReportComparison(old=Path(old), new=Path(new), bounds=bounds, comparison=comparison, strict=strict)
