"""Tables on the terminal: accuracy, hops, layers, anomaly scores, generated images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from edgeproof.cli._multilabel import multilabel_table
from edgeproof.cli._shared import out
from edgeproof.generation import ClassCoverage, Distances
from edgeproof.library.evaluate_all import Evaluations
from edgeproof_runtime.verify.hops import HopCost, Walk

__all__ = [
    "coverage_table",
    "distance_line",
    "evaluations_table",
    "print_drift",
    "print_layer_times",
    "print_sections",
    "print_walk",
]


def print_sections(sections: Mapping[str, Mapping[str, Any]], samples: str, *, title: str | None = None) -> None:
    """Print a report's sections of metrics as tables.

    Args:
        sections: sections of a report by key.
        samples: noun for the labelled samples, in the plural.
        title: title of each table; None composes one from section and samples.
    """
    for key, section in sections.items():
        build, subject = _SECTIONS.get(key, (_figures_table, f"{key} of"))
        out.print(build(section, title or f"{subject} {section['n']} {samples}"))


def _figures_table(section: Mapping[str, Any], title: str) -> Table:
    """Build a plain table of a section's numbers."""
    table = Table(box=None, pad_edge=False, show_header=False, title=title, title_justify="left", title_style="bold")
    for name, value in section.items():
        if isinstance(value, int | float):
            table.add_row(name, f"{value:g}")
    return table


def accuracy_table(accuracy: Mapping[str, Any], title: str) -> Table:
    """Build the table of a report's ``accuracy``."""
    table = Table(box=None, pad_edge=False, show_header=False, title=title, title_justify="left", title_style="bold")
    low, high = accuracy["ci95"]
    table.add_row("top-1", f"{accuracy['top1']:.2%}", f"95 % interval {low:.2%} to {high:.2%}, n = {accuracy['n']}")
    if accuracy["top5"] is not None:
        table.add_row("top-5", f"{accuracy['top5']:.2%}", "")
    table.add_row("precision", f"{accuracy['precision']:.4f}", f"macro over {accuracy['classes_present']} classes")
    table.add_row("recall", f"{accuracy['recall']:.4f}", "")
    table.add_row("F1", f"{accuracy['f1']:.4f}", "")
    return table


def anomaly_table(anomaly: Mapping[str, Any], title: str) -> Table:
    """Build the table of a report's ``anomaly``: AUROC by kind of defect, and detections at the threshold."""
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left", title_style="bold")
    table.add_column("kind", overflow="fold")
    for column in ("images", "AUROC", "95 % interval", f"above {anomaly['threshold']:.4g}"):
        table.add_column(column, justify="right")
    for kind in anomaly["kinds"]:
        interval = "–" if kind["ci95"] is None else f"{kind['ci95'][0]:.3f} to {kind['ci95'][1]:.3f}"
        table.add_row(kind["kind"], str(kind["n"]), _area(kind["auroc"]), interval, f"{kind['detected']:.0%}")
    table.add_row("mean of the kinds", "", _area(anomaly["mean_auroc"]), "", "")
    alarms = "–" if anomaly["false_alarms"] is None else f"{anomaly['false_alarms']:.0%}"
    table.add_row("good", str(anomaly["good_n"]), "", "", alarms)
    return table


def unknown_table(unknown: Mapping[str, Any], title: str) -> Table:
    """Build the table of a report's ``unknown``: each score, and the rule that was chosen."""
    measured, chosen_on = unknown["measured_on"], unknown["chosen_on"]
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left", title_style="bold")
    table.add_column(f"{measured['known']} known, {measured['unknown']} unknown images")
    for column in ("AUROC", "95 % interval", "unknown accepted at 95 % known"):
        table.add_column(column, justify="right")
    for score, figures in unknown["scores"].items():
        low, high = figures["ci95"]
        table.add_row(score, _area(figures["auroc"]), f"{low:.3f} to {high:.3f}", f"{figures['fpr95']:.1%}")
    kept, accepted = f"{unknown['known_kept']:.1%}", f"{unknown['unknown_accepted']:.1%}"
    table.caption = (
        f"--unknown {unknown['rule']} keeps {kept} of the known and accepts {accepted} of the unknown images; "
        f"chosen on {chosen_on['known']} and {chosen_on['unknown']} others"
    )
    table.caption_justify = "left"
    return table


def _area(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def coverage_table(coverage: ClassCoverage) -> Table:
    """Build the table of generated images per class, with the classifier's mean confidence."""
    title = f"{coverage.judge} on {coverage.n} images: mean confidence {coverage.mean_confidence:.2%}"
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left", title_style="bold")
    table.add_column("class", overflow="fold")
    table.add_column("images", justify="right")
    for label, number in coverage.counts.items():
        table.add_row(label, str(number))
    return table


def distance_line(distances: Distances) -> str:
    """Format the distances of generated images to their nearest training images."""
    real = "" if distances.real_median is None else f" (unseen real images: {distances.real_median:.3f})"
    return (
        f"nearest of {distances.training} training images: median distance {distances.median:.3f}{real}, "
        f"least {distances.least:.3f}, {distances.copies} of {distances.n} closer than 0.02"
    )


def evaluations_table(found: Evaluations) -> Table:
    """Build the table that compares bundles: each one's figure, and its paired drop from the first."""
    table = Table(
        box=None,
        pad_edge=False,
        header_style="dim",
        title=f"{len(found.bundles)} bundles on {found.data}, and their paired drop from the first",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("bundle", overflow="fold")
    for column in ("figure", "value", "95 % interval", "n", "drop, points", "95 % interval", "p", ""):
        table.add_column(column, overflow="fold")
    rows = zip(found.bundles, found.reports, found.qualities, found.changes, found.failed.values(), strict=True)
    for name, report, quality, change, failed in rows:
        figures = ("–", "–") if quality is None else (quality.metric, f"{quality.value:.2%}")
        ends = None if quality is None else quality.ci95
        drop = ("–", "–", "–")
        if change is not None:
            low, high = change.drop_ci95
            drop = (f"{100 * change.drop:.2f}", f"{100 * low:.2f} to {100 * high:.2f}", f"{change.p_value:.2g}")
        table.add_row(
            name,
            *figures,
            "–" if ends is None else f"{ends[0]:.2%} to {ends[1]:.2%}",
            str(report.counts["frames_classified"]),
            *drop,
            Text("FAIL", style="bold red") if failed else Text("pass", style="green"),
        )
    return table


def print_walk(found: Walk) -> None:
    """Print a line per hop, the verdict, and the number of images that flip at each hop."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("hop", "top-1", "drop, points", "95 % interval", "lost", "gained", ""):
        table.add_column(column, overflow="fold")
    for cost in found.costs:
        table.add_row(cost.name, f"{cost.correct / cost.n:.2%}", *_cost(cost), cost.what)
    out.print(table)
    out.print(found.verdict(), style="bold" if found.culprit is not None else None)
    flips = {cost.name: sum(flip.hop == cost.name for flip in found.flips) for cost in found.costs[1:]}
    out.print(
        "images by the hop at which their prediction first flips: "
        + ", ".join(f"{n} at {name}" for name, n in flips.items())
    )


def _cost(cost: HopCost) -> tuple[str, str, str, str]:
    if cost.change is None:
        return ("", "", "", "")
    low, high = cost.change.drop_ci95
    return (
        f"{100 * cost.change.drop:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}",
        str(cost.change.lost),
        str(cost.change.gained),
    )


def print_drift(traces: Sequence[Mapping[str, Any]]) -> None:
    """Print, for each engine, where the numbers first move, and the layers that say so; a report has all of them."""
    for trace in traces:
        out.print(trace["verdict"], style="bold" if trace["first"] is not None else None)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for i, head in enumerate(_DRIFT_HEADS):
            table.add_column(head, justify="right" if 2 <= i <= 5 else "left", overflow="fold")
        for layer in _telling(trace["layers"]):
            figures = ("not finite" if layer[key] is None else f"{layer[key]:.2g}" for key in _DRIFT_FIGURES)
            note = f"{layer['not_finite']} not finite" if layer["not_finite"] else ""
            if layer["moved"]:
                note = f"moves {note}"
            table.add_row(layer["name"], " ".join(layer["operators"]), *figures, note)
        out.print(table)


def print_layer_times(engines: Sequence[Mapping[str, Any]]) -> None:
    """Print the slowest layers of each engine; a report has all of them."""
    for engine in engines:
        shown = engine["layers"][:_LAYERS_SHOWN]
        title = (
            f"{engine['engine']} {engine['precision']}: {len(shown)} of {len(engine['layers'])} layers, "
            f"{engine['total_ms']:.3g} ms in all, by {engine['clock']}"
        )
        table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left")
        for i, head in enumerate(("module", "layer of the engine", "type", "ms", "share")):
            table.add_column(head, justify="right" if i > 2 else "left", overflow="fold")
        for layer in shown:
            name = layer["name"]
            table.add_row(layer["module"], name, layer["type"], f"{layer['ms']:.3g}", f"{layer['share']:.1%}")
        out.print(table)


def _telling(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the layers around the first that moves, or those with the largest errors, in the graph's order."""
    first = next((i for i, layer in enumerate(layers) if layer["moved"]), None)
    if first is not None:
        return list(layers[max(0, first - _LAYERS_BEFORE) : first + _LAYERS_SHOWN - _LAYERS_BEFORE])
    errors = [math.inf if layer["error"] is None else layer["error"] for layer in layers]
    largest = sorted(range(len(layers)), key=lambda i: -errors[i])[:_LAYERS_SHOWN]
    return [layers[i] for i in sorted(largest)]


_LAYERS_SHOWN, _LAYERS_BEFORE = 10, 3
_DRIFT_HEADS = ("layer", "operators", "error", "before it", "largest difference", "largest value", "")
_DRIFT_FIGURES = ("error", "before", "max_abs_diff", "max_abs")
_SECTIONS: dict[str, tuple[Callable[[Mapping[str, Any], str], Table], str]] = {
    "accuracy": (accuracy_table, "accuracy of"),
    "anomaly": (anomaly_table, "defects among"),
    "multilabel": (multilabel_table, "labels of"),
    "unknown": (unknown_table, "unknown images beside"),
}
"""Table and start of its title, by key of the report's section."""
