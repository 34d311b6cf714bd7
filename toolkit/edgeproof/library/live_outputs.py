"""Show and write a run's decisions frame by frame: windows, annotated videos, prediction files."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.sinks import AnnotatedVideo, PredictionsFile, QueuedSink, Rotation, Sink, SinkCounts, Window
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["Outputs"]

_WAITING = 8  # each holds a frame
_FINISH_TIMEOUT_S = 60.0  # a video is read once more when it is complete


class Outputs:
    """Open a window and a video per stream, and one file of predictions. A context manager around the pipeline.

    Each file is written in a thread. Outputs of live streams drop and count frames instead of delaying the stream;
    outputs of files wait.

    Args:
        pipeline: the streams.
        show: whether to open a window for each stream.
        save: annotated video; with several streams, each file name contains the stream's name.
        predictions: file of JSON lines.
        top_k: labels per line.
        rotation: when the file of predictions is set aside and a new one begun.
        several: whether there is more than one stream.

    Raises:
        InputError: a file cannot be written.
    """

    def __init__(
        self,
        pipeline: Pipeline[Decision],
        *,
        show: bool,
        save: Path | None,
        predictions: Path | None,
        top_k: int,
        rotation: Rotation | None,
        several: bool,
    ) -> None:
        self._pipeline = pipeline
        self._show = show
        self._save = save
        self._several = several
        self._lines = PredictionsFile(predictions, top_k, rotation) if predictions is not None else None
        self._files: list[QueuedSink[Decided[Decision]]] = []
        self._windows: list[Window] = []
        self._by_stream: dict[str, list[Sink]] = {}

    @property
    def counts(self) -> list[SinkCounts]:
        """Return the numbers of written, dropped and failed decisions by file."""
        return [file.counts for file in self._files]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            every: list[Sink] = [*self._windows, *self._files]
            for sink in every:
                stack.callback(sink.close, failed=kind is not None)

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

    def _open(self, name: str) -> list[Sink]:
        # The stream's kind and frame rate are known only after its first frame.
        stream = next(s for s in self._pipeline.snapshots() if s.name == name)
        live = bool(stream.live)
        sinks: list[Sink] = []
        if self._show:
            self._windows.append(Window(f"edgeproof: {name}", self._pipeline.stop))
            sinks.append(self._windows[-1])
        if self._save is not None:
            path = self._save.with_name(f"{self._save.stem}-{name}{self._save.suffix}") if self._several else self._save
            video = AnnotatedVideo(path, stream.fps or (30.0 if live else 1.0), real_time=live)
            sinks.append(self._queued(video, video.path, live))
        if self._lines is not None:
            found = [file for file in self._files if file.name == str(self._lines.path)]
            sinks.append(found[0] if found else self._queued(self._lines, self._lines.path, live))
        return sinks

    def _queued(self, sink: Sink, path: Path, live: bool) -> QueuedSink[Decided[Decision]]:
        queued = QueuedSink(sink, str(path), capacity=_WAITING, wait=not live, close_timeout_s=_FINISH_TIMEOUT_S)
        self._files.append(queued)
        return queued
