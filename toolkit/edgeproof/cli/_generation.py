"""Generated pictures judged, on the terminal."""

from __future__ import annotations

from rich.table import Table

from edgeproof.generation import ClassCoverage, Distances

__all__ = ["coverage_table", "distance_line"]


def coverage_table(coverage: ClassCoverage) -> Table:
    """How often each class was drawn, and how sure the judge was."""
    title = f"{coverage.judge} on {coverage.n} pictures: {coverage.mean_confidence:.2%} sure on average"
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left", title_style="bold")
    table.add_column("class", overflow="fold")
    table.add_column("pictures", justify="right")
    for label, number in coverage.counts.items():
        table.add_row(label, str(number))
    return table


def distance_line(distances: Distances) -> str:
    """How near the pictures are to those that were learnt from."""
    real = "" if distances.real_median is None else f" (unseen real pictures: {distances.real_median:.3f})"
    return (
        f"nearest of {distances.training} training pictures: median distance {distances.median:.3f}{real}, "
        f"least {distances.least:.3f}, {distances.copies} of {distances.n} nearer than 0.02"
    )
