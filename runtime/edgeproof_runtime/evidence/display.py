"""A report as HTML for notebooks, without the packages of the report page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from edgeproof_runtime.metrics.latency import STAGES

if TYPE_CHECKING:  # it imports this module
    from edgeproof_runtime.evidence.report import Report

__all__ = ["html_of"]

_LEFT = ' style="text-align:left"'
_FONT = "font:12px system-ui,sans-serif;fill:currentColor"
_BLUE = "#4c84d6"
_WIDTH, _ROW, _NAME = 360.0, 20.0, 90.0
_SAMPLES, _ENGINES, _WARNINGS = 6, 12, 8


def html_of(report: Report) -> str:
    """Return the verdict, gates, main figures, latencies with a plot, frames and warnings of a report."""
    document = report.to_json()
    parts = [
        _head(document),
        _gates(document["gates"]),
        _engines(document["engines"]),
        _figures(document),
        _latencies(document["latency_ms"], document["distribution_ms"]),
        _samples(document["samples"]),
        _warnings(document["warnings"]),
    ]
    return f"<div>{''.join(parts)}</div>"


def _head(document: Mapping[str, Any]) -> str:
    verdict = {True: "✓ passed", False: "✗ failed", None: "no gates"}[document["passed"]]
    bundle = document["bundle"]
    named = f" of {bundle['name']}" if bundle else ""
    return f"<p><b>{verdict}</b> · {escape(document['kind'] + named)} · {escape(document['created'])}</p>"


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        ("✓" if gate["passed"] else "✗", gate["name"], name, _number(value), _limits(gate["bound"].get(name, {})))
        for gate in gates
        for name, value in gate["measured"].items()
        if name in gate["bound"]
    ]
    return _table(("", "gate", "quantity", "measured", "bound"), rows)


def _engines(engines: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            "→" if row["chosen"] else "",
            f"{row['name']} {row['version'] or ''}".strip(),
            row["precision"] or "",
            _number(row["median_ms"]),
            row["reason"] or "",
        )
        for row in engines[:_ENGINES]
    ]
    return _table(("", "engine", "precision", "median, ms", ""), rows)


def _figures(document: Mapping[str, Any]) -> str:
    """Return the counts, the throughput and the single numbers of each section on labelled data."""
    rows = [("counts", name.replace("_", " "), str(value)) for name, value in document["counts"].items() if value]
    if document["throughput_fps"] is not None:
        rows.append(("", "frames per second", _number(document["throughput_fps"])))
    for key in ("accuracy", "multilabel", "anomaly"):
        for name, value in (document[key] or {}).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rows.append((key, name.replace("_", " "), _number(value)))
    return _table(("", "figure", ""), rows)


def _latencies(latency_ms: Mapping[str, Any], distribution_ms: Mapping[str, Any]) -> str:
    stages = [stage for stage in STAGES if (latency_ms.get(stage) or {}).get("mean") is not None]
    if not stages:
        return ""
    names = ("mean", "p50", "p90", "p99", "max")
    rows = [(stage.replace("_", " "), *(_number(latency_ms[stage][name]) for name in names)) for stage in stages]
    drawn = [stage for stage in stages if len((distribution_ms.get(stage) or {}).get("ms", ())) > 1]
    return _table(("latency, ms", *names), rows) + (_plot(drawn, latency_ms, distribution_ms) if drawn else "")


def _plot(stages: Sequence[str], latency_ms: Mapping[str, Any], distribution_ms: Mapping[str, Any]) -> str:
    """Draw each stage on a logarithmic axis: a line from fastest to slowest frame, a box for the middle half."""
    quarters = {stage: _quarters(distribution_ms[stage]) for stage in stages}
    positive = [value for values in quarters.values() for value in values if value > 0]
    if not positive:
        return ""
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    high = max(high, low + 1)

    def at(ms: float) -> float:
        return _NAME + _WIDTH * (math.log10(max(ms, 10.0**low)) - low) / (high - low)

    height = _ROW * (len(stages) + 1)
    total = _NAME + _WIDTH + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total:.0f} {height:.0f}" width="{total:.0f}"',
        f' height="{height:.0f}" role="img" aria-label="latency by stage">',
    ]
    for power in range(low, high + 1):
        x = at(10.0**power)
        parts.append(f'<path d="M{x:.1f} 0 V{height - _ROW:.1f}" stroke="currentColor" stroke-opacity="0.2"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{height - 5:.1f}" text-anchor="middle" style="{_FONT}">{10.0**power:g}</text>'
        )
    for row, stage in enumerate(stages):
        y = _ROW * (row + 0.5)
        first, lower, median, upper, last = map(at, quarters[stage])
        name = escape(stage.replace("_", " "))
        parts += [
            f'<text x="0" y="{y + 4:.1f}" style="{_FONT}">{name}</text>',
            f'<path d="M{first:.1f} {y:.1f} H{last:.1f}" stroke="{_BLUE}"/>',
            f'<rect x="{lower:.1f}" y="{y - 6:.1f}" width="{max(upper - lower, 1):.1f}" height="12" fill="{_BLUE}"',
            f' fill-opacity="0.5"><title>{name}: n {latency_ms[stage]["count"]}</title></rect>',
            f'<path d="M{median:.1f} {y - 6:.1f} v12" stroke="currentColor" stroke-width="2"/>',
        ]
    caption = "ms; line: fastest to slowest frame, box: the middle half, stroke: median"
    return f'{"".join(parts)}</svg><div style="font-size:smaller">{caption}</div>'


def _quarters(distribution: Mapping[str, Sequence[float]]) -> list[float]:
    """Return the smallest value, the quartiles and the largest of a thinned distribution, ms."""
    ms, share = distribution["ms"], distribution["share"]
    inner = [
        next(value for value, part in zip(ms, share, strict=True) if part >= wanted) for wanted in (0.25, 0.5, 0.75)
    ]
    return [ms[0], *inner, ms[-1]]


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    figures = []
    for sample in samples[:_SAMPLES]:
        right = sample["truth"] in (None, sample["label"])
        truth = "" if right else f" (truth: {escape(sample['truth'])})"
        figures.append(
            f'<figure style="margin:0"><img src="data:image/jpeg;base64,{escape(sample["jpeg"])}" height="120"'
            f' alt="{escape(sample["name"])}"><figcaption>{escape(sample["label"])}{truth}</figcaption></figure>'
        )
    return (
        f'<div style="display:flex;flex-wrap:wrap;gap:1em;margin-top:1em">{"".join(figures)}</div>' if figures else ""
    )


def _warnings(warnings: Sequence[str]) -> str:
    more = len(warnings) - _WARNINGS
    lines = [*warnings[:_WARNINGS], *([f"{more} more warnings"] if more > 0 else [])]
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    titles = "".join(f"<th{_LEFT}>{escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(f'<td{_LEFT}>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def _limits(bound: Mapping[str, float]) -> str:
    return ", ".join(_signed(bound))


def _signed(bound: Mapping[str, float]) -> Iterator[str]:
    for side, sign in (("min", "≥"), ("max", "≤")):
        if side in bound:
            yield f"{sign} {bound[side]:g}"
