"""Shared by several commands: options, reports, gates on the terminal."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edgeproof.cli._console import err, out
from edgeproof.cli._paths import Reads, Writes
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import catalog
from edgeproof_runtime.engines.row import EngineRow
from edgeproof_runtime.errors import GateError, InputError, Skipped
from edgeproof_runtime.evidence.report import Report
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.system import units
from edgeproof_runtime.system.steps import STEPS, step

__all__ = [
    "AveragedWeights",
    "BundlePath",
    "ClassIds",
    "ClassOrder",
    "EngineName",
    "Exif",
    "Follow",
    "HtmlFile",
    "JsonFile",
    "LiveBundle",
    "On",
    "OtherLabels",
    "Precision",
    "ServerToken",
    "ServerUrl",
    "Split",
    "Threads",
    "Trust",
    "bundle_name",
    "count",
    "err",
    "fail_on",
    "missed_by",
    "open_trusted",
    "out",
    "print_engines",
    "print_evidence_problem",
    "print_gates",
    "print_skipped",
    "progress_bar",
    "seconds_of",
    "seconds_or_zero",
    "write_reports",
]

_LINE_EVERY_S = 10.0  # between two lines of progress in pipes and log files

BundlePath = Annotated[Path, typer.Argument(help="Bundle, NAME.edge.", metavar="BUNDLE", show_default=False), Reads()]
LiveBundle = Annotated[
    Path,
    typer.Argument(
        help="Bundle, NAME.edge, or a file of settings, NAME.toml (see init).", metavar="BUNDLE", show_default=False
    ),
    Reads(),
]
Follow = Annotated[
    bool,
    typer.Option(
        "--follow",
        help="Change to each new bundle that BUNDLE names, a link or a replaced folder, between two frames, once its "
        "golden cases pass here. One that fails is refused.",
    ),
]
OtherLabels = Annotated[bool, typer.Option("--other-labels", help="With --follow: accept bundles with other labels.")]
EngineName = Annotated[
    str,
    typer.Option(
        help=f"auto (the fastest that passes on this machine), {', '.join(e.name for e in catalog.offered())}."
    ),
]
Precision = Annotated[
    str, typer.Option(help="fp32, fp16 or int8; auto: the fastest on this machine that the bundle has.")
]
Threads = Annotated[int | None, typer.Option(help="CPU threads of the engine (default: the engine's choice).", min=1)]
Trust = Annotated[
    Path | None,
    typer.Option(
        help="Require a signature by this public key, by certificates of these authorities, or as a policy NAME.toml "
        "says (default: $EDGEPROOF_TRUST).",
        metavar="FILE",
    ),
    Reads(),
]
Split = Annotated[
    str | None,
    typer.Option(
        help="Split of --data: folder, file, column or arrays of this name (default: test, else val).",
        metavar="SPLIT",
    ),
]
ClassIds = Annotated[
    Path | None,
    typer.Option(
        help="The dataset's class names (folder names) in class order, as text, CSV or JSON (default: the bundle's).",
        metavar="FILE",
    ),
    Reads(),
]
ClassOrder = Annotated[
    str | None,
    typer.Option(
        help="Order of class names that match no label: text (0, 1, 10, 2; torchvision's ImageFolder) or natural "
        "(0, 1, 2, 10; timm).",
        metavar="ORDER",
    ),
]
Exif = Annotated[
    bool,
    typer.Option(
        "--exif", help="Turn images of --data by their EXIF orientation, as run does (default: ImageFolder's)."
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on", help="Run on a Ray cluster: ray, or ray://HOST[:PORT] (default: this process).", metavar="CLUSTER"
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the report as JSON; - is stdout.", metavar="FILE"), Writes("file")
]
ServerUrl = Annotated[
    str | None,
    typer.Option(
        help="Server of the Open Inference Protocol to ask instead of this machine's engines: http://host:8000 or "
        "grpc://host:8001.",
        metavar="URL",
        show_default=False,
    ),
]
ServerToken = Annotated[
    str | None,
    typer.Option(
        "--token", help="Token of the server at --url.", envvar="EDGEPROOF_TOKEN", show_envvar=True, show_default=False
    ),
]
HtmlFile = Annotated[
    Path | None,
    typer.Option("--report", help="Write the report as one HTML page.", metavar="FILE.html"),
    Writes("page"),
]
AveragedWeights = Annotated[
    bool | None,
    typer.Option(
        "--ema/--no-ema",
        help="Take the averaged (EMA) weights of the file, or the others (default: averaged ones if it has any).",
        show_default=False,
    ),
]

_NAMED = 10


def seconds_of(text: str | None, what: str) -> float | None:
    """Parse a duration (``8h``, ``1h30m``, ``90s``, ``250ms`` or ``90``) into seconds; None stays None.

    Raises:
        InputError: not a duration above 0.
    """
    if text is None:
        return None
    seconds = units.seconds_of(text)
    if seconds is None:
        raise InputError(f"{what}: not a duration", got=text, expected="90 (seconds), 250ms, 30m, 1h30m, 8h or similar")
    return seconds


def seconds_or_zero(text: str, what: str) -> float:
    """Parse a duration as `seconds_of` does; ``0`` is valid too.

    Raises:
        InputError: not a duration.
    """
    return 0.0 if text in ("0", "0s") else seconds_of(text, what) or 0.0


def count(number: int, what: str) -> str:
    """Format a number with its noun: ``1 file``, ``2 files``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def print_gates(gates: Sequence[Gate]) -> None:
    """Print a line per gate: verdict, measured values and bounds."""
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
    """Print a line per engine with its median latency; the chosen one is marked."""
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
    """Show progress on stderr; yields ``tell(phase, done, total)``.

    A terminal gets a bar per phase. A file or pipe gets a plain line every 10 seconds, none in the first 10.
    """
    with (_progress_bars if err.is_terminal else _progress_lines)(title) as tell:
        yield _timed(tell, title)


def _timed(tell: Callable[[str, int, int], None], title: str) -> Callable[[str, int, int], None]:
    """Return a ``tell`` that also logs each phase as a step."""
    began: dict[str, float] = {}

    def timed(phase: str, done: int, total: int) -> None:
        since = began.setdefault(phase, time.perf_counter())
        if done >= total:
            number = f", {total} steps" if total > 1 else ""
            STEPS.info("%s%s%s: %.3f s", title, phase, number, time.perf_counter() - since)
            del began[phase]
        tell(phase, done, total)

    return timed


@contextmanager
def _progress_bars(title: str) -> Iterator[Callable[[str, int, int], None]]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True, disable=err.results_only) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(phase: str, done: int, total: int) -> None:
            countable = total > 1
            if phase not in tasks:
                # A phase of one step has no measurable progress: the bar pulses.
                tasks[phase] = bar.add_task(f"{title}{phase}", total=total if countable else None, count="")
            bar.update(tasks[phase], completed=done, count=f"{done}/{total}" if countable else "")
            if done >= total:
                bar.remove_task(tasks.pop(phase))

        yield tell


@contextmanager
def _progress_lines(title: str) -> Iterator[Callable[[str, int, int], None]]:
    started = time.monotonic()
    ended = threading.Event()
    newest: list[str] = []

    def tell(phase: str, done: int, total: int) -> None:
        newest[:] = [f"{title}{phase}" + (f" {done}/{total}" if total > 1 else "")]

    def write() -> None:
        # In a thread, because a phase may take minutes between two calls of `tell`.
        while not ended.wait(_LINE_EVERY_S):
            if newest:
                err.print(f"{time.monotonic() - started:.0f} s: {newest[0]}")

    writer = threading.Thread(target=write, name="progress", daemon=True)
    writer.start()
    try:
        yield tell
    finally:
        ended.set()
        writer.join()


def print_skipped(skipped: Sequence[Skipped], what: str = "file") -> None:
    """Print what was skipped, and why, on stderr."""
    if skipped:
        err.print(f"{count(len(skipped), what)} skipped", style="yellow")
        for item in skipped[:_NAMED]:
            err.print(f"  {item.name}: {item.reason}")
        if len(skipped) > _NAMED:
            err.print(f"  and {len(skipped) - _NAMED} more")


def write_reports(report: Report, json_file: Path | None, html_file: Path | None) -> None:
    """Write the requested reports and print their paths, and what was left out of the bundle."""
    for note in () if report.bundle is None else report.bundle.left_out:
        err.print(f"note: {note}")
    if json_file is not None:
        with step(f"write {json_file}"):
            report.write(json_file)
        err.print(f"report {json_file}")
    if html_file is not None:
        # Importing matplotlib takes a second; only a page needs it.
        with step(f"write {html_file}"):
            from edgeproof.report import write_html

            write_html(report.to_json(), html_file)
        err.print(f"report {html_file}")


def print_evidence_problem(problem: str | None) -> None:
    """Print why the report is not stored in the bundle, if it is not."""
    if problem is not None:
        err.print(f"note: the report is not stored in the bundle: {problem}")


def open_trusted(bundle: Path, trust: Path | None) -> Bundle:
    """Open a bundle and print who signed it, if a signature is required.

    Raises:
        BundleError: the bundle is damaged, or not signed by a trusted signer.
    """
    opened = Bundle.open(bundle, trust=trust)
    if opened.signed is not None:
        err.print(opened.signed.note)
    return opened


def bundle_name(report: Report) -> str:
    """Return the name of a report's bundle."""
    if report.bundle is None:
        raise TypeError(f"a {report.kind} report without a bundle")
    return report.bundle.name


def fail_on(gates: Sequence[Gate], subject: str) -> None:
    """Raise if a gate failed.

    Raises:
        GateError: names the failed gates, measured values and bounds.
    """
    failed = [gate for gate in gates if not gate.passed]
    if not failed:
        return
    expected = [
        f"{gate.name}: " + ", ".join(f"{name} {_limits(gate.bound[name])}" for name in gate.missed()) for gate in failed
    ]
    raise GateError(
        f"{subject}: failed {len(failed)} of {len(gates)} gates", got=missed_by(failed), expected="; ".join(expected)
    )


def missed_by(failed: Sequence[Gate]) -> str:
    """Return the names of failed gates, and the measured values that missed their bounds."""
    return "; ".join(f"{gate.name}: " + ", ".join(_measured(gate, name) for name in gate.missed()) for gate in failed)


def _measured(gate: Gate, name: str) -> str:
    return f"{name} {gate.measured.get(name, math.nan):.4g}"
