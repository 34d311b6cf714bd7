"""Anomaly scores on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

__all__ = ["anomaly_table"]


def anomaly_table(anomaly: Mapping[str, Any], title: str) -> Table:
    """AUROC of each kind of defect against the good images, and what the threshold does.

    Args:
        anomaly: the report's section.
        title: above the table.
    """
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left", title_style="bold")
    table.add_column("kind", overflow="fold")
    for column in ("pictures", "AUROC", "95 % interval", f"above {anomaly['threshold']:.4g}"):
        table.add_column(column, justify="right")
    for kind in anomaly["kinds"]:
        interval = "–" if kind["ci95"] is None else f"{kind['ci95'][0]:.3f} to {kind['ci95'][1]:.3f}"
        table.add_row(kind["kind"], str(kind["n"]), _area(kind["auroc"]), interval, f"{kind['detected']:.0%}")
    table.add_row("mean of the kinds", "", _area(anomaly["mean_auroc"]), "", "")
    alarms = "–" if anomaly["false_alarms"] is None else f"{anomaly['false_alarms']:.0%}"
    table.add_row("good", str(anomaly["good_n"]), "", "", alarms)
    return table


def _area(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
