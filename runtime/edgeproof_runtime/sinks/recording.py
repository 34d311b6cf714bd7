"""What of a run's streams is recorded, and the files of their events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.live.events import Event
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sinks.pacing import Pacing
from edgeproof_runtime.sinks.queued import QueuedSink
from edgeproof_runtime.sinks.shelf import Keep, Segment, Shelf, file_stem
from edgeproof_runtime.sinks.video import AnnotatedVideo
from edgeproof_runtime.sources.media_opening import has_pyav
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["EventMedia", "Recording"]

_MOST_CLIP_S = 600.0
_MOST_PRE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What of a run's streams is recorded.

    Attributes:
        save: annotated video; with several streams, each file name contains the stream's name.
        segment: when a video goes on in a new file; None: never.
        keep: which segments, clips and snapshots are kept; None: all.
        clips: folder of a clip per event; None: none.
        pre_s, post_s: seconds before and after an event that its clip holds.
        snapshots: folder of a JPEG file per event; None: none.
    """

    save: Path | None = None
    segment: Segment | None = None
    keep: Keep | None = None
    clips: Path | None = None
    pre_s: float = 5.0
    post_s: float = 5.0
    snapshots: Path | None = None

    @classmethod
    def of(
        cls,
        *,
        save: str | Path | None = None,
        segment: Sequence[str] = (),
        keep: Sequence[str] = (),
        clips: str | Path | None = None,
        pre_s: float = 5.0,
        post_s: float = 5.0,
        snapshots: str | Path | None = None,
    ) -> Self:
        """Parse and check the settings.

        Raises:
            InputError: a setting is invalid, or lacks the one that it is for.
            UnavailableError: clips are wanted and PyAV is not installed.
        """
        if segment and save is None:
            raise InputError("--segment: requires --save", fix="add --save FILE.mp4")
        if keep and not ((save is not None and segment) or clips is not None or snapshots is not None):
            raise InputError("--keep: requires recordings to remove", fix="add --segment 10m, --clips or --snapshots")
        for option, seconds, most in (("--pre", pre_s, _MOST_PRE_S), ("--post", post_s, _MOST_CLIP_S)):
            if not 0 <= seconds <= most:
                raise InputError(f"{option}: out of range", got=f"{seconds:g} s", expected=f"0 to {most:g} s")
        if clips is not None and not has_pyav():
            raise UnavailableError("--clips: requires PyAV", fix="pip install av, or use --snapshots")
        return cls(
            save=None if save is None else Path(save),
            segment=Segment.parse(segment),
            keep=Keep.parse(keep),
            clips=None if clips is None else Path(clips),
            pre_s=pre_s,
            post_s=post_s,
            snapshots=None if snapshots is None else Path(snapshots),
        )

    @property
    def wanted(self) -> bool:
        """Return whether anything is recorded."""
        return any(path is not None for path in (self.save, self.clips, self.snapshots))

    @property
    def of_events(self) -> bool:
        """Return whether events are recorded."""
        return self.clips is not None or self.snapshots is not None

    @property
    def notes(self) -> list[str]:
        """Return what recordings lack on this machine."""
        if self.save is None or has_pyav():
            return []
        return [
            f"{self.save}: PyAV is not installed (pip install av): the video has a constant frame rate, "
            "and does not play if the run is killed"
        ]


@dataclass(slots=True)
class _Stream:
    queue: QueuedSink[Decided[Decision]]
    video: AnnotatedVideo
    pacing: Pacing
    now_ns: int = 0
    clip: Path | None = None
    began_ns: int = 0
    running: int = 0
    until_ns: int | None = None
    files: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)


class EventMedia:
    """Clips and snapshots of the events of a run's streams. Not thread-safe.

    Events of a stream that overlap, or follow within ``post_s``, share a clip. A clip ends after ten minutes.

    Args:
        recording: folders, and seconds before and after an event.

    Raises:
        InputError: a folder cannot be made.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._streams: dict[str, _Stream] = {}
        self._clips = self._shelf(recording.clips)
        self._snapshots = self._shelf(recording.snapshots)

    def _shelf(self, folder: Path | None) -> Shelf | None:
        if folder is None:
            return None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written", got=error.strerror, fix="choose another folder") from error
        return Shelf(folder, self._recording.keep)

    def watch(
        self, name: str, queue: QueuedSink[Decided[Decision]], video: AnnotatedVideo, fps: float | None, *, live: bool
    ) -> None:
        """Add a stream, before its first decision.

        Args:
            name: name of the stream.
            queue: queue of ``video``.
            video: the recording of the stream.
            fps: declared frames per second, or None.
            live: whether the source is live.
        """
        self._streams[name] = _Stream(queue, video, Pacing(fps, live=live))

    def advance(self, decided: Decided[Decision]) -> None:
        """Note the next decision of a stream; end its clip if the time after the event is over."""
        stream = self._streams.get(decided.stream)
        if stream is None:
            return
        stream.now_ns = stream.pacing.at(decided.frame).time_ns
        over = stream.until_ns is not None and stream.now_ns >= stream.until_ns
        if over or stream.now_ns - stream.began_ns > _MOST_CLIP_S * 1e9:
            self._end_clip(stream)

    def interrupted(self, name: str) -> None:
        """Note that a stream broke off or ended: its clip ends."""
        if name in self._streams:
            self._end_clip(self._streams[name])

    def leave(self, name: str) -> None:
        """Forget a stream, after its last event."""
        self.interrupted(name)
        self._streams.pop(name, None)

    def attach(self, event: Event, decided: Decided[Decision] | None) -> Event:
        """Begin or end the files of an event; return the event with their names.

        Args:
            event: start or end of an event.
            decided: the decision that started it; None for an end.
        """
        stream = self._streams.get(event.stream)
        if stream is None:
            return event
        key = (event.label, event.start_index)
        if event.kind == "started" and decided is not None:
            stream.files[key] = self._begin(stream, event, decided)
            return replace(event, **stream.files[key])
        stream.running = max(0, stream.running - 1)
        if not stream.running:
            stream.until_ns = stream.now_ns + int(self._recording.post_s * 1e9)
        return replace(event, **stream.files.pop(key, {}))

    def _begin(self, stream: _Stream, event: Event, decided: Decided[Decision]) -> dict[str, Any]:
        files: dict[str, Any] = {}
        video = stream.video
        stream.running += 1
        stream.until_ns = None
        if self._clips is not None:
            if stream.clip is None:
                path = stream.clip = self._clips.take(file_stem(event.stream), video.suffix)
                stream.began_ns, index = stream.now_ns, event.start_index
                stream.queue.call(lambda: video.begin_clip(path, index))
            files["clip"] = str(stream.clip)
        if self._snapshots is not None:
            shelf = self._snapshots
            picture = shelf.take(file_stem(event.stream), ".jpg", event.label)

            def snap() -> None:
                try:
                    video.snapshot(picture, decided)
                finally:
                    shelf.finished(picture)

            stream.queue.call(snap)
            files["snapshot"] = str(picture)
        return files

    def _end_clip(self, stream: _Stream) -> None:
        path, shelf, video = stream.clip, self._clips, stream.video
        stream.clip = stream.until_ns = None
        if path is None or shelf is None:
            return

        def end() -> None:
            try:
                video.end_clip(path)
            finally:
                shelf.finished(path)

        stream.queue.call(end)
