"""Detect events in a stream's decisions: the start and end of a class or a defect."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.sources.streams_file import StreamSpec
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.text import some
from edgeproof_runtime.tasks.decision import Decision, EventValues, Quantity

__all__ = ["BundleEvent", "Event", "EventDetector", "EventSettings", "events_by_stream"]

_LABELS_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """Thresholds of the event detector.

    Attributes:
        half_life_frames: half-life of the exponential moving average over a stream's frames; 0 turns it off.
        threshold: lowest averaged probability (0..1) at which a class counts; scores use the bundle's.
        thresholds: lowest averaged probability of single classes, as (label, probability), instead of ``threshold``.
        top_k: most classes that count at the same time.
        stable_frames: consecutive decided frames that start or end an event.

    Raises:
        InputError: a value is out of range.
    """

    half_life_frames: float = 0.0
    threshold: float = 0.5
    thresholds: tuple[tuple[str, float], ...] = ()
    top_k: int = 1
    stable_frames: int = 5

    def __post_init__(self) -> None:
        for name, value, sound, expected in (
            ("half-life", self.half_life_frames, 0 <= self.half_life_frames < math.inf, "0 or more frames"),
            ("threshold", self.threshold, 0 <= self.threshold <= 1, "0 to 1"),
            *((f"threshold of {label}", value, 0 <= value <= 1, "0 to 1") for label, value in self.thresholds),
            ("number of classes at once", self.top_k, self.top_k >= 1, "1 or more"),
            ("number of stable frames", self.stable_frames, self.stable_frames >= 1, "1 or more"),
        ):
            if not sound:
                raise InputError(f"{name} of events: out of range", got=value, expected=expected)

    def of_stream(self, spec: StreamSpec) -> Self:
        """Return the settings of a stream: what its table in ``streams.toml`` names replaces these."""
        return replace(
            self,
            threshold=self.threshold if spec.threshold is None else spec.threshold,
            thresholds=self.thresholds if spec.thresholds is None else spec.thresholds,
        )

    def require_labels(self, labels: Sequence[str], where: str = "--threshold-of") -> None:
        """Require that the model has the labels of ``thresholds``.

        Args:
            labels: labels of the bundle.
            where: what names the thresholds, for messages.

        Raises:
            InputError: it lacks one.
        """
        for label, _ in self.thresholds:
            if label not in labels:
                known = some(labels, _LABELS_NAMED)
                raise InputError(f"{where}: unknown label", got=label, expected=f"a label of the bundle: {known}")

    def threshold_of(self, label: str) -> float:
        """Return the threshold of a class: its own, or the common one."""
        return dict(self.thresholds).get(label, self.threshold)

    def is_sure(self, decision: Decision) -> bool:
        """Return whether a prediction reaches its class's threshold; tasks without a probability have their own."""
        if decision.unknown:
            return False
        return decision.probability is None or decision.probability >= self.threshold_of(decision.label)

    @property
    def newest_weight(self) -> float:
        """Return the newest frame's weight in the average: ``1 - 2 ** (-1 / half_life_frames)``."""
        return 1 - 2 ** (-1 / self.half_life_frames) if self.half_life_frames else 1.0


def events_by_stream(
    settings: EventSettings, specs: Sequence[StreamSpec], labels: Sequence[str]
) -> Mapping[str, EventSettings]:
    """Return the settings of each stream, by its name.

    Args:
        settings: of streams whose table does not name others.
        specs: the streams.
        labels: labels of the bundle.

    Raises:
        InputError: the bundle lacks a label of a threshold.
    """
    settings.require_labels(labels)
    found = {spec.name: settings.of_stream(spec) for spec in specs}
    for name, own in found.items():
        own.require_labels(labels, f"stream {name}: thresholds")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Start or end of a class or a defect in a stream.

    Attributes:
        kind: ``started`` once stable, ``ended`` with the same start once over.
        stream: name of the stream.
        label: class label, or ``defect``.
        quantity: quantity of ``peak``: averaged ``probability``, or averaged anomaly ``score``.
        peak: highest value so far.
        start_unix_s: capture time of the first of the stable frames, Unix seconds.
        end_unix_s: ``start_unix_s`` and the time to the last frame that counted, by the monotonic clock: never before
            the start, also where the wall clock was set back; None while it lasts.
        start_index: index of that first frame.
        end_index: index of that last frame; None while it lasts.
        frames: decided frames that counted so far.
        clip, snapshot: files that show the event, if they are recorded.
        bundle: sha256 of the manifest of the bundle that predicted it, of a run that follows a bundle.
    """

    kind: Literal["started", "ended"]
    stream: str
    label: str
    quantity: Quantity
    peak: float
    start_unix_s: float
    start_index: int
    frames: int
    end_unix_s: float | None = None
    end_index: int | None = None
    clip: str | None = None
    snapshot: str | None = None
    bundle: str = ""

    @property
    def topic(self) -> str:
        """Return its MQTT topic below the sink's."""
        return f"{self.stream}/event"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the peak's key is its quantity, and files are named only if there are any."""
        return {
            "schema": "edgeproof.event/1",
            "kind": self.kind,
            "stream": self.stream,
            "label": self.label,
            self.quantity: self.peak,
            "start_unix_s": self.start_unix_s,
            "end_unix_s": self.end_unix_s,
            "start_index": self.start_index,
            "end_index": self.end_index,
            "frames": self.frames,
            **{name: file for name, file in (("clip", self.clip), ("snapshot", self.snapshot)) if file is not None},
            **({"bundle": self.bundle} if self.bundle else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleEvent:
    """Change of the followed bundle, or the refusal of a new one; of no stream.

    Attributes:
        kind: ``bundle_switched`` or ``bundle_refused``.
        unix_s: time, Unix seconds.
        before: sha256 of the manifest of the bundle before.
        after: that of the new bundle; None if it could not be read.
        cause: kind of the reason for a refusal; None of a change.
        reason: why it was refused; None of a change.
    """

    kind: Literal["bundle_switched", "bundle_refused"]
    unix_s: float
    before: str
    after: str | None
    cause: str | None = None
    reason: str | None = None

    @property
    def topic(self) -> str:
        """Return its MQTT topic below the sink's."""
        return "bundle"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "schema": "edgeproof.event/1",
            "kind": self.kind,
            "unix_s": self.unix_s,
            "from": self.before,
            "to": self.after,
            "cause": self.cause,
            "reason": self.reason,
        }


@dataclass(slots=True)
class _Track:
    """Class or defect that counts now, or counted recently."""

    start_unix_s: float
    start_ns: int
    start_index: int
    end_ns: int = 0
    end_index: int = 0
    peak: float = 0.0
    frames: int = 0
    absent_frames: int = 0
    started: bool = False


class EventDetector:
    """Detect the events of one stream. Not thread-safe.

    Args:
        stream: name of the stream.
        settings: thresholds.
        bundle: sha256 of the manifest of the bundle whose predictions it gets, if it is known.
    """

    def __init__(self, stream: str, settings: EventSettings, bundle: str = "") -> None:
        self.bundle = bundle
        self._stream = stream
        self._settings = settings
        self._average: NDArray[np.float64] | None = None
        self._tracks: dict[int, _Track] = {}
        self._label_of: Callable[[int], str] = str
        self._quantity: Quantity = "probability"
        self._own_limits: dict[int, float] | None = None

    def update(self, decided: Decided[Decision]) -> list[Event]:
        """Process the next decision of the stream.

        Returns:
            Events that ended, then events that started, with it.
        """
        found = decided.decision.event_values(self._settings.threshold, self._settings.top_k)
        self._label_of, self._quantity = found.label_of, found.quantity
        values = found.values
        if not np.isfinite(values).all():
            # NaN carries no information and would stay in the average for ever.
            self._average = None
            return self._follow({}, decided)
        if self._average is None or self._average.shape != values.shape:
            self._average = values
        else:
            self._average = self._average + self._settings.newest_weight * (values - self._average)
        limits = self._limits(found)
        highest = np.argsort(-self._average, kind="stable")[: found.at_once]
        counting = {int(i): float(self._average[i]) for i in highest if self._average[i] >= limits[i]}
        return self._follow(counting, decided)

    def _limits(self, found: EventValues) -> NDArray[np.float64]:
        if not self._settings.thresholds or found.quantity != "probability":
            return found.limits
        if self._own_limits is None:
            own = dict(self._settings.thresholds)
            labels = (found.label_of(i) for i in range(len(found.values)))
            self._own_limits = {i: own[label] for i, label in enumerate(labels) if label in own}
        limits: NDArray[np.float64] = found.limits.copy()
        for i, limit in self._own_limits.items():
            limits[i] = limit
        return limits

    def interrupted(self) -> list[Event]:
        """End all events at the last frame and reset the average; call it when the stream breaks off or ends."""
        ended = [self._event("ended", index, track) for index, track in self._tracks.items() if track.started]
        self._tracks.clear()
        self._average = None
        return ended

    def _follow(self, counting: dict[int, float], decided: Decided[Decision]) -> list[Event]:
        frame, stable = decided.frame, self._settings.stable_frames
        events = []
        for index in [index for index in self._tracks if index not in counting]:
            track = self._tracks[index]
            track.absent_frames += 1
            if not track.started or track.absent_frames >= stable:
                del self._tracks[index]
                if track.started:
                    events.append(self._event("ended", index, track))
        for index, value in counting.items():
            track = self._tracks.setdefault(index, _Track(frame.captured_unix_s, frame.captured_ns, frame.index))
            track.end_ns, track.end_index = frame.captured_ns, frame.index
            track.peak = max(track.peak, value)
            track.frames += 1
            track.absent_frames = 0
            if not track.started and track.frames >= stable:
                track.started = True
                events.append(self._event("started", index, track))
        return events

    def _event(self, kind: Literal["started", "ended"], index: int, track: _Track) -> Event:
        over = kind == "ended"
        return Event(
            kind=kind,
            stream=self._stream,
            label=self._label_of(index),
            quantity=self._quantity,
            peak=track.peak,
            start_unix_s=track.start_unix_s,
            start_index=track.start_index,
            frames=track.frames,
            end_unix_s=track.start_unix_s + max(0, track.end_ns - track.start_ns) / 1e9 if over else None,
            end_index=track.end_index if over else None,
            bundle=self.bundle,
        )
