"""Everything that takes a live run's decisions: windows, videos, prediction files, event sinks and brokers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from edgeproof.library.live_events import Events
from edgeproof.library.live_outputs import Outputs
from edgeproof_runtime.errors import EdgeproofError, InputError
from edgeproof_runtime.live.events import BundleEvent, EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.sinks import Recording, Rotation, SinkCounts
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["LiveSinks", "SinkOptions", "lost_outputs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkOptions:
    """What `run` and `serve` write.

    Attributes:
        show: whether to open a window for each stream.
        recording: what of each stream is recorded.
        predictions: file of JSON lines to append to, one per frame.
        top_k: classes per line of ``predictions``.
        rotate_files: when ``predictions`` and files of ``sinks`` are set aside: ``day`` or a size such as ``100MB``.
        sinks: event sinks: ``FILE.csv``, ``mqtt://host/topic``, ``http://host/path``.
        events: thresholds of the event detector, of streams without their own.
        home_assistant: whether MQTT brokers announce the streams to Home Assistant.
        bundles: whether the bundle may change, so that CSV files of events name it.
        shown: whether a page shows the predictions too, for which the threshold of events counts.

    Raises:
        InputError: options that do not fit each other.
    """

    show: bool = False
    recording: Recording = field(default_factory=Recording)
    predictions: Path | None = None
    top_k: int = 5
    rotate_files: str | None = None
    sinks: Sequence[str] = ()
    events: EventSettings = field(default_factory=EventSettings)
    home_assistant: bool = False
    bundles: bool = False
    shown: bool = False

    def __post_init__(self) -> None:
        _ = self.rotation
        draws = self.shown or self.recording.wanted  # unsure predictions are grey
        default = EventSettings(
            threshold=self.events.threshold if draws else EventSettings().threshold,
            thresholds=self.events.thresholds if self.shown else (),
        )
        if self.events != default and not self.of_events:
            raise InputError(
                "event options: require --sink", fix="add --sink events.csv, an mqtt:// or an http:// address"
            )
        if self.home_assistant and not any(sink.lower().startswith(("mqtt:", "mqtts:", "${")) for sink in self.sinks):
            raise InputError("--home-assistant: requires an MQTT broker", fix="add --sink mqtt://broker/topic")

    @property
    def rotation(self) -> Rotation | None:
        """Return when files are set aside; None means never."""
        return None if self.rotate_files is None else Rotation.parse(self.rotate_files)

    @property
    def of_events(self) -> bool:
        """Return whether events are detected."""
        return bool(self.sinks) or self.recording.of_events

    @property
    def any(self) -> bool:
        """Return whether anything is written."""
        return self.show or self.recording.wanted or self.predictions is not None or bool(self.sinks)


class LiveSinks:
    """Open what the options name, and pass it every decision. A context manager around the pipeline.

    Args:
        pipeline: the streams.
        options: what to write.
        events: thresholds of each stream, by name.
        model: name of the bundle.

    Raises:
        InputError: a sink is invalid, or a file cannot be written.
        UnavailableError: a window or a required package is not available.
    """

    def __init__(
        self, pipeline: Pipeline[Decision], options: SinkOptions, events: Mapping[str, EventSettings], *, model: str
    ) -> None:
        self._stack = ExitStack()
        self._outputs = Outputs(
            pipeline,
            show=options.show,
            recording=options.recording,
            predictions=options.predictions,
            rotation=options.rotation,
            top_k=options.top_k,
            several=len(events) > 1,
            events=events,
        )
        self._events = Events(
            options.sinks,
            events,
            pipeline,
            options.rotation,
            model=model,
            home_assistant=options.home_assistant,
            media=self._outputs.media,
            bundles=options.bundles,
        )
        self._options = options

    @property
    def unconnected(self) -> dict[str, str]:
        """Return why a sink is not connected, by its name; its events wait."""
        return self._events.problems

    @property
    def problems(self) -> list[str]:
        """Return a message for each sink that is not connected, and for what recordings lack."""
        waiting = [f"{name}: {problem}; events wait for it" for name, problem in self.unconnected.items()]
        return [*self._options.recording.notes, *waiting]

    def news(self) -> Iterator[str]:
        """Yield a message for each file that has failed, once."""
        yield from self._outputs.news()

    @property
    def counts(self) -> list[SinkCounts]:
        """Return the numbers of written, dropped and failed items by output."""
        return [*self._outputs.counts, *self._events.counts]

    @property
    def events(self) -> int | None:
        """Return the number of started events; None if they are not detected."""
        return self._events.count if self._options.of_events else None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._outputs)
            stack.enter_context(self._events)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def write(self, decided: Decided[Decision]) -> None:
        """Write the next decision of a stream.

        Raises:
            InputError: a file that must be complete cannot be written.
        """
        self._outputs.write(decided)
        self._events.write(decided)

    def tell(self, event: BundleEvent) -> None:
        """Send a change of the bundle to brokers and webhooks. Safe from any thread."""
        self._events.tell(event)

    def leave(self, name: str) -> None:
        """End a removed stream's events, and let go of its files; `replace` closes them. Never blocks.

        Call it in the thread that calls `write`, after the stream's last decision.
        """
        self._outputs.leave(name)
        self._events.leave(name)

    def replace(self, removed: Sequence[StreamSnapshot], events: Mapping[str, EventSettings]) -> None:
        """Close the files of removed streams, and take the thresholds of all streams from now on.

        Args:
            removed: last states of the removed streams.
            events: thresholds by stream.
        """
        self._outputs.replace(events)
        self._events.replace(removed, events)


def lost_outputs(counts: Sequence[SinkCounts]) -> EdgeproofError | None:
    """Return an error that names the outputs that lost every item; None if there are none."""
    lost = [sink.sentence for sink in counts if sink.all_lost]
    if not lost:
        return None
    return InputError("output: every item was lost", got="; ".join(lost), expected="at least one written item")
