"""Show and write a run's decisions frame by frame: windows, annotated videos, prediction files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType

from edgeproof_runtime.errors import EdgeproofError
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.sinks import (
    AnnotatedVideo,
    EventMedia,
    PredictionsFile,
    QueuedSink,
    Recording,
    Rotation,
    Sink,
    SinkCounts,
    Window,
)
from edgeproof_runtime.sinks.shelf import Shelf, file_stem
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["Outputs"]

_WAITING = 8  # each holds a frame
_FINISH_TIMEOUT_S = 60.0


class Outputs:
    """Open a window and a recording per stream, and one file of predictions. A context manager around the pipeline.

    Each file is written in a thread. Outputs of live streams drop and count frames instead of delaying the stream;
    outputs of files wait.

    Args:
        pipeline: the streams.
        show: whether to open a window for each stream.
        recording: what of each stream is recorded.
        predictions: file of JSON lines.
        top_k: labels per line.
        rotation: when the file of predictions is set aside and a new one begun.
        several: whether there is more than one stream.
        events: thresholds below which a prediction is drawn as unsure, by stream.

    Attributes:
        media: clips and snapshots of events; None: none are wanted.

    Raises:
        InputError: a file cannot be written.
    """

    def __init__(
        self,
        pipeline: Pipeline[Decision],
        *,
        show: bool,
        recording: Recording,
        predictions: Path | None,
        top_k: int,
        rotation: Rotation | None,
        several: bool,
        events: Mapping[str, EventSettings],
    ) -> None:
        self._pipeline = pipeline
        self._show = show
        self._recording = recording
        self._several = several
        self._events = events
        self.media: EventMedia | None = EventMedia(recording) if recording.of_events else None
        self._shelf = Shelf(recording.save.parent, recording.keep) if recording.save is not None else None
        self._lines = PredictionsFile(predictions, top_k, rotation) if predictions is not None else None
        self._files: list[QueuedSink[Decided[Decision]]] = []
        self._live: set[QueuedSink[Decided[Decision]]] = set()
        self._windows: list[Window] = []
        self._by_stream: dict[str, list[Sink]] = {}
        self._leaving: list[QueuedSink[Decided[Decision]]] = []

    @property
    def counts(self) -> list[SinkCounts]:
        """Return the numbers of written, dropped and failed decisions by file."""
        return [file.counts for file in self._files]

    def news(self) -> Iterator[str]:
        """Yield a message for each file that has failed, once."""
        for file in self._files:
            sentence = file.news()
            if sentence is not None:
                yield sentence

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for window in self._windows:
                stack.callback(window.close, failed=kind is not None)
            for file in self._files:
                stack.callback(self._close, file, failed=kind is not None)

    def _close(self, file: QueuedSink[Decided[Decision]], *, failed: bool) -> None:
        # A live run ends with its report; the file's counts say what is missing.
        with suppress(EdgeproofError) if file in self._live else nullcontext():
            file.close(failed=failed)

    def write(self, decided: Decided[Decision]) -> None:
        """Write the next decision of a stream.

        Raises:
            InputError: a file that must be complete cannot be written.
        """
        sinks = self._by_stream.get(decided.stream)
        if sinks is None:
            sinks = self._by_stream[decided.stream] = self._open(decided.stream)
        for sink in sinks:
            sink.write(decided)

    def leave(self, name: str) -> None:
        """Close a removed stream's window, and let go of its recording, which `replace` closes. Never blocks."""
        for sink in self._by_stream.pop(name, ()):
            if isinstance(sink, Window):
                self._windows.remove(sink)
                sink.close()
            elif isinstance(sink, QueuedSink) and sink not in self._shared:
                self._leaving.append(sink)

    def replace(self, events: Mapping[str, EventSettings]) -> None:
        """Close what removed streams left, and take the thresholds of all streams from now on."""
        leaving, self._leaving = self._leaving, []
        self._events, self._several = events, self._several or len(events) > 1
        for sink in leaving:
            with suppress(EdgeproofError):  # its counts say what is missing
                sink.close()

    @property
    def _shared(self) -> Sequence[Sink]:
        return [file for file in self._files if self._lines is not None and file.name == str(self._lines.path)]

    def _open(self, name: str) -> list[Sink]:
        # The stream's kind and frame rate are known only after its first frame.
        stream = next(s for s in self._pipeline.snapshots() if s.name == name)
        live = bool(stream.live)
        sinks: list[Sink] = []
        if self._show:
            window = Window(f"edgeproof: {name}", self._pipeline.stop, live=live, events=self._events[name])
            self._windows.append(window)
            sinks.append(window)
        if self._recording.wanted:
            sinks.append(self._record(name, stream.fps or (None if live else 1.0), live=live))
        if self._lines is not None:
            sinks.append(next(iter(self._shared), None) or self._queued(self._lines, self._lines.path, live))
        return sinks

    def _record(self, name: str, fps: float | None, *, live: bool) -> Sink:
        wanted = self._recording
        path = wanted.save
        if path is not None and self._several:
            path = path.with_name(f"{path.stem}-{file_stem(name)}{path.suffix}")
        video = AnnotatedVideo(
            path,
            fps,
            stream=name,
            live=live,
            segment=wanted.segment,
            shelf=self._shelf,
            pre_s=None if wanted.clips is None else wanted.pre_s,
            events=self._events[name],
        )
        shown = video.path or (wanted.clips or wanted.snapshots or Path()) / file_stem(name)
        queued = self._queued(video, shown, live)
        if self.media is not None:
            self.media.watch(name, queued, video, fps, live=live)
        return queued

    def _queued(self, sink: Sink, path: Path, live: bool) -> QueuedSink[Decided[Decision]]:
        queued = QueuedSink(sink, str(path), capacity=_WAITING, wait=not live, close_timeout_s=_FINISH_TIMEOUT_S)
        self._files.append(queued)
        if live:
            self._live.add(queued)
        return queued
