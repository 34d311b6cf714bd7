"""The sources of a pipeline: each is read once, for one stream or for several regions of its frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from edgeproof_runtime.live.stream import StreamState
from edgeproof_runtime.live.stream_run import StreamRun
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.health import FrameHealth

__all__ = ["Capture", "captures_of"]


class Capture:
    """A source and the streams of its frames: one, or one for each of its regions.

    Args:
        runs: the streams. What is asked of the source is answered by the first of them.

    Attributes:
        runs: the streams.
        first: the first of them.
    """

    def __init__(self, runs: Sequence[StreamRun]) -> None:
        self.runs: tuple[StreamRun, ...] = tuple(runs)
        self.first: StreamRun = self.runs[0]
        part = self.first.stream.part
        self._whole = None if part is None else part.whole.monitor()

    @property
    def over(self) -> bool:
        """Return whether the streams have ended or failed."""
        return self.first.over

    @property
    def complete(self) -> bool:
        """Return whether every stream has its ``max_frames``."""
        return all(run.complete for run in self.runs)

    def change(self, state: StreamState, reason: str | None = None) -> None:
        """Enter a state with all streams."""
        for run in self.runs:
            run.change(state, reason)

    def fail(self, error: BaseException) -> None:
        """Let all streams fail."""
        for run in self.runs:
            run.fail(error)

    def opened(self, source: Source) -> None:
        """Record a new connection."""
        for run in self.runs:
            run.opened(source)

    def parts(self, frame: Frame) -> list[Frame]:
        """Return each stream's part of a frame.

        Raises:
            SourceError: a region exceeds the frame.
        """
        cuts = [run.stream.part for run in self.runs]
        return [frame if part is None else part.cut(frame) for part in cuts]

    def look(self, frame: Frame) -> FrameHealth | None:
        """Return what is wrong with a frame as a whole, where it is cut into parts."""
        if self._whole is None or self.first.stands_for_itself(frame):
            return None
        return cast("FrameHealth | None", self._whole.look(frame.image, frame.damage is not None))


def captures_of(runs: Sequence[StreamRun]) -> list[Capture]:
    """Return the sources of streams, each once, in the order of their first streams."""
    found: dict[tuple[bool, str], list[StreamRun]] = {}
    for run in runs:
        part = run.stream.part
        key = (False, run.stream.name) if part is None else (True, part.capture)
        found.setdefault(key, []).append(run)
    return [Capture(group) for group in found.values()]
