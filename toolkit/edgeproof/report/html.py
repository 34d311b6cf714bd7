"""A report's JSON document as one self-contained HTML file: no script, no font, no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from importlib import util
from pathlib import Path
from typing import Any

from edgeproof.report import wording
from edgeproof.report.headline import tiles, verdict
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.evidence.report import SCHEMA, Report
from edgeproof_runtime.sinks.queued import SinkCounts
from edgeproof_runtime.system.files import write_atomically
from edgeproof_runtime.system.spec import SPEC

__all__ = ["KINDS", "render_html", "shown_document", "write_html", "write_side_by_side"]

KINDS = {
    "demo": "Demonstration",
    "train": "Training",
    "export": "Export",
    "optimize": "Optimisation",
    "verify": "Verification",
    "evaluate": "Evaluation",
    "run": "Live run",
    "soak": "Soak",
    "tune": "Choice of engine",
    "bench": "Benchmark",
    "serve": "Server",
    "sample": "Generated images",
    "agent": "Roll-out",
}

_STAGES = {
    "capture": "Capture",
    "decode": "Decode",
    "preprocess": "Preprocess",
    "inference": "Inference",
    "postprocess": "Postprocess",
    "end_to_end": "End to end",
    "frame_age": "Frame age",
}

_QUANTITIES = {
    "max_abs_diff": "Largest difference",
    "mean_abs_diff": "Mean difference",
    "cosine": "Cosine similarity",
    "top1_agreement": "Same top-1",
}


def write_html(report: Mapping[str, Any], path: str | Path) -> None:
    """Write a report as HTML, whole or not at all.

    Args:
        report: from `edgeproof_runtime.evidence.report.Report.to_json`, or its JSON read back.
        path: the HTML file.

    Raises:
        InputError: the document is not a report of this schema, or the file cannot be written.
        UnavailableError: the ``report`` extra is not installed.
    """
    write_atomically(path, render_html(report).encode())


def render_html(report: Mapping[str, Any]) -> str:
    """Return the page that `write_html` writes.

    Raises:
        InputError: the document is not a report of this schema.
        UnavailableError: the ``report`` extra is not installed.
    """
    environment = _environment()
    import jinja2

    from edgeproof.report.figures import figures

    environment.filters.update(
        count=wording.count,
        measure=lambda pair: wording.measure(*pair),
        ms=wording.three_digits,
        percent=wording.percent,
        plain=wording.plain,
        size=wording.megabytes,
        words=wording.words,
    )
    try:
        shown = shown_document(report)
        own = (*SPEC["report_keys"], "switches")
        page: str = environment.get_template("report.html.j2").render(
            report=shown,
            kind=KINDS[shown["kind"]],
            name=shown["bundle"]["name"] if shown["bundle"] else KINDS[shown["kind"]],
            byline=_byline(shown),
            verdict=verdict(shown),
            tiles=tiles(shown),
            stages=_STAGES,
            reasons=_reasons(shown["latency_ms"]),
            gate_tables=_gate_tables(shown["gates"]),
            host=_host(shown["host"]),
            figures=figures(shown),
            # Sections of tasks that have no template here.
            further={key: v for key, v in shown.items() if key not in own and isinstance(v, dict)},
        )
        return page
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, jinja2.UndefinedError) as error:
        raise InputError(
            "report: a required key is missing or invalid", got=f"{type(error).__name__}: {error}"
        ) from error


def write_side_by_side(reports: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write the main figures of several reports as one page, whole or not at all.

    Args:
        reports: documents of reports, of any kinds.
        path: the HTML file.

    Raises:
        InputError: a document is not a report of this schema, or the file cannot be written.
        UnavailableError: the ``report`` extra is not installed.
    """
    from edgeproof.report.summary import side_by_side

    page = _environment().get_template("sides.html.j2").render(table=side_by_side(reports))
    write_atomically(path, page.encode())


def shown_document(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report with all keys of the schema, and without control characters.

    Raises:
        InputError: the document is not a report of this schema.
    """
    if report.get("schema") != SCHEMA:
        raise InputError("report: unsupported schema", got=report.get("schema"), expected=SCHEMA)
    try:
        shown: dict[str, Any] = _cleaned(_complete(report))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            "report: a required key is missing or invalid", got=f"{type(error).__name__}: {error}"
        ) from error
    return shown


def _environment() -> Any:
    """Return the environment of the templates.

    Raises:
        UnavailableError: the ``report`` extra is not installed.
    """
    missing = [name for name in ("jinja2", "matplotlib") if util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            "HTML report: Jinja2 or Matplotlib not installed",
            got=f"no {', '.join(missing)}",
            fix='pip install "edgeproof[report]"',
        )
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _complete(report: Mapping[str, Any]) -> dict[str, Any]:
    """Add the keys that a report may leave out because they are null, or later than the program that wrote it."""
    empty = Report(kind="run", command="", host={}).to_json()
    document = {name: value for name, value in empty.items() if not value}
    document |= {name: value for name, value in report.items() if value is not None}
    for part, row in (("engines", EngineRow), ("sinks", SinkCounts)):
        document[part] = [dict.fromkeys(field.name for field in fields(row)) | one for one in document[part]]
    return document


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return wording.clean(value)
    if isinstance(value, Mapping):
        return {wording.clean(k): _cleaned(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_cleaned(v) for v in value]
    return value


def _byline(report: Mapping[str, Any]) -> list[str]:
    engine = next((e for e in report["engines"] if e["chosen"]), None)
    used = " ".join(v for v in (engine["name"], engine["version"]) if v) if engine else report["settings"].get("engine")
    precision = report["settings"].get("precision")
    cpu = report["host"].get("cpu") or {}
    gpus = [gpu["name"] for gpu in report["host"].get("gpu") or []]
    created = datetime.fromisoformat(report["created"])
    parts = [
        " ".join(str(v) for v in (used, precision) if v),
        cpu.get("model"),
        *gpus,
        f"{created.day} {created:%B %Y, %H:%M} {created.tzname() or ''}".rstrip(),
    ]
    return [part for part in parts if part]


def _reasons(latency_ms: Mapping[str, Any]) -> list[str]:
    """Return why percentiles are missing, each reason once."""
    return list(dict.fromkeys(reason for stage in latency_ms.values() for reason in stage["unsupported"].values()))


@dataclass(frozen=True, slots=True)
class _Cell:
    value: str
    bound: str
    missed: bool


@dataclass(frozen=True, slots=True)
class _GateTable:
    """Gates with the same quantities."""

    columns: tuple[str, ...]
    rows: list[tuple[Mapping[str, Any], list[_Cell]]]


def _gate_tables(gates: Sequence[Mapping[str, Any]]) -> list[_GateTable]:
    tables: dict[tuple[str, ...], _GateTable] = {}
    for gate in gates:
        quantities = tuple(dict.fromkeys((*gate["measured"], *gate["bound"])))
        columns = tuple(_QUANTITIES.get(q, wording.words(q)) for q in quantities)
        table = tables.setdefault(quantities, _GateTable(columns, []))
        table.rows.append((gate, [_cell(q, gate["measured"].get(q), gate["bound"].get(q, {})) for q in quantities]))
    return list(tables.values())


def _cell(name: str, value: float | None, limits: dict[str, float]) -> _Cell:
    bound = wording.comparison(name, limits)
    if value is None:
        return _Cell("not finite", bound, bool(limits))
    low, high = limits.get("min", -math.inf), limits.get("max", math.inf)
    return _Cell(wording.quantity(name, value), bound, not low <= value <= high)


def _host(host: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Return the host's facts by heading; absent hardware has no heading."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, value in host.items():
        if key == "packages":
            groups[wording.words(key)] = list(value.items())
        elif isinstance(value, Mapping):
            groups[wording.words(key)] = _rows(value)
        elif isinstance(value, list):
            for i, item in enumerate(value):
                heading = wording.words(key) + (f" {i + 1}" if len(value) > 1 else "")
                groups[heading] = _rows(item) if isinstance(item, Mapping) else [wording.measure(key, item)]
        elif value is not None:
            groups.setdefault("Other", []).append(wording.measure(key, value))
    return groups


def _rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [wording.measure(k, v) for k, v in facts.items() if v is not None and v != []]
