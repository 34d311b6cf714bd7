"""Deliver the events of a run's streams to sinks."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from edgeproof_runtime.live.events import BundleEvent, Event, EventDetector, EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.sinks import EventMedia, MqttSink, MqttStreams, QueuedSink, Rotation, SinkCounts, open_sink
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["Events"]

_WATCH_S = 0.5
_UNHEALTHY_S = 1.0  # unhealthy frames for longer end the events: nothing is seen any more


class Events:
    """Detect the events of every stream and deliver them to every sink. A context manager around the pipeline.

    An event ends when its stream stalls or is lost, not when it comes back. Brokers also hold the streams' states.

    Args:
        sinks: ``FILE.csv``, ``mqtt://host/topic`` or ``http://host/path``.
        settings: thresholds of the event detector, by stream.
        pipeline: the streams.
        rotation: when a file is set aside and a new one begun.
        model: name of the bundle.
        home_assistant: whether brokers announce the streams to Home Assistant.
        media: clips and snapshots of events; None: none are wanted.
        bundles: whether the bundle may change.

    Raises:
        InputError: a sink is invalid, or an announcement has no broker.
        UnavailableError: a sink requires a package that is not installed.
    """

    def __init__(
        self,
        sinks: Sequence[str],
        settings: Mapping[str, EventSettings],
        pipeline: Pipeline[Decision],
        rotation: Rotation | None = None,
        *,
        model: str = "edgeproof",
        home_assistant: bool = False,
        media: EventMedia | None = None,
        bundles: bool = False,
    ) -> None:
        self.count: int = 0
        self._settings = settings
        self._pipeline = pipeline
        self._media = media
        self._detectors: dict[str, EventDetector] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="edgeproof-events", daemon=True)
        self._sinks: list[QueuedSink[Event | BundleEvent]] = []
        try:
            for spec in sinks:
                sink = open_sink(spec, rotation, files=media is not None, bundles=bundles)
                sink.name = _unlike(sink.name, [other.name for other in self._sinks])
                self._sinks.append(sink)
        except BaseException:
            self._close_sinks(failed=True)
            raise
        brokers = [queued.sink for queued in self._sinks if isinstance(queued.sink, MqttSink)]
        self._brokers = [MqttStreams(sink, model, home_assistant=home_assistant) for sink in brokers]

    @property
    def problems(self) -> dict[str, str]:
        """Return why a sink is not connected, by its name; its events wait."""
        found = ((sink.name, sink.problem) for sink in self._sinks)
        return {name: problem for name, problem in found if problem is not None}

    @property
    def counts(self) -> list[SinkCounts]:
        """Return the numbers of written, dropped and failed events by sink."""
        return [sink.counts for sink in self._sinks]

    def __enter__(self) -> Self:
        if self._wanted:
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._watcher.is_alive():
            self._watcher.join()
        for name in list(self._detectors):
            self._interrupted(name)
        for broker in self._brokers:
            broker.close(self._pipeline.snapshots())
        self._close_sinks(failed=kind is not None)

    def write(self, decided: Decided[Decision]) -> None:
        """Process the next decision of a stream."""
        if not self._wanted:
            return
        with self._lock:
            if self._media is not None:
                self._media.advance(decided)
            detector = self._detectors.get(decided.stream)
            if detector is not None and detector.bundle != decided.bundle:
                # Averages of two models mean nothing; an event is of one bundle.
                self._interrupted(decided.stream)
                detector = None
            if detector is None:
                detector = EventDetector(decided.stream, self._settings[decided.stream], decided.bundle)
                self._detectors[decided.stream] = detector
            self._give(detector.update(decided), decided)
        for broker in self._brokers:
            broker.decided(decided)

    def tell(self, event: BundleEvent) -> None:
        """Deliver a change of the bundle to every sink but files. Safe from any thread."""
        for sink in self._sinks:
            sink.write(event)

    def leave(self, name: str) -> None:
        """End the events of a removed stream, after its last decision."""
        with self._lock:
            if name in self._detectors:
                self._interrupted(name)
                del self._detectors[name]
            if self._media is not None:
                self._media.leave(name)

    def replace(self, removed: Sequence[StreamSnapshot], settings: Mapping[str, EventSettings]) -> None:
        """Tell the brokers of removed streams, and take the settings of all streams from now on."""
        self._settings = settings
        for broker in self._brokers:
            broker.replace(removed, settings)

    @property
    def _wanted(self) -> bool:
        return bool(self._sinks) or self._media is not None

    def _interrupted(self, name: str) -> None:
        self._give(self._detectors[name].interrupted())
        if self._media is not None:
            self._media.interrupted(name)

    def _give(self, events: Sequence[Event], decided: Decided[Decision] | None = None) -> None:
        self.count += sum(event.kind == "started" for event in events)
        for event in events:
            if self._media is not None:
                event = self._media.attach(event, decided)
            for sink in self._sinks:
                sink.write(event)
            for broker in self._brokers:
                broker.event(event)

    def _watch(self) -> None:
        while not self._over.wait(_WATCH_S):
            snapshots = self._pipeline.snapshots()
            for broker in self._brokers:
                broker.update(snapshots)
            for stream in snapshots:
                # A file's last frames arrive after its end; `__exit__` ends its events.
                lost = stream.state not in ("connecting", "live") or (stream.health_s or 0) > _UNHEALTHY_S
                if stream.live and lost and not stream.counts.under_way:
                    with self._lock:
                        if stream.name in self._detectors:
                            self._interrupted(stream.name)

    def _close_sinks(self, *, failed: bool) -> None:
        # Close in parallel: several unresponsive sinks then take one time limit.
        def close(sink: QueuedSink[Event | BundleEvent]) -> None:
            with suppress(Exception):  # its counts report the failure
                sink.close(failed=failed)

        closing = [threading.Thread(target=close, args=(sink,), daemon=True) for sink in self._sinks]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()


def _unlike(name: str, taken: Sequence[str]) -> str:
    """Return a name that no other sink has: two topics of a broker are shown by the same address."""
    return next(one for one in (name, *(f"{name} ({n})" for n in range(2, len(taken) + 3))) if one not in taken)
