"""A stream: how to open and reopen its source, its time limits, and snapshots of its state."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Counts
from edgeproof_runtime.sources.base import Frame, Source
from edgeproof_runtime.sources.health import FrameHealth, HealthOptions
from edgeproof_runtime.sources.streams_file import StreamSpec
from edgeproof_runtime.system.compat import Self

__all__ = ["Part", "Policy", "Reconnect", "StateChange", "Stream", "StreamSnapshot", "StreamState"]

Policy = Literal["every-frame", "latest-frame"]

Reconnect = Literal["auto", "always", "never"]
"""``auto`` reconnects a live source after its first frame; ``always`` also one that never opened."""

StreamState = Literal["connecting", "live", "stalled", "reconnecting", "ended", "failed"]

_LIVE_STALL_S = 2.0
_FILE_STALL_S = 30.0  # allows for a sleeping disk, a network share, an image of a hundred megapixels


@dataclass(frozen=True, slots=True)
class Part:
    """What a stream takes from a source that several streams share.

    Attributes:
        capture: the streams of one pipeline with the same value share one source: the first one's.
        cut: returns this stream's part of a frame; a SourceError ends the connection of all of them.
        whole: limits by which the whole frame is judged, once for all of them.
    """

    capture: str
    cut: Callable[[Frame], Frame]
    whole: HealthOptions


@dataclass(frozen=True, slots=True)
class Stream:
    """Source of frames that can be reopened.

    Attributes:
        name: name, unique in its pipeline; used in reports, topics and labels, so without credentials.
        open: returns a source to iterate once; called in the stream's thread, for every connection.
        policy: ``latest-frame`` or ``every-frame``; None means ``latest-frame`` for a live source only.
        reconnect: when to reconnect.
        stall_timeout_s: time without a frame before ``stalled``; after twice this the connection is closed. None means
            2 s for a live source, 30 s for others.
        open_timeout_s: time limit from opening to the first frame, seconds.
        max_frames: most frames; None means all.
        health: limits of healthy frames, for sources other than image files.
        every_s: seconds between classified frames; with ``on_motion``, between those without motion. None: all frames.
        on_motion: share of the frame that must change, 0..1; None classifies without motion too.
        head: turns the model's outputs for one of its frames into a decision; None: the worker's head.
        part: what it takes from a source that it shares with other streams; None for a source of one stream.
        closes: whether the pipeline closes the source; False only for `of`, where the caller does.

    Raises:
        InputError: a time is not positive.
    """

    name: str
    open: Callable[[], Source]
    policy: Policy | None = None
    reconnect: Reconnect = "auto"
    stall_timeout_s: float | None = None
    open_timeout_s: float = 15.0
    max_frames: int | None = None
    health: HealthOptions = field(default_factory=HealthOptions.of_damage_only)
    every_s: float | None = None
    on_motion: float | None = None
    closes: bool = True
    head: Callable[[tuple[Any, ...]], Any] | None = None
    part: Part | None = None

    def __post_init__(self) -> None:
        for what, seconds in (("stall timeout", self.stall_timeout_s), ("open timeout", self.open_timeout_s)):
            if seconds is not None and not 0 < seconds < math.inf:
                raise InputError(f"{self.name}: invalid {what}", got=seconds, expected="seconds above 0")

    @classmethod
    def of(
        cls,
        source: Source,
        *,
        policy: Policy | None = None,
        max_frames: int | None = None,
    ) -> Self:
        """Return a stream of an opened source, which is never reopened and is closed by the caller."""
        return cls(source.name, lambda: source, policy, "never", max_frames=max_frames, closes=False)

    @classmethod
    def of_spec(
        cls,
        spec: StreamSpec,
        open_source: Callable[[], Source],
        known: Collection[str] | None = None,
        *,
        policy: Policy | None = None,
        reconnect: Reconnect = "auto",
        stall_timeout_s: float | None = None,
        max_frames: int | None = None,
        head: Callable[[tuple[Any, ...]], Any] | None = None,
    ) -> Self:
        """Return the stream of a named source, or of a region of one.

        Args:
            spec: the named source.
            open_source: returns its source to iterate once.
            known: labels of the model, for checking a region's ``labels_from``.
            policy: as the attribute.
            reconnect: as the attribute.
            stall_timeout_s: as the attribute.
            max_frames: as the attribute.
            head: as the attribute.

        Raises:
            InputError: a region's file of labels cannot be read, or the model does not know one of them.
        """
        region, part = spec.region, None
        if region is not None:
            part = Part(spec.capture, region.cutter(spec.name, known), region.whole)
        return cls(
            spec.name,
            open_source,
            policy=policy,
            reconnect=reconnect,
            stall_timeout_s=stall_timeout_s,
            max_frames=max_frames,
            health=spec.health,
            every_s=spec.pace.every_s,
            on_motion=spec.pace.on_motion,
            head=head,
            part=part,
        )

    def stall_limit_s(self, live: bool) -> float:
        """Return the seconds without a frame after which the stream is stalled."""
        if self.stall_timeout_s is not None:
            return self.stall_timeout_s
        return _LIVE_STALL_S if live else _FILE_STALL_S


@dataclass(frozen=True, slots=True)
class StateChange:
    """Change of a stream's state.

    Attributes:
        state: the new state.
        unix_s: Unix time, seconds: a label, because the wall clock may be set back.
        reason: reason for the state, if any.
        at_s: seconds since the stream began, by the monotonic clock.
    """

    state: StreamState
    unix_s: float
    reason: str | None = None
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """State of a stream at one moment.

    Attributes:
        name: name of the stream.
        state: ``connecting`` until the first frame; ``stalled`` while a connection gives no frames; ``reconnecting``
            from the end of a connection to the next one's first frame; ``ended`` and ``failed`` are final.
        reason: reason for the state, if any.
        since_unix_s: start of the state, Unix seconds.
        policy: frame policy; None until the source is open if the source decides.
        live: whether the source is live; None until it is open.
        width, height: size of the newest frame, pixels; None before the first.
        fps: frames per second declared by the source, or None.
        frame_count: number of frames declared by the source, or None.
        counts: frames by outcome.
        left_out: frames left out by the source, by cause.
        health: what is wrong with the newest frame; None for a healthy one.
        health_since_unix_s: start of that, Unix seconds, or None.
        health_s: how long it has lasted, seconds, or None.
        health_limits: limits of healthy frames, by name; None for image files, which are not judged.
        unhealthy: unhealthy frames that were left out, by cause.
        unhealthy_classified: unhealthy frames that were classified all the same, by cause.
        skipped: what could not be read from the source, newest last.
        notes: requests that the source did not grant.
        reconnections: connections with frames after the first.
        last_frame_unix_s: arrival of the newest frame, Unix seconds, or None.
        history: newest changes of state, and of size while live, oldest first.
        changes: number of all changes so far, of which `history` holds the newest.
        state_s: seconds since the state began, by the monotonic clock.
        silent_s: seconds since the newest frame arrived, by the monotonic clock; None before the first.
    """

    name: str
    state: StreamState
    reason: str | None
    since_unix_s: float
    policy: Policy | None
    live: bool | None
    width: int | None
    height: int | None
    fps: float | None
    frame_count: int | None
    counts: Counts
    reconnections: int
    last_frame_unix_s: float | None
    history: tuple[StateChange, ...]
    changes: int = 0
    state_s: float = 0.0
    silent_s: float | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    health: FrameHealth | None = None
    health_since_unix_s: float | None = None
    health_s: float | None = None
    health_limits: dict[str, Any] | None = None
    unhealthy: dict[str, int] = field(default_factory=dict)
    unhealthy_classified: dict[str, int] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, under the names of the attributes."""
        return asdict(self)
