"""Anomaly scores on the terminal."""

from __future__ import annotations

from rich.table import Table

from edgeproof_runtime.metrics.auroc import AnomalyResult

__all__ = ["anomaly_table"]


def anomaly_table(result: AnomalyResult, title: str) -> Table:
    """AUROC of each kind of defect against the good pictures, and what the threshold does."""
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left", title_style="bold")
    table.add_column("kind", overflow="fold")
    for column in ("pictures", "AUROC", "95 % interval", f"above {result.threshold:.4g}"):
        table.add_column(column, justify="right")
    for kind in result.kinds:
        interval = "–" if kind.ci95 is None else f"{kind.ci95[0]:.3f} to {kind.ci95[1]:.3f}"
        table.add_row(kind.kind, str(kind.n), _area(kind.auroc), interval, f"{kind.detected:.0%}")
    table.add_row("mean of the kinds", "", _area(result.mean_auroc), "", "")
    alarms = "–" if result.false_alarms is None else f"{result.false_alarms:.0%}"
    table.add_row("good", str(result.good_n), "", "", alarms)
    return table


def _area(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
