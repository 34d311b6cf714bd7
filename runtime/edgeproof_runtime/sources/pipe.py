"""Read a video from a pipe: standard input, or a FIFO."""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path

__all__ = ["PipeReader", "PipeTimeoutError"]


class PipeTimeoutError(OSError):
    """The writer of a pipe sent nothing in time."""


class PipeReader:
    """Binary file over a pipe whose waits have a limit and end when it is closed, from any thread.

    Args:
        target: the FIFO's path; None means standard input.
        name: name in messages.
    """

    def __init__(self, target: Path | None, name: str) -> None:
        self.name = name
        # Without O_NONBLOCK, opening a FIFO waits for a writer for ever.
        self._descriptor = os.dup(0) if target is None else os.open(target, os.O_RDONLY | os.O_NONBLOCK)
        self._woken, self._wake = os.pipe()
        self._waiting = select.poll()
        self._waiting.register(self._descriptor, select.POLLIN)
        self._waiting.register(self._woken, select.POLLIN)
        self._deadline_s: float | None = None
        self._closing = threading.Lock()
        self._closed = False

    def limit(self, seconds: float | None) -> None:
        """Set the time until which data must arrive; None means no limit."""
        self._deadline_s = None if seconds is None else time.monotonic() + seconds

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes as they arrive; none at the end.

        Raises:
            PipeTimeoutError: nothing arrived in time.
        """
        while True:
            left_s = None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())
            ready = self._waiting.poll(None if left_s is None else 1e3 * left_s)
            if not ready:
                raise PipeTimeoutError(f"{self.name}: nothing arrived in time")
            if self._closed:
                return b""
            try:
                return os.read(self._descriptor, size)
            except BlockingIOError:
                continue

    def stop(self) -> None:
        """End a waiting read, from any thread; nothing after `close`."""
        with self._closing:
            self._closed = True
            if self._descriptor >= 0:
                os.write(self._wake, b"x")

    def close(self) -> None:
        """Close the pipe; no read may be waiting."""
        with self._closing:
            if self._descriptor >= 0:
                for descriptor in (self._descriptor, self._woken, self._wake):
                    os.close(descriptor)
                self._descriptor = -1
                self._closed = True
