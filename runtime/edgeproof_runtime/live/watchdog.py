"""Tell systemd how a live run is, and feed its watchdog only while the run gets on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from edgeproof_runtime.live.stream import StreamSnapshot
from edgeproof_runtime.live.supervisor import HANGS
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.notify import SystemdSocket

__all__ = ["Watchdog", "gets_on"]

_STATUS_S = 5.0
_FEEDS = 4  # per time limit: systemd advises at least two


class Watchdog:
    """Context manager around a run: READY at the start, STATUS and WATCHDOG from a thread, STOPPING at the end.

    Does nothing without ``NOTIFY_SOCKET``.

    Args:
        snapshots: returns the state of every stream; none for a server without streams.
        ready: returns whether the service accepts work; READY waits for it.
    """

    def __init__(
        self, snapshots: Callable[[], Sequence[StreamSnapshot]], *, ready: Callable[[], bool] = lambda: True
    ) -> None:
        self._snapshots, self._ready = snapshots, ready
        self._systemd = SystemdSocket()
        self._ending = threading.Event()
        self._sending = threading.Lock()  # nothing is said after STOPPING
        self._thread = threading.Thread(target=self._work, name="edgeproof-watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self._systemd.exists:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._sending:
            self._ending.set()
            self._systemd.send(STOPPING=1, STATUS="stopping")

    def _work(self) -> None:
        while not self._ready():
            if self._ending.wait(0.1):
                return
        self._systemd.send(READY=1)
        limit_s = self._systemd.watchdog_s
        interval_s = _STATUS_S if limit_s is None else min(_STATUS_S, limit_s / _FEEDS)
        before = self._snapshots()
        while not self._ending.wait(interval_s):
            now = self._snapshots()
            alive = gets_on(before, now)
            with self._sending:
                if not self._ending.is_set():
                    self._systemd.send(STATUS=_status(now), **({"WATCHDOG": 1} if alive else {}))
            before = now


def gets_on(before: Sequence[StreamSnapshot], now: Sequence[StreamSnapshot]) -> bool:
    """Return whether a run got on between two moments.

    It does if a frame was decided or left out on purpose, or if all of its streams are away: unplugged, refused or at
    their end. Frames that are only overtaken show an engine that hangs, a stalled stream a driver that hangs.
    """
    earlier = {shot.name: _handled(shot) for shot in before}
    # A stream that was replaced counts from 0 again.
    if any(_handled(shot) != earlier.get(shot.name, 0) for shot in now):
        return True
    return all(_is_away(shot) for shot in now)


def _handled(shot: StreamSnapshot) -> int:
    return shot.counts.decided + shot.counts.unhealthy + sum(shot.left_out.values())


def _is_away(shot: StreamSnapshot) -> bool:
    if shot.state == "reconnecting":
        return HANGS not in (shot.reason or "")
    return shot.state in ("ended", "failed")


def _status(shots: Sequence[StreamSnapshot]) -> str:
    if not shots:
        return "serving"
    live = sum(shot.state == "live" for shot in shots)
    away = [f"{shot.name}: {shot.state} ({shot.reason})" for shot in shots if shot.state not in ("live", "ended")]
    decided = sum(shot.counts.decided for shot in shots)
    return "; ".join([f"{live} of {len(shots)} streams live, {decided} frames decided", *away])
