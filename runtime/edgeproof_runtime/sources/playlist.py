"""Several files as one source, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edgeproof_runtime.data.images import reason_of, why_left_out
from edgeproof_runtime.errors import Skipped, SourceError
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.pictures import relative_name

__all__ = ["Playlist"]


class Playlist(Source):
    """Clips and images one after the other: all frames of a clip, one of an image.

    A file that cannot be opened is skipped and listed. Positions and media times run on from file to file.

    Args:
        name: name of the source.
        root: folder that names are relative to.
        paths: files in order.
        open_item: opens one file, given its name and the position of its first frame.
        others: files that are neither image nor video, to list among the skipped.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        paths: Sequence[Path],
        *,
        open_item: Callable[[Path, int], Source],
        others: Sequence[Path] = (),
    ) -> None:
        super().__init__(name, live=False, fps=None, frame_count=None)
        self.in_folders = True
        self._root = root
        self._paths = paths
        self._open_item = open_item
        self._others = [Skipped(relative_name(p, root), why_left_out(p, "is not an image or video")) for p in others]
        self._current: Source | None = None
        self._closed = False

    def __iter__(self) -> Iterator[Frame]:
        self.skipped[:] = self._others
        position = media_ns = 0
        for path in self._paths:
            if self._closed:
                return
            name = relative_name(path, self._root)
            try:
                source = self._open_item(path, position)
            except SourceError as error:
                self.skipped.append(Skipped(name, reason_of(error, path.name)))
                continue
            self._current = source
            self.fps: float | None = self.fps or source.fps
            self.notes.extend(note for note in source.notes if note not in self.notes)
            following, end_ns = position, media_ns
            with source:
                for frame in source:
                    following = position + frame.index + 1
                    timed_ns = None if frame.media_ns is None else media_ns + frame.media_ns
                    end_ns = end_ns if timed_ns is None else timed_ns + round(1e9 / (source.fps or 25.0))
                    tail = "" if source.of_pictures else f"#{frame.index}"
                    yield replace(frame, index=position + frame.index, name=name + tail, media_ns=timed_ns)
                self.skipped.extend(Skipped(name, skipped.reason) for skipped in source.skipped)
            position, media_ns = following, end_ns

    def close(self) -> None:
        self._closed = True
        if self._current is not None:
            self._current.close()
