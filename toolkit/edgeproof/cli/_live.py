"""A live run on the terminal: status line while it runs, summary at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.table import Table

from edgeproof.cli._shared import count, err, out, print_skipped
from edgeproof.cli._status import Status
from edgeproof.cli._tables import print_sections
from edgeproof.library.live_follow import BundleChange
from edgeproof.library.live_reload import StreamsReload
from edgeproof.library.live_report import RunReport
from edgeproof.library.run import RunObserver
from edgeproof_runtime.errors import EdgeproofError, Skipped
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.signals import Reloading, stop_on_interrupt
from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.live.watchdog import Watchdog
from edgeproof_runtime.metrics.latency import LatencySummary
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["TerminalObserver", "frames_sentence", "print_run", "say_change", "say_reload", "switches_sentence"]

_FAULTS_NAMED = 10


class TerminalObserver(RunObserver):
    """Show a run's status, print predictions of still images, and stop the run cleanly on Ctrl-C."""

    def __init__(self) -> None:
        self._newest: dict[str, Decided[Decision]] = {}

    @contextmanager
    def watching(self, pipeline: Pipeline[Decision], reload: StreamsReload) -> Iterator[None]:
        reloading = Reloading(reload, say_reload)
        with stop_on_interrupt(pipeline, reloading), Watchdog(pipeline.snapshots), Status(pipeline, self._newest):
            yield

    def problem(self, sentence: str) -> None:
        err.print(sentence)

    def changed(self, change: BundleChange) -> None:
        say_change(change)

    def decided(self, decided: Decided[Decision], *, still: bool) -> None:
        self._newest[decided.stream] = decided
        # A prediction per still image is useful; for a stream's frames the status line is enough.
        if still:
            out.print(f"{decided.frame.name}: {decided.decision.headline}")


def say_reload(said: str | EdgeproofError) -> None:
    """Print what a reload changed, or why it changed nothing."""
    if isinstance(said, str):
        err.print(said)
        return
    with err.errors():
        err.print(f"streams: go on as they are; not reloaded: {said}")


def say_change(change: BundleChange) -> None:
    """Print what became of a new bundle at the followed path."""
    err.print(change.sentence, style="yellow" if change.outcome == "refused" else None)


def print_run(report: RunReport) -> None:
    """Print the summary of a finished run."""
    counts, workers = report.counts, report.settings["workers"]
    (print_skipped if report.stills else _print_faults)(report.skipped)
    print_skipped(report.failed, "frame")
    out.print(
        frames_sentence(counts, "classified", report.throughput_fps)
        + f" on {report.engine.name} {report.engine.version}"
        + (f", {workers} workers" if workers > 1 else "")
    )
    if len(report.snapshots) > 1:
        out.print(_streams_table(report.snapshots))
    if report.labels and not report.stills:
        most = list(report.labels.items())[:3]
        out.print("most often: " + ", ".join(f"{label} {n / counts['frames_classified']:.0%}" for label, n in most))
    if "events" in counts:
        out.print(count(counts["events"], "event"))
    for sink in report.sink_counts:
        out.print(sink.sentence)
    out.print(_latency_table(report.latency_ms))
    if report.soak is not None:
        out.print(_soak_table(report.soak))
    if report.switches is not None:
        out.print(switches_sentence(report.switches))
    print_sections({key: one for key, one in report.sections.items() if key != "switches"}, "labelled frames")


def switches_sentence(switches: Mapping[str, Any]) -> str:
    """Return how often a followed bundle changed, as text."""
    gap_ms = switches["longest_gap_ms"]
    return (
        f"bundle changed {'once' if switches['switched'] == 1 else str(switches['switched']) + ' times'}"
        + (f", longest gap between two predictions of a stream {gap_ms:.0f} ms" if gap_ms is not None else "")
        + (f"; {switches['refused']} refused" if switches["refused"] else "")
    )


def frames_sentence(counts: Mapping[str, int], decided: str, fps: float | None) -> str:
    """Return what became of the frames, as text; ``decided`` is the word for those that were classified."""
    return (
        f"{counts['frames_in']} frames in = {counts['frames_classified']} {decided}"
        + f" + {counts['frames_dropped']} dropped"
        + (f" + {counts['frames_unhealthy']} unhealthy" if counts["frames_unhealthy"] else "")
        + (f" + {counts['frames_failed']} failed" if counts["frames_failed"] else "")
        + (f", {fps:.1f} frames/s" if fps else "")
    )


def _print_faults(faults: Sequence[Skipped]) -> None:
    """Print on stderr what could not be read from videos and streams."""
    sentences = [f"{fault.name}: {fault.reason}." for fault in faults]
    for sentence in sentences[:_FAULTS_NAMED]:
        err.print(sentence, style="yellow")
    if len(sentences) > _FAULTS_NAMED:
        err.print(f"and {count(len(sentences) - _FAULTS_NAMED, 'more fault')}", style="yellow")


def _streams_table(snapshots: Sequence[StreamSnapshot]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stream")
    table.add_column("state")
    for column in ("in", "classified", "overtaken", "unhealthy", "failed", "reconnected"):
        table.add_column(column, justify="right")
    for s in snapshots:
        c = s.counts
        figures = (c.frames_in, c.decided, c.overtaken, c.unhealthy, c.failed, s.reconnections)
        table.add_row(s.name, s.state, *(str(figure) for figure in figures))
    return table


def _soak_table(soak: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"after {soak['warm_up_s']:.0f} s of warm-up")
    for column in ("first", "last", "per hour", "95 % interval"):
        table.add_column(column, justify="right")
    for name, series in soak["series"].items():
        values = [value for value in series["values"] if value is not None]
        if not values:
            continue
        per_hour = series["per_hour"]
        table.add_row(
            name.replace("_", " "),
            f"{values[0]:.1f}",
            f"{values[-1]:.1f}",
            f"{per_hour['estimate']:+.2f}" if per_hour else "too few samples",
            f"{per_hour['low']:+.2f} to {per_hour['high']:+.2f}" if per_hour else "",
        )
    for name, why in soak["unavailable"].items():
        table.add_row(name.replace("_", " "), "–", "–", why)
    return table


def _latency_table(latency_ms: Mapping[str, LatencySummary]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("latency, ms")
    for column in ("mean", "p50", "p90", "p99", "max"):
        table.add_column(column, justify="right")
    for stage, summary in latency_ms.items():
        values = (summary.mean_ms, summary.p50_ms, summary.p90_ms, summary.p99_ms, summary.max_ms)
        table.add_row(stage.replace("_", " "), *("–" if value is None else f"{value:.2f}" for value in values))
    return table
