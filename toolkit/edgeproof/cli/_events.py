"""Events of the streams of a run, on their way to sinks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import typer

from edgeproof.cli._shared import err
from edgeproof_runtime.live.events import Event, EventDetector, EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.sinks import QueuedSink, SinkCounts, open_sink
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["AtOnce", "EventSink", "Events", "Smooth", "Stable", "Threshold", "event_files"]

_PANEL = "Events"
_WATCH_S = 0.5

EventSink = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        help="Where events go: FILE.csv, mqtt://host/topic, http://host/path. Repeat it for several.",
        metavar="SINK",
        rich_help_panel=_PANEL,
    ),
]
Smooth = Annotated[
    float, typer.Option(help="Half-life, in frames, of the average over frames; 0: none.", rich_help_panel=_PANEL)
]
Threshold = Annotated[float, typer.Option(help="Probability from which a class counts.", rich_help_panel=_PANEL)]
Stable = Annotated[int, typer.Option(help="Frames in a row that begin or end an event.", rich_help_panel=_PANEL)]
AtOnce = Annotated[int, typer.Option(help="Classes that may count at once.", rich_help_panel=_PANEL)]


def event_files(sinks: Sequence[str]) -> list[Path]:
    """Those of the sinks that are files."""
    return [Path(sink) for sink in sinks if "://" not in sink]


class Events:
    """Finds the events of every stream and gives them to every sink. Use as a context manager around the pipeline.

    What a stream showed ends when it is stalled or lost, not when it comes back.

    Args:
        sinks: as a person typed them.
        settings: when something counts.
        pipeline: whose streams they are.

    Raises:
        InputError: a sink makes no sense.
        UnavailableError: a sink needs a package that is not installed.
    """

    def __init__(self, sinks: Sequence[str], settings: EventSettings, pipeline: Pipeline[Decision]) -> None:
        self.count = 0
        self._settings = settings
        self._pipeline = pipeline
        self._detectors: dict[str, EventDetector] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="edgeproof-events", daemon=True)
        self._sinks: list[QueuedSink[Event]] = []
        try:
            for spec in sinks:
                self._sinks.append(open_sink(spec))
        except BaseException:
            self._close_sinks(failed=True)
            raise
        for sink in self._sinks:
            if sink.problem is not None:
                err.print(f"{sink.name}: {sink.problem}; events wait for it")

    @property
    def counts(self) -> list[SinkCounts]:
        """What became of the events, by sink."""
        return [sink.counts for sink in self._sinks]

    def __enter__(self) -> Self:
        if self._sinks:
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._watcher.is_alive():
            self._watcher.join()
        for detector in self._detectors.values():
            self._give(detector.interrupted())
        self._close_sinks(failed=kind is not None)

    def write(self, decided: Decided[Decision]) -> None:
        """Take the next decision of a stream."""
        if not self._sinks:
            return
        with self._lock:
            detector = self._detectors.get(decided.stream)
            if detector is None:
                detector = self._detectors[decided.stream] = EventDetector(decided.stream, self._settings)
            self._give(detector.update(decided))

    def _give(self, events: Sequence[Event]) -> None:
        self.count += sum(event.kind == "started" for event in events)
        for event in events:
            for sink in self._sinks:
                sink.write(event)

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_S):
            for stream in self._pipeline.snapshots():
                counts = stream.counts
                under_way = counts.frames_in - counts.decided - counts.dropped - counts.failed
                # A file's last frames are still to come when it has ended; `__exit__` ends its events.
                if stream.live and stream.state not in ("connecting", "live") and not under_way:
                    with self._lock:
                        if stream.name in self._detectors:
                            self._give(self._detectors[stream.name].interrupted())

    def _close_sinks(self, *, failed: bool) -> None:
        # At the same time, so that several dead ones cost the time limit of one.
        def close(sink: QueuedSink[Event]) -> None:
            with suppress(Exception):  # its counts name it
                sink.close(failed=failed)

        closing = [threading.Thread(target=close, args=(sink,), daemon=True) for sink in self._sinks]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
