"""Multi-label metrics on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

__all__ = ["multilabel_table"]

_SHOWN = 20


def multilabel_table(section: Mapping[str, Any], title: str) -> Table:
    """Build the table of mAP, averages, and every class with positive images.

    Args:
        section: the report's section ``multilabel``.
        title: title of the table.
    """
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    for column in ("images", "AP", "precision", "recall", "F1", "threshold"):
        table.add_column(column, justify="right")
    for name in ("micro", "macro"):
        table.add_row(name, "", "", *_ratios(section[name]), "")
    shown = [one for one in section["per_class"] if one["support"]]
    # With many classes, list those with the lowest AP.
    listed = shown if len(shown) <= _SHOWN else sorted(shown, key=lambda one: float(one["average_precision"]))[:_SHOWN]
    for one in listed:
        threshold = f"{one['threshold']:.3f}"
        table.add_row(one["label"], str(one["support"]), _share(one["average_precision"]), *_ratios(one), threshold)
    left = len(shown) - len(listed)
    interval = "" if section["ci95"] is None else ", 95 % interval {:.4f} to {:.4f}".format(*section["ci95"])
    table.caption = (
        f"mAP {_share(section['mean_average_precision'])}{interval}; {section['exact_match']:.2%} of {section['n']} "
        f"images with exactly their labels{f'; {left} classes with a higher AP not listed' if left else ''}"
    )
    table.caption_justify = "left"
    return table


def _ratios(values: Mapping[str, float]) -> tuple[str, str, str]:
    return _share(values["precision"]), _share(values["recall"]), _share(values["f1"])


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
