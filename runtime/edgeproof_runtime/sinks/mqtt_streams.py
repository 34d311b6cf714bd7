"""Keep the state of streams at an MQTT broker, and announce them to Home Assistant."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from edgeproof_runtime.live.events import Event
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.sinks.home_assistant import Device, safe_id
from edgeproof_runtime.sinks.mqtt import MqttSink
from edgeproof_runtime.sinks.snapshot import snapshot_jpeg
from edgeproof_runtime.tasks.decision import Decision

__all__ = ["MqttStreams"]

_STATE_SCHEMA = "edgeproof.stream/1"
_AVAILABLE = ("live",)
_PREDICTION_EVERY_S = 1.0
_SAME_STATE_EVERY_S = 5.0  # health that changes with every frame must not flood the broker
_SNAPSHOT_EVERY_S = 10.0
_CLASSES_AT_ONCE = 32  # of a model with more, a class is announced at its first event
_MOST_CLASSES = 256


class MqttStreams:
    """Publish the latest of each stream, retained: ``state``, ``status``, and for Home Assistant also the rest.

    Topics are below ``TOPIC/STREAM``: ``state`` (JSON; at once when the state changes, what else changes in it at most
    every five seconds), ``status`` (``online`` while frames arrive, else
    ``offline``); with ``home_assistant`` also ``prediction`` (JSON, at most one per second), ``snapshot`` (JPEG, at
    the start of an event and every ten seconds), ``class/KEY`` (``ON`` during an event) and the discovery payload.

    MQTT has one last will per connection. It sets ``TOPIC/status``: a stream is available where both are ``online``.

    Args:
        sink: the broker.
        model: name of the bundle.
        home_assistant: whether to announce the streams.
    """

    def __init__(self, sink: MqttSink, model: str, *, home_assistant: bool) -> None:
        self._sink = sink
        self._model = model
        self._home_assistant = home_assistant
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._removed: set[str] = set()

    def event(self, event: Event) -> None:
        """Follow an event."""
        if self._home_assistant:
            with self._lock:
                self._of(event.stream).event(event)

    def decided(self, decided: Decided[Decision]) -> None:
        """Keep the newest decision of a stream; `update` publishes it."""
        if self._home_assistant:
            with self._lock:
                self._of(decided.stream).newest = decided

    def update(self, snapshots: Sequence[StreamSnapshot]) -> None:
        """Publish what changed; call it once or twice per second."""
        for snapshot in snapshots:
            with self._lock:
                if snapshot.name in self._removed:
                    continue
                shown = self._of(snapshot.name).update(snapshot)
            if shown is not None:
                self._sink.keep(f"{self._sink.address.topic}/{snapshot.name}/snapshot", snapshot_jpeg(shown))

    def close(self, snapshots: Sequence[StreamSnapshot]) -> None:
        """Publish the last states, and that no stream is available any more."""
        self.update(snapshots)
        for snapshot in snapshots:
            self._sink.keep(f"{self._sink.address.topic}/{snapshot.name}/status", "offline")

    def replace(self, removed: Sequence[StreamSnapshot], names: Collection[str]) -> None:
        """Publish the last states of removed streams, and take back what announces them.

        Args:
            removed: last states.
            names: names of the streams from now on; a removed one may be among them again.
        """
        for snapshot in removed:
            with self._lock:
                stream = self._of(snapshot.name)
                stream.update(snapshot)
                stream.leave(announced=snapshot.name in names)
                del self._streams[snapshot.name]
        with self._lock:
            self._removed = (self._removed | {snapshot.name for snapshot in removed}) - set(names)

    def _of(self, name: str) -> _Stream:
        if name not in self._streams:
            self._streams[name] = _Stream(self._sink, name, self._model, home_assistant=self._home_assistant)
        return self._streams[name]


class _Stream:
    """What the broker holds of one stream."""

    def __init__(self, sink: MqttSink, name: str, model: str, *, home_assistant: bool) -> None:
        self.newest: Decided[Decision] | None = None
        self._keep = sink.keep
        self._base = f"{sink.address.topic}/{name}"
        self._device = Device(sink.address.topic, name, model) if home_assistant else None
        self._classes: dict[str, str] = {}
        self._knows_classes = False
        self._running: Counter[str] = Counter()
        self._wants_snapshot = False
        self._shown: Decided[Decision] | None = None
        self._state = ""
        self._told_s = self._predicted_s = self._shown_s = float("-inf")
        if self._device is not None:
            self._announce(self._device, ())

    def event(self, event: Event) -> None:
        if self._device is None:
            return
        self._running[event.label] += 1 if event.kind == "started" else -1
        if event.label not in self._classes.values():
            self._announce(self._device, [event.label])
        self._wants_snapshot |= event.kind == "started"
        self._keep_class(event.label)

    def update(self, snapshot: StreamSnapshot) -> Decided[Decision] | None:
        """Publish what changed, and return the decision whose frame is to be shown, if any."""
        newest, now_s = self.newest, time.monotonic()
        if snapshot.state != self._state or now_s - self._told_s >= _SAME_STATE_EVERY_S:
            self._state, self._told_s = snapshot.state, now_s
            self._keep(f"{self._base}/state", _json(_state(snapshot)))
        self._keep(f"{self._base}/status", "online" if snapshot.state in _AVAILABLE else "offline")
        if newest is None or self._device is None:
            return None
        if not self._knows_classes:
            self._knows_classes = True
            values = newest.decision.event_values(0.5, 1)
            if len(values.values) <= _CLASSES_AT_ONCE:
                self._announce(self._device, [values.label_of(index) for index in range(len(values.values))])
        if now_s - self._predicted_s >= _PREDICTION_EVERY_S:
            self._predicted_s = now_s
            self._keep(f"{self._base}/prediction", _json(_prediction(newest)))
        due = self._wants_snapshot or now_s - self._shown_s >= _SNAPSHOT_EVERY_S
        if not due or newest is self._shown:
            return None
        self._wants_snapshot, self._shown, self._shown_s = False, newest, now_s
        return newest

    def leave(self, *, announced: bool) -> None:
        """Say that the stream is away; Home Assistant removes a device whose announcement is empty."""
        self._keep(f"{self._base}/status", "offline")
        if self._device is not None and not announced:
            self._keep(self._device.discovery_topic, "")

    def _announce(self, device: Device, labels: Sequence[str]) -> None:
        for label in labels:
            if len(self._classes) < _MOST_CLASSES:
                self._classes[safe_id(label)] = label
                self._keep_class(label)
        self._keep(device.discovery_topic, _json(device.discovery(self._classes)))

    def _keep_class(self, label: str) -> None:
        if label in self._classes.values():
            self._keep(f"{self._base}/class/{safe_id(label)}", "ON" if self._running[label] > 0 else "OFF")


def _state(snapshot: StreamSnapshot) -> dict[str, Any]:
    """Return the state of a stream: what changes with every frame is left to the metrics."""
    return {
        "schema": _STATE_SCHEMA,
        "stream": snapshot.name,
        "state": snapshot.state,
        "reason": snapshot.reason,
        "since_unix_s": snapshot.since_unix_s,
        "health": snapshot.health,
        "reconnections": snapshot.reconnections,
        "width": snapshot.width,
        "height": snapshot.height,
    }


def _prediction(decided: Decided[Decision]) -> dict[str, Any]:
    decision = decided.decision
    return {
        "label": decision.label,
        "probability": decision.probability,
        "detail": decision.detail,
        "captured_unix_s": decided.frame.captured_unix_s,
    }


def _json(value: Any) -> str:
    # A broken model gives NaN, which JSON has no word for.
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps({**value, "probability": None}, ensure_ascii=False)
