"""Waits of tests, which end with an error and never hang."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["free_port", "until", "until_listening"]

T = TypeVar("T")


def until(wanted: Callable[[], T], seconds: float = 30.0, *, process: subprocess.Popen[Any] | None = None) -> T:
    """Return what `wanted` returns as soon as it is true.

    Args:
        wanted: asked again and again.
        seconds: it fails after these.
        process: it fails when this one ends.
    """
    deadline_s = time.monotonic() + seconds
    while not (found := wanted()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s, f"not within {seconds:g} s"
        time.sleep(0.01)
    return found


def until_listening(port: int) -> None:
    """Wait for a server on a TCP port without a connection to it: it might serve a single one."""
    ending = f":{port:04X}"

    def listening() -> bool:
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        return any(local.endswith(ending) and state == "0A" for _, local, _, state, *_ in rows)

    until(listening, 20)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
