"""Signals of a live run: Ctrl-C, SIGTERM and SIGHUP end it; under a service manager SIGHUP reloads its streams."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType, TracebackType
from typing import Protocol

from edgeproof_runtime.errors import EdgeproofError
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.notify import SystemdSocket

__all__ = ["Reloading", "stop_on_interrupt"]

_JOIN_TIMEOUT_S = 10.0


class _Stoppable(Protocol):
    def stop(self) -> None: ...


class Reloading:
    """Context manager that reloads in a thread of its own, and tells systemd when it begins and is done.

    Args:
        reload: reloads and returns what changed, in one line; an `EdgeproofError` says why nothing did.
        say: called with that line, or with that error.
    """

    def __init__(self, reload: Callable[[], str], say: Callable[[str | EdgeproofError], None]) -> None:
        self._reload, self._say = reload, say
        self._systemd = SystemdSocket()
        self._requests: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="edgeproof-reload", daemon=True)

    @property
    def wanted(self) -> bool:
        """Return whether SIGHUP is to reload: only where a service manager listens (``NOTIFY_SOCKET``)."""
        return self._systemd.exists

    def request(self) -> None:
        """Reload soon. Safe from a signal handler, which may interrupt this method."""
        self._requests.put(True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.put(False)
        self._thread.join(_JOIN_TIMEOUT_S)

    def _work(self) -> None:
        while self._requests.get():
            self._systemd.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
            status = "not reloaded"
            try:
                status = self._reload()
                self._say(status)
            except EdgeproofError as error:
                self._say(error)
            finally:
                self._systemd.send(READY=1, STATUS=status)


@contextmanager
def stop_on_interrupt(work: _Stoppable, reloading: Reloading | None = None) -> Iterator[None]:
    """Stop a pipeline or server cleanly on the first Ctrl-C, SIGTERM or SIGHUP; a second Ctrl-C interrupts.

    SIGHUP stays ignored where it is, as by nohup. Where `Reloading.wanted`, it reloads instead of ending.

    Main thread only.
    """
    hangup = getattr(signal, "SIGHUP", None)

    def stop(number: int, _where: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if number == hangup:
            # A shell repeats it, and the report is not written yet.
            previous[signal.Signals(number)] = signal.SIG_IGN
            signal.signal(number, signal.SIG_IGN)
        work.stop()

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
        signal.SIGINT: stop,
        signal.SIGTERM: stop,
    }
    wanted = reloading if reloading is not None and reloading.wanted else None
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        handlers[hangup] = stop if wanted is None else lambda _number, _where: wanted.request()
    with wanted or nullcontext():
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            if wanted is not None and hangup in previous:
                # A reload that comes now must not end the process: the report is not written yet.
                previous[hangup] = signal.SIG_IGN
            for number, handler in previous.items():
                signal.signal(number, handler)
