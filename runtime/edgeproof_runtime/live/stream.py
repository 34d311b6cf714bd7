"""A stream: how to open a source again and again, what to expect of it, and what it is doing at the moment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from edgeproof_runtime.errors import InputError
from edgeproof_runtime.live.outcomes import Counts
from edgeproof_runtime.sources.base import Source

__all__ = ["Policy", "Reconnect", "StateChange", "Stream", "StreamSnapshot", "StreamState"]

Policy = Literal["every-frame", "latest-frame"]

Reconnect = Literal["auto", "always", "never"]
"""``auto`` opens a live source again once it has given a frame; ``always`` also one that never opened."""

StreamState = Literal["connecting", "live", "stalled", "reconnecting", "ended", "failed"]

_LIVE_STALL_S = 2.0
_FILE_STALL_S = 30.0  # a disk that sleeps, a network share, a picture of a hundred megapixels


@dataclass(frozen=True, slots=True)
class Stream:
    """A source of frames that can be opened again.

    Attributes:
        name: unique in its pipeline; stands in reports, topics and labels, so without credentials.
        open: gives a source to iterate once. Called in a thread of the stream's own, where it may take its time, and
            again for every reconnection.
        policy: None takes ``latest-frame`` for a live source, else ``every-frame``.
        reconnect: when to open it again.
        stall_timeout_s: without a frame for so long it is ``stalled``; for twice as long, the connection is given up.
            None is 2 s for a live source, 30 s for any other.
        open_timeout_s: from the start of opening to the first frame.
        max_frames: end after so many.
        closes: whether the pipeline closes what `open` gives; not with `of` alone, where the source is the caller's.

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
    closes: bool = True

    def __post_init__(self) -> None:
        for what, seconds in (("stall timeout", self.stall_timeout_s), ("open timeout", self.open_timeout_s)):
            if seconds is not None and not 0 < seconds < math.inf:
                raise InputError(f"{self.name}: the {what} is no time", got=seconds, expected="seconds above 0")

    @classmethod
    def of(
        cls,
        source: Source,
        *,
        policy: Policy | None = None,
        max_frames: int | None = None,
    ) -> Self:
        """A stream of a source that is already open: never opened again, and the caller's to close."""
        return cls(source.name, lambda: source, policy, "never", max_frames=max_frames, closes=False)

    def stall_limit_s(self, live: bool) -> float:
        """Seconds without a frame after which it is stalled."""
        if self.stall_timeout_s is not None:
            return self.stall_timeout_s
        return _LIVE_STALL_S if live else _FILE_STALL_S


@dataclass(frozen=True, slots=True)
class StateChange:
    """From when on a stream was in a state (Unix time, seconds), and why."""

    state: StreamState
    unix_s: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """What a stream is doing at one moment.

    Attributes:
        name: of the stream.
        state: ``connecting`` until the first frame; ``stalled`` while a connection gives none; ``reconnecting`` between
            the end of a connection and the next one's first frame; ``ended`` and ``failed`` for good.
        reason: why it is in this state, where there is something to say.
        since_unix_s: since when.
        policy: None until the source is open and the caller left it to the source.
        live: whether the source comes at its own pace; None until it is open.
        width, height: of the newest frame in pixels; None before the first.
        fps: frames per second that the source claims, or None.
        frame_count: how many frames the source claims, or None.
        counts: what became of its frames.
        left_out: frames that the source itself gave nobody, by cause.
        skipped: named things that the source could not give, the newest last.
        notes: sentences for people about what the source was asked for and did not grant.
        reconnections: connections after the first that gave a frame.
        last_frame_unix_s: when the newest frame arrived, or None.
        history: the newest changes of state, and of size while live, the oldest first.
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
    left_out: dict[str, int] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, under the names of the attributes."""
        return asdict(self)
