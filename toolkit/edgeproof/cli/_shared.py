"""What several commands share: consoles, options, checks of output files, gates on the terminal."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import GateError, InputError, Skipped, UnavailableError
from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.metrics.gate import Gate

__all__ = [
    "BundlePath",
    "EngineName",
    "HtmlFile",
    "JsonFile",
    "Precision",
    "Threads",
    "bundle_name",
    "check_outputs",
    "check_report_possible",
    "count",
    "err",
    "fail_on",
    "out",
    "print_engines",
    "print_evidence_problem",
    "print_gates",
    "print_skipped",
    "progress_bar",
    "seconds_of",
    "write_reports",
]

_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_FILE_COLUMNS = 160  # a pipe or a log file has no width; rich would fold tables to 80 columns


def _console(*, stderr: bool) -> Console:
    # Labels and file names are data: one called "[/bold]" must not be taken for markup.
    console = Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_COLUMNS
    return console


out = _console(stderr=False)
err = _console(stderr=True)

BundlePath = Annotated[Path, typer.Argument(help="A bundle, NAME.edge.", metavar="BUNDLE", show_default=False)]
EngineName = Annotated[
    str, typer.Option(help=f"auto (the fastest that passes here), {', '.join(e.name for e in catalog.offered())}.")
]
Precision = Annotated[
    str, typer.Option(help="fp32, fp16 or int8; auto: the fastest here of those that the bundle has.")
]
Threads = Annotated[int | None, typer.Option(help="CPU threads of the engine; else the engine's choice.", min=1)]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.", metavar="FILE")]
HtmlFile = Annotated[
    Path | None, typer.Option("--report", help="Write the report as one HTML page.", metavar="FILE.html")
]

_NAMED = 10


def seconds_of(text: str | None, what: str) -> float | None:
    """``8h``, ``1h30m``, ``90s``, ``250ms`` or ``90`` as seconds; None stays None.

    Raises:
        InputError: it is no time above 0.
    """
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhd]?)", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not 0 < seconds < math.inf:
        raise InputError(f"{what} is no time", got=text, expected="such as 90 (seconds), 250ms, 30m, 1h30m or 8h")
    return seconds


def count(number: int, what: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def print_gates(gates: Sequence[Gate]) -> None:
    """Every gate on a line of its own, its bounded quantities beside it."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("gate", "", "measured", "bound"):
        table.add_column(column, overflow="fold")
    for gate in gates:
        measured = ", ".join(_measured(gate, name) for name in gate.bound)
        bounds = ", ".join(_limits(limits) for limits in gate.bound.values())
        verdict = Text("pass", style="green") if gate.passed else Text("FAIL", style="bold red")
        table.add_row(gate.name, verdict, measured, bounds)
    out.print(table)


def _limits(limits: Mapping[str, float]) -> str:
    signs = {"min": "≥", "max": "≤"}
    return " and ".join(f"{signs[side]} {value:g}" for side, value in limits.items())


def print_engines(rows: Sequence[EngineRow]) -> None:
    """Engines with their medians; the chosen one is marked."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("engine", "precision", "threads", "version", "median", "golden cases", ""):
        table.add_column(column, overflow="fold")
    for row in rows:
        median = f"{row.median_ms:.2f} ms" if row.median_ms is not None else "–"
        passed = {True: "pass", False: "FAIL", None: "not run"}[row.passed]
        note = "chosen" if row.chosen else (row.reason or "")
        threads = "–" if row.threads is None else str(row.threads)
        table.add_row(row.name, row.precision or "–", threads, row.version or "–", median, passed, note)
    out.print(table)


@contextmanager
def progress_bar(title: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """A bar per phase on stderr, on a terminal only; told (phase, done, total)."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True, disable=not err.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(phase: str, done: int, total: int) -> None:
            countable = total > 1
            if phase not in tasks:
                # A single step says nothing about how far it is: the bar only pulses.
                tasks[phase] = bar.add_task(f"{title}{phase}", total=total if countable else None, count="")
            bar.update(tasks[phase], completed=done, count=f"{done}/{total}" if countable else "")
            if done >= total:
                bar.remove_task(tasks.pop(phase))

        yield tell


def print_skipped(skipped: Sequence[Skipped], what: str = "file") -> None:
    """Name what was skipped on stderr."""
    if skipped:
        err.print(f"{count(len(skipped), what)} skipped", style="yellow")
        for item in skipped[:_NAMED]:
            err.print(f"  {item.name}: {item.reason}")
        if len(skipped) > _NAMED:
            err.print(f"  and {len(skipped) - _NAMED} more")


def write_reports(report: Report, json_file: Path | None, html_file: Path | None) -> None:
    """Write what was asked for and say where it is."""
    if json_file is not None:
        report.write(json_file)
        err.print(f"report {json_file}")
    if html_file is not None:
        # matplotlib takes a second to import, which only a page needs.
        from edgeproof.report import write_html

        write_html(report.to_json(), html_file)
        err.print(f"report {html_file}")


def print_evidence_problem(problem: str | None) -> None:
    """Say why a report is not kept in the bundle, if it is not."""
    if problem is not None:
        err.print(f"note: the report is not kept in the bundle: {problem}")


def bundle_name(report: Report) -> str:
    """Return the name of the bundle that a report is about."""
    if report.bundle is None:
        raise TypeError(f"a {report.kind} report without a bundle")
    return report.bundle.name


def check_outputs(*files: Path | None, inputs: Sequence[str | Path | None] = ()) -> None:
    """Fail before the work rather than after it where an output cannot be written, or would overwrite something.

    Args:
        files: what will be written; None for what was not asked for.
        inputs: what is read, and must still be there afterwards.

    Raises:
        InputError: a place is a folder, in a file or not writable, two outputs are one file, or an output is an input.
    """
    taken = {Path(name).resolve() for name in inputs if name is not None}
    for file in files:
        if file is None:
            continue
        if file.is_dir():
            raise InputError(f"{file} is a folder", expected="a file name")
        existing = next(parent for parent in (file, *file.absolute().parents) if parent.exists())
        if existing != file and not existing.is_dir():
            raise InputError(f"{file} cannot be written", got=f"{existing} is a file", expected="a folder")
        if not os.access(existing, os.W_OK):
            raise InputError(f"{file} cannot be written", got=f"no permission for {existing}")
        if file.resolve() in taken:
            raise InputError(f"{file} would be overwritten", got="it is read, or written twice, by this very command")
        taken.add(file.resolve())


def check_report_possible(html_file: Path | None) -> None:
    """Fail before the work rather than after it where an HTML report cannot be made.

    Raises:
        InputError: the file is named as something else than an HTML page.
        UnavailableError: the report extra is not installed.
    """
    if html_file is None:
        return
    if html_file.suffix.lower() not in (".html", ".htm"):
        raise InputError(
            "a report is an HTML page",
            got=html_file,
            expected="a name that ends in .html",
            fix=f"--report {html_file.parent / (html_file.stem or 'report')}.html, which a browser prints as PDF",
        )
    if find_spec("matplotlib") is None or find_spec("jinja2") is None:
        raise UnavailableError(
            "HTML reports need matplotlib and Jinja2", fix='pip install "edgeproof[report]", or write --json instead'
        )


def fail_on(gates: Sequence[Gate], subject: str) -> None:
    """Raise when a gate did not pass.

    Raises:
        GateError: names the gates and by how much they missed.
    """
    failed = [gate for gate in gates if not gate.passed]
    if not failed:
        return
    got = [f"{gate.name}: " + ", ".join(_measured(gate, name) for name in gate.missed()) for gate in failed]
    expected = [
        f"{gate.name}: " + ", ".join(f"{name} {_limits(gate.bound[name])}" for name in gate.missed()) for gate in failed
    ]
    raise GateError(
        f"{subject} failed {len(failed)} of {len(gates)} gates", got="; ".join(got), expected="; ".join(expected)
    )


def _measured(gate: Gate, name: str) -> str:
    return f"{name} {gate.measured.get(name, math.nan):.4g}"
