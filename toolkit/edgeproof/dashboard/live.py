"""Streams on the page: newest frame, latencies of the last minute, frame ages of the last two minutes."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from edgeproof.dashboard.metrics import STREAM_STAGES, Metrics
from edgeproof.library.live_reload import StreamsReload
from edgeproof.library.live_sinks import LiveSinks
from edgeproof_runtime.errors import EdgeproofError, one_line
from edgeproof_runtime.live.events import BundleEvent, EventSettings
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.pipeline import Pipeline
from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.metrics.latency import STAGES, summarize
from edgeproof_runtime.sinks import SinkCounts
from edgeproof_runtime.sinks.snapshot import snapshot_jpeg
from edgeproof_runtime.tasks.decision import Row

__all__ = ["LiveStream", "LiveStreams"]

_WINDOW_S = 60.0
_WINDOW_FRAMES = 4096
_CURVE_S = 120
_AGES_A_SECOND = 500
_ROWS = 5
_SIDE, _SMALL_SIDE = 960, 320


@dataclass(slots=True)
class _Second:
    """Frame ages of one second of a stream, at decision."""

    number: int
    ages_ms: list[float] = field(default_factory=list)


class LiveStream:
    """Recent history of one stream, written by the decision thread and read by any thread.

    Args:
        identity: its identifier in URLs.
        name: name of the stream.
        metrics: receives every decision.
        events: thresholds below which a prediction is shown as unsure.
    """

    def __init__(self, identity: str, name: str, metrics: Metrics, events: EventSettings) -> None:
        self.identity = identity
        self.name = name
        self._events = events
        self._begin_s = time.monotonic()
        self._stage_seconds = {stage: metrics.stage_seconds.labels(name, stage) for stage in STREAM_STAGES}
        self._age_seconds = metrics.frame_age_seconds.labels(name)
        self._unknown = metrics.frames_unknown.labels(name)
        self._lock = threading.Lock()
        self._picture_lock = threading.Lock()
        self._newest: Decided[Any] | None = None
        self._version = 0
        self._pictures: dict[int, tuple[int, bytes]] = {}
        self._window: deque[tuple[float, dict[str, float]]] = deque(maxlen=_WINDOW_FRAMES)
        self._seconds: deque[_Second] = deque(maxlen=_CURVE_S + 1)

    def decided(self, decided: Decided[Any]) -> None:
        """Record a decision."""
        stages_ms = decided.stages_ms
        for stage, histogram in self._stage_seconds.items():
            histogram.observe(stages_ms[stage] / 1e3)
        self._age_seconds.observe(decided.frame_age_ms / 1e3)
        if decided.decision.unknown:
            self._unknown.inc()
        now_s = time.monotonic()
        with self._lock:
            self._newest = decided
            self._version += 1
            self._window.append((now_s, stages_ms))
            while now_s - self._window[0][0] > _WINDOW_S:
                self._window.popleft()
            if not self._seconds or self._seconds[-1].number != int(now_s):
                self._seconds.append(_Second(int(now_s)))
            if len(self._seconds[-1].ages_ms) < _AGES_A_SECOND:
                self._seconds[-1].ages_ms.append(decided.frame_age_ms)

    @property
    def version(self) -> int:
        """Return the number of the newest frame; 0 before the first."""
        return self._version

    def picture(self, *, small: bool = False) -> bytes | None:
        """Return the newest frame as JPEG, at most 960 pixels per side, or 320; encoded once for all viewers."""
        side = _SMALL_SIDE if small else _SIDE
        with self._picture_lock:
            with self._lock:
                newest, version = self._newest, self._version
            if newest is None:
                return None
            if self._pictures.get(side, (0, b""))[0] != version:
                self._pictures[side] = (version, snapshot_jpeg(newest, side))
            return self._pictures[side][1]

    def state(self, snapshot: StreamSnapshot) -> dict[str, Any]:
        """Return the stream's state on the page as plain JSON values."""
        now_s = time.monotonic()
        with self._lock:
            newest = self._newest
            recent = [(at_s, stages) for at_s, stages in self._window if now_s - at_s <= _WINDOW_S]
            seconds = {second.number: list(second.ages_ms) for second in self._seconds}
        counts = snapshot.counts
        return {
            "id": self.identity,
            "name": self.name,
            "state": snapshot.state,
            "reason": snapshot.reason,
            "state_age_s": snapshot.state_s,
            "seen": snapshot.silent_s is not None,
            "watched_s": now_s - self._begin_s,
            "silent_s": snapshot.silent_s,
            "policy": snapshot.policy,
            "width": snapshot.width,
            "height": snapshot.height,
            "claimed_fps": snapshot.fps,
            "decided_fps": _rate(recent, now_s),
            "frames": {
                "in": counts.frames_in,
                "decided": counts.decided,
                "overtaken": counts.overtaken,
                "stopped": counts.stopped,
                "unhealthy": counts.unhealthy,
                "failed": counts.failed,
                "left_out": dict(snapshot.left_out),
            },
            "health": snapshot.health,
            "health_age_s": snapshot.health_s,
            "unhealthy": snapshot.unhealthy,
            "reconnections": snapshot.reconnections,
            "skipped": list(snapshot.skipped[-3:]),
            "frame": None if newest is None else newest.frame.name,
            "headline": None if newest is None else newest.decision.headline,
            "sure": newest is None or self._events.is_sure(newest.decision),
            "rows": [] if newest is None else [_row(row) for row in newest.decision.rows(_ROWS)],
            "latency_ms": {
                stage: summarize([stages[stage] for _, stages in recent]).to_json() for stage in STAGES if recent
            },
            "curve": _curve(seconds, int(now_s)),
        }


def _rate(recent: Sequence[tuple[float, Any]], now_s: float) -> float:
    """Return decisions per second over the last five seconds."""
    span_s = 5.0
    return sum(now_s - at_s <= span_s for at_s, _ in recent) / span_s


def _curve(seconds: dict[int, list[float]], now: int) -> dict[str, Any]:
    """Return median and largest frame age per whole second, oldest first; null for seconds without decisions."""
    columns = [seconds.get(number, []) for number in range(now - _CURVE_S, now)]
    return {
        "seconds": _CURVE_S,
        "age_ms_median": [round(median(ages), 2) if ages else None for ages in columns],
        "age_ms_max": [round(max(ages), 2) if ages else None for ages in columns],
        "decided": [len(ages) for ages in columns],
    }


def _row(row: Row) -> list[Any]:
    # A broken model may give NaN, which JSON does not support.
    return [row.label, row.bar if math.isfinite(row.bar) else 0.0, row.figure]


class LiveStreams:
    """Run a pipeline in its own thread, keep the state for the page, and write the outputs.

    Args:
        pipeline: pipeline, not yet entered.
        metrics: receive every decision.
        sinks: receive every decision; entered and left by the caller.
        events: thresholds below which a prediction is shown as unsure, by stream.
        on_decided: called with every decision, in that thread.
    """

    def __init__(
        self,
        pipeline: Pipeline[Any],
        metrics: Metrics,
        sinks: LiveSinks,
        events: Mapping[str, EventSettings],
        on_decided: Callable[[Decided[Any]], None] = lambda _: None,
    ) -> None:
        self.pipeline = pipeline
        self.error: BaseException | None = None
        """Why the pipeline failed; None if it ended normally or was stopped."""
        self.streams: dict[str, LiveStream] = {}
        """The streams by the identifiers in URLs, of which none is used twice."""
        self.reload: StreamsReload | None = None
        """Reads the files of streams again; None before `open_service` has set it."""
        self._metrics = metrics
        self._identities = 0
        self.add([snapshot.name for snapshot in pipeline.snapshots()], events)
        pipeline.on_removed = self._leave
        self._on_decided = on_decided
        self._sinks = sinks
        self._told = False
        self._thread = threading.Thread(target=self._run, name="edgeproof-streams", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop all streams and wait for their end."""
        self.pipeline.stop()
        self._thread.join()

    def tell(self, event: BundleEvent) -> None:
        """Send a change of the bundle to brokers and webhooks. Safe from any thread."""
        self._sinks.tell(event)

    @property
    def sink_counts(self) -> list[SinkCounts]:
        """Return the written, dropped and failed items by output."""
        return self._sinks.counts

    @property
    def problems(self) -> list[str]:
        """Return a message for each output that is not connected."""
        return self._sinks.problems

    def outputs(self) -> list[dict[str, Any]]:
        """Return the counts of each output on the page, and why it is not connected."""
        unconnected = self._sinks.unconnected
        return [{**count.to_json(), "problem": unconnected.get(count.name)} for count in self.sink_counts]

    def state(self) -> list[dict[str, Any]]:
        """Return the state of each stream on the page."""
        streams = self._by_name
        return [streams[shot.name].state(shot) for shot in self.pipeline.snapshots() if shot.name in streams]

    def add(self, names: Sequence[str], events: Mapping[str, EventSettings]) -> None:
        """Show more streams; see `StreamsReload`."""
        new = {}
        for name in names:
            new[str(self._identities)] = LiveStream(str(self._identities), name, self._metrics, events[name])
            self._identities += 1
        self.streams = {**self.streams, **new}

    @property
    def _by_name(self) -> dict[str, LiveStream]:
        return {stream.name: stream for stream in self.streams.values()}

    def _leave(self, name: str) -> None:
        self.streams = {identity: stream for identity, stream in self.streams.items() if stream.name != name}
        self._metrics.forget_stream(name)
        self._sinks.leave(name)

    def _run(self) -> None:
        try:
            with self.pipeline:
                for decided in self.pipeline:
                    self._by_name[decided.stream].decided(decided)
                    self._on_decided(decided)
                    self._write(decided)
        except Exception as error:
            self.error = error
            logging.getLogger(__name__).error("streams: ended with an error: %s", error)

    def _write(self, decided: Decided[Any]) -> None:
        try:
            self._sinks.write(decided)
        except EdgeproofError as error:
            # Page and API go on without the file; its counts report the loss.
            if not self._told:
                logging.getLogger(__name__).error("streams: %s", one_line(error))
            self._told = True
        for sentence in self._sinks.news():
            logging.getLogger(__name__).error("streams: %s", sentence)
