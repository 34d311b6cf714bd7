"""Status of a live run on the terminal: a line per stream, and its changes of state."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType

from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgeproof.cli._shared import err
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["Status"]

_EVERY_S = 0.25


class Status:
    """Print a pipeline's status from a thread, also while no frame arrives. A context manager.

    On a terminal, a line per stream is updated in place. A live stream's changes of state are always printed.

    Args:
        pipeline: pipeline to watch.
        newest: newest decision by stream, updated by the caller.
    """

    def __init__(self, pipeline: Pipeline[Decision], newest: Mapping[str, Decided[Decision]]) -> None:
        self._pipeline = pipeline
        self._newest = newest
        self._told: dict[str, int] = {}
        self._before: dict[str, int] = {}
        self._ended = threading.Event()
        self._live = (
            Live(console=err, transient=True, auto_refresh=False) if err.is_terminal and not err.results_only else None
        )
        self._thread = threading.Thread(target=self._work, name="edgeproof-status", daemon=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
        self._tell_changes(self._pipeline.snapshots())

    def _work(self) -> None:
        while not self._ended.wait(_EVERY_S):
            snapshots = self._pipeline.snapshots()
            self._tell_changes(snapshots)
            if self._live is not None:
                self._live.update(self._table(snapshots), refresh=True)

    def _tell_changes(self, snapshots: tuple[StreamSnapshot, ...]) -> None:
        for snapshot in snapshots:
            told = self._told.get(snapshot.name, 0)
            untold = snapshot.changes - told if snapshot.changes >= told else snapshot.changes  # it was replaced
            for change in snapshot.history[-untold:] if untold else ():
                # A normal start and end are not printed.
                news = change.reason not in (None, "stopped") or (change.state == "live" and snapshot.reconnections)
                if news:
                    err.print(
                        Text(f"{snapshot.name}: {change.state}" + (f" ({change.reason})" if change.reason else ""))
                    )
            self._told[snapshot.name] = snapshot.changes

    def _table(self, snapshots: tuple[StreamSnapshot, ...]) -> Table:
        table = Table.grid(padding=(0, 2))
        for snapshot in snapshots:
            counts = snapshot.counts
            fps = (counts.decided - self._before.get(snapshot.name, 0)) / _EVERY_S
            self._before[snapshot.name] = counts.decided
            decided = self._newest.get(snapshot.name)
            total = f"/{snapshot.frame_count}" if snapshot.frame_count else ""
            cells = [
                *([snapshot.name] if len(snapshots) > 1 else []),
                _headline(snapshot, decided),
                f"frame {counts.decided}{total}",
                f"{fps:5.1f} fps",
                f"latency {decided.end_to_end_ms:.1f} ms  age {decided.frame_age_ms:.1f} ms" if decided else "",
                f"dropped {counts.dropped}",
                f"unhealthy {counts.unhealthy}" if counts.unhealthy else "",
                f"reconnected {snapshot.reconnections}" if snapshot.reconnections else "",
            ]
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
        return table


def _headline(snapshot: StreamSnapshot, decided: Decided[Decision] | None) -> str:
    if snapshot.state == "live" and snapshot.health is not None:
        return f"{snapshot.health} since {snapshot.health_s or 0:.0f} s"
    return snapshot.state if snapshot.state != "live" or decided is None else decided.decision.headline
