"""Measure the longest time between two decisions of a stream around a moment of interest."""

from __future__ import annotations

import time
from typing import Any

from edgeproof_runtime.live.outcomes import Decided

__all__ = ["GapMeter", "GapWatch"]

_AFTER_NS = 2_000_000_000


class GapWatch:
    """Longest gap from the start of the watch to two seconds after `end`.

    Attributes:
        longest_ms: longest time between two successive decisions of a stream, without outages of its source; None
            before the first.
        stream: the stream with that gap.
    """

    def __init__(self) -> None:
        self.longest_ms: float | None = None
        self.stream: str | None = None
        self._until_ns: int | None = None

    def end(self) -> None:
        """End two seconds from now."""
        self._until_ns = time.monotonic_ns() + _AFTER_NS

    def over(self, now_ns: int) -> bool:
        """Return whether it has ended."""
        return self._until_ns is not None and now_ns > self._until_ns

    def saw(self, stream: str, gap_ms: float) -> None:
        """Record a gap."""
        if self.longest_ms is None or gap_ms > self.longest_ms:
            self.longest_ms, self.stream = gap_ms, stream


class GapMeter:
    """Follow the decisions of all streams for the watches that are open."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}
        self._watches: tuple[GapWatch, ...] = ()

    def watch(self) -> GapWatch:
        """Begin a watch. Safe from any thread."""
        watch = GapWatch()
        self._watches = (*self._watches, watch)
        return watch

    def decided(self, decided: Decided[Any]) -> None:
        """Record a decision; call it from the thread that iterates over the pipeline."""
        now_ns, away_ns = time.monotonic_ns(), decided.frame.away_ns
        last_ns, last_away_ns = self._last.get(decided.stream, (now_ns, away_ns))
        self._last[decided.stream] = now_ns, away_ns
        if not self._watches or now_ns == last_ns:
            return
        gap_ms = max(0, now_ns - last_ns - max(0, away_ns - last_away_ns)) / 1e6
        for watch in self._watches:
            if not watch.over(last_ns):  # a gap that began in time counts whole
                watch.saw(decided.stream, gap_ms)
        if any(watch.over(last_ns) for watch in self._watches):
            self._watches = tuple(watch for watch in self._watches if not watch.over(last_ns))
