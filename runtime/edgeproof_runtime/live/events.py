"""From decisions frame by frame to events: something began to show, something ceased to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Decided
from edgeproof_runtime.tasks.decision import Decision, Quantity

__all__ = ["Event", "EventDetector", "EventSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSettings:
    """When something counts as seen.

    Attributes:
        half_life_frames: of the exponential moving average over a stream's frames: what a frame said weighs half as
            much so many frames later. 0 takes every frame by itself.
        threshold: averaged probability, 0..1, from which a class counts. An anomaly score has the bundle's own limit.
        top_k: how many classes may count at once.
        stable_frames: how many decided frames in a row something must count, or no longer count, to begin or end.

    Raises:
        InputError: a value makes no sense.
    """

    half_life_frames: float = 0.0
    threshold: float = 0.5
    top_k: int = 1
    stable_frames: int = 5

    def __post_init__(self) -> None:
        for name, value, sound, expected in (
            ("half-life", self.half_life_frames, 0 <= self.half_life_frames < math.inf, "0 or more frames"),
            ("threshold", self.threshold, 0 <= self.threshold <= 1, "0 to 1"),
            ("number of classes at once", self.top_k, self.top_k >= 1, "1 or more"),
            ("number of stable frames", self.stable_frames, self.stable_frames >= 1, "1 or more"),
        ):
            if not sound:
                raise InputError(f"the {name} of events makes no sense", got=value, expected=expected)

    @property
    def newest_weight(self) -> float:
        """Weight of the newest frame in the average: ``1 - 2 ** (-1 / half_life_frames)``."""
        return 1 - 2 ** (-1 / self.half_life_frames) if self.half_life_frames else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that began or ceased to show in a stream.

    Attributes:
        kind: ``started`` as soon as it was stable, ``ended`` with the same start once it is over.
        stream: name of the stream.
        label: the class, or ``defect``.
        quantity: what ``peak`` is: an averaged ``probability``, or an averaged anomaly ``score``.
        peak: its highest value so far.
        start_unix_s: capture of the first of the frames that made it stable.
        end_unix_s: capture of the last frame in which it counted; None while it lasts.
        start_index: of that first frame.
        end_index: of that last frame; None while it lasts.
        frames: decided frames in which it counted so far.
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

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the peak stands under the name of its quantity."""
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
        }


@dataclass(slots=True)
class _Track:
    """Something that counts now, or did until a moment ago."""

    start_unix_s: float
    start_index: int
    end_unix_s: float = 0.0
    end_index: int = 0
    peak: float = 0.0
    frames: int = 0
    absent_frames: int = 0
    started: bool = False


class EventDetector:
    """The events of one stream. Not for several threads at once.

    Args:
        stream: its name.
        settings: when something counts.
    """

    def __init__(self, stream: str, settings: EventSettings) -> None:
        self._stream = stream
        self._settings = settings
        self._average: NDArray[np.float64] | None = None
        self._tracks: dict[int, _Track] = {}
        self._label_of: Callable[[int], str] = str
        self._quantity: Quantity = "probability"

    def update(self, decided: Decided[Decision]) -> list[Event]:
        """Take the next decision of the stream.

        Returns:
            What began or ended with it, the endings first.
        """
        found = decided.decision.event_values(self._settings.threshold, self._settings.top_k)
        self._label_of, self._quantity = found.label_of, found.quantity
        values = found.values
        if not np.isfinite(values).all():
            # No number says nothing, and must not stay in the average for ever.
            self._average = None
            return self._follow({}, decided)
        if self._average is None or self._average.shape != values.shape:
            self._average = values
        else:
            self._average = self._average + self._settings.newest_weight * (values - self._average)
        highest = np.argsort(-self._average, kind="stable")[: found.at_once]
        counting = {int(i): float(self._average[i]) for i in highest if self._average[i] >= found.limits[i]}
        return self._follow(counting, decided)

    def interrupted(self) -> list[Event]:
        """The stream broke off or ended: what lasted ends with its last frame, and the average begins anew."""
        ended = [self._event("ended", index, track) for index, track in self._tracks.items() if track.started]
        self._tracks.clear()
        self._average = None
        return ended

    def _follow(self, counting: dict[int, float], decided: Decided[Decision]) -> list[Event]:
        frame, stable = decided.frame, self._settings.stable_frames
        captured_unix_s = frame.captured_unix_s
        events = []
        for index in [index for index in self._tracks if index not in counting]:
            track = self._tracks[index]
            track.absent_frames += 1
            if not track.started or track.absent_frames >= stable:
                del self._tracks[index]
                if track.started:
                    events.append(self._event("ended", index, track))
        for index, value in counting.items():
            track = self._tracks.setdefault(index, _Track(captured_unix_s, frame.index))
            track.end_unix_s, track.end_index = captured_unix_s, frame.index
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
            end_unix_s=track.end_unix_s if over else None,
            end_index=track.end_index if over else None,
        )
