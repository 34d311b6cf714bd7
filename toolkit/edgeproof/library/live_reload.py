"""Change the streams of a running pipeline to what their files now say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

from edgeproof.library.live_sinks import LiveSinks
from edgeproof_runtime.live.events import EventSettings
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import Stream
from edgeproof_runtime.sources import StreamSpec
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["REMOVED", "StreamsReload"]

REMOVED, REPLACED = "removed from the file of streams", "changed in the file of streams"


class StreamsReload:
    """Read the files of streams again, and change a running pipeline where they differ from before.

    A stream goes on untouched if its table is the same. What is wrong is found before anything is changed. A stream
    with regions is one source: all of them are replaced together.

    Args:
        specs: the streams now.
        read: reads the streams again.
        events: returns the thresholds of streams by name.
        make: returns the streams to open, as (specs, stack); the stack closes what it opened if they are not used.
        pipeline: the pipeline.
        sinks: its outputs.
        add: called with the names of streams before they are opened, with the thresholds of all.

    Attributes:
        specs: the streams now.
        before: called at the beginning of each reload.
        lock: held while the streams change; the pipeline's bundle must not change meanwhile.
    """

    def __init__(
        self,
        specs: Sequence[StreamSpec],
        *,
        read: Callable[[], Sequence[StreamSpec]],
        events: Callable[[Sequence[StreamSpec]], Mapping[str, EventSettings]],
        make: Callable[[Sequence[StreamSpec], ExitStack], Sequence[Stream]],
        pipeline: Pipeline[Decision],
        sinks: LiveSinks,
        add: Callable[[Sequence[str], Mapping[str, EventSettings]], None] = lambda _names, _events: None,
    ) -> None:
        self.specs: tuple[StreamSpec, ...] = tuple(specs)
        self._read, self._events, self._make, self._add = read, events, make, add
        self._pipeline, self._sinks = pipeline, sinks
        self.before: Callable[[], None] = lambda: None
        self.lock: AbstractContextManager[object] = nullcontext()

    @bounded
    def __call__(self) -> str:
        """Reload, and return what changed, in one line.

        Raises:
            InputError: a file of streams is wrong, or the run is ending; the streams go on as they are.
            SourceError: a file that a new stream names cannot be opened; the streams go on as they are.
        """
        self.before()
        with self.lock:
            return self._reload()

    def _reload(self) -> str:
        specs = tuple(self._read())
        events = self._events(specs)
        before, after = _by_capture(self.specs), _by_capture(specs)
        new = [spec for capture, group in after.items() if before.get(capture) != group for spec in group]
        gone = [spec for capture, group in before.items() if after.get(capture) != group for spec in group]
        if not new and not gone:
            return f"streams: unchanged, {len(specs)} of them"
        added, left = {spec.name for spec in new}, {spec.name for spec in gone}
        with ExitStack() as opened:
            streams = self._make(new, opened)
            with self._pipeline.changing():
                ended = self._pipeline.remove(left - added, REMOVED) + self._pipeline.remove(left & added, REPLACED)
                self._sinks.replace(ended, events)
                self._add([stream.name for stream in streams], events)
                self._pipeline.add(streams)
                self.specs = specs
            opened.pop_all()
        parts = (("added", added - left), ("changed", added & left), ("removed", left - added))
        told = [f"{what} {', '.join(sorted(names))}" for what, names in parts if names]
        return f"streams: {'; '.join(told)}; {len(specs) - len(new)} unchanged"


def _by_capture(specs: Sequence[StreamSpec]) -> dict[str, tuple[StreamSpec, ...]]:
    found: dict[str, list[StreamSpec]] = {}
    for spec in specs:
        found.setdefault(spec.capture, []).append(spec)
    return {capture: tuple(group) for capture, group in found.items()}
