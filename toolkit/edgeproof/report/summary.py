"""Reports in short: side by side, as Markdown for pull requests, and as a badge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from edgeproof.report.headline import Verdict, tiles, verdict
from edgeproof.report.html import KINDS, shown_document
from edgeproof.report.wording import comparison, quantity, words
from edgeproof_runtime.errors import InputError

__all__ = ["Column", "SideBySide", "badge", "markdown", "side_by_side"]

_COLOURS = {"pass": "#2e7d4f", "fail": "#b3261e", "none": "#4c6a92"}
_MOST_GATES = 100  # GitHub cuts a comment at 65,536 characters
_PIXELS = 6.6  # a character of 11 px Verdana, on average


@dataclass(frozen=True, slots=True)
class Column:
    """One report of several.

    Attributes:
        name: bundle and kind.
        about: when, on which CPU, with which engine.
        verdict: of its gates.
    """

    name: str
    about: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Reports as the columns of a table.

    Attributes:
        columns: the reports, as given.
        rows: figure and its value in each report; empty where a report has none.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def side_by_side(reports: Sequence[Mapping[str, Any]]) -> SideBySide:
    """Put the main figures of reports side by side. Nothing is judged: that is what `edgeproof.compare` does.

    Args:
        reports: documents of reports, of any kinds.

    Raises:
        InputError: a document is not a report of this schema.
    """
    shown = [_required(report) for report in reports]
    try:
        columns = tuple(_column(report) for report in shown)
        figures = [{tile.label: f"{tile.value} {tile.unit}".strip() for tile in tiles(report)} for report in shown]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            "report: a required key is missing or invalid", got=f"{type(error).__name__}: {error}"
        ) from error
    labels = dict.fromkeys(label for one in figures for label in one)
    return SideBySide(columns, tuple((label, tuple(one.get(label, "") for one in figures)) for label in labels))


def markdown(reports: Sequence[Mapping[str, Any]]) -> str:
    """Return reports as GitHub-flavoured Markdown: verdicts and main figures; of one also its gates and warnings.

    Raises:
        InputError: a document is not a report of this schema.
    """
    table = side_by_side(reports)
    lines = []
    if len(table.columns) == 1:
        (column,) = table.columns
        lines += [
            f"### {_cell(column.name)}",
            "",
            f"{column.verdict.symbol} **{column.verdict.word}.** {_cell(column.verdict.sentence)}",
            "",
        ]
    head = ["", *(column.name for column in table.columns)]
    rows = [["verdict", *(f"{column.verdict.symbol} {column.verdict.word.lower()}" for column in table.columns)]]
    rows += [[label, *values] for label, values in table.rows]
    rows.append(["measured", *(column.about for column in table.columns)])
    lines += ["| " + " | ".join(map(_cell, head)) + " |", "|---|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    if len(reports) == 1:
        lines += _details(_required(reports[0]))
    return "\n".join(lines) + "\n"


def badge(report: Mapping[str, Any]) -> str:
    """Return the verdict and the first figure of a report as an SVG badge.

    Raises:
        InputError: the document is not a report of this schema.
    """
    table = side_by_side([report])
    (column,) = table.columns
    said = column.verdict.word.lower()
    if table.rows:
        label, (value,) = table.rows[0]
        said += f", {label.lower()} {value}"
    left, right = "edgeproof", said
    title = escape(f"{left}: {right}")
    widths = [round(_PIXELS * len(text) + 12) for text in (left, right)]
    whole, colour = sum(widths), _COLOURS[column.verdict.state]
    texts = "".join(
        f'<text x="{x}" y="14" textLength="{width - 12}">{escape(text)}</text>'
        for text, x, width in ((left, 6, widths[0]), (right, widths[0] + 6, widths[1]))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{title}">'
        f"<title>{title}</title>"
        f'<rect width="{whole}" height="20" rx="3" fill="{colour}"/>'
        f'<path d="M3 0h{widths[0] - 3}v20H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#3b4148"/>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{texts}</g></svg>\n'
    )


def _required(report: Mapping[str, Any]) -> dict[str, Any]:
    shown = shown_document(report)
    if shown["kind"] not in KINDS:
        raise InputError("report: unknown kind", got=shown["kind"], expected=", ".join(KINDS))
    return shown


def _column(report: Mapping[str, Any]) -> Column:
    kind = KINDS[report["kind"]]
    name = f"{report['bundle']['name']}, {kind.lower()}" if report["bundle"] else kind
    engine = next((e for e in report["engines"] if e["chosen"]), None)
    cpu = (report["host"].get("cpu") or {}).get("model")
    parts = (report["created"][:10], None if engine is None else engine["name"], cpu)
    return Column(name, ", ".join(part for part in parts if part), verdict(report))


def _details(report: Mapping[str, Any]) -> list[str]:
    lines = []
    if report["gates"]:
        lines += ["", "<details><summary>Gates</summary>", "", "| gate | | measured | bound |", "|---|---|---|---|"]
        for gate in report["gates"][:_MOST_GATES]:
            measured = ", ".join(f"{words(q)} {_figure(q, v)}" for q, v in gate["measured"].items())
            bound = ", ".join(comparison(q, limits) for q, limits in gate["bound"].items())
            row = (gate["name"], "✓" if gate["passed"] else "✗", measured, bound)
            lines.append("| " + " | ".join(map(_cell, row)) + " |")
        left = len(report["gates"]) - _MOST_GATES
        lines += [*([f"| {left} more | | | |"] if left > 0 else []), "", "</details>"]
    if report["warnings"]:
        lines += [
            "",
            "<details><summary>Notes</summary>",
            "",
            *(f"- {_cell(text)}" for text in report["warnings"]),
            "",
            "</details>",
        ]
    return lines


def _figure(name: str, value: float | None) -> str:
    return "not finite" if value is None else quantity(name, value)


def _cell(text: object) -> str:
    """Escape what Markdown and GitHub's HTML would take for marks."""
    return (
        escape(" ".join(str(text).split()), quote=False).replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")
    )
