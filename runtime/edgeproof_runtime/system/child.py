"""A child process that runs foreign native code: start it, watch its time and memory, say how it ended.

The code may crash, hang or exhaust the memory. `child_side.serve` is the other end.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from edgeproof_runtime.system.forked import Forked

__all__ = ["LIMITS", "Child", "Fault", "Limits", "NotStartedError", "limit_of"]

LIMITS = {"seconds": "EDGEPROOF_TRIAL_SECONDS", "mib": "EDGEPROOF_TRIAL_MIB"}
"""Environment variables that replace the limits of a child."""

_START = 60.0  # seconds for an interpreter on a slow, busy machine
_POLL_S = 0.05
_MIB = 1 << 20
_BOOT = "import sys, importlib; sys.path[:] = sys.argv[2:]; importlib.import_module(sys.argv[1]).main()"
# They come from outside and say nothing about the code.
_FROM_OUTSIDE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one step of a job may take.

    Attributes:
        seconds: time without a message from the child.
        mib: resident memory of the child, MiB; of a fork, beyond what it had from its parent.
    """

    seconds: float
    mib: float


@dataclass(frozen=True, slots=True)
class Fault:
    """What a job does to its process.

    Attributes:
        text: the fault as a clause, to be read after the name of the code.
        exceeded: limit that was exceeded; None for another fault.
        limit: value of that limit.
        lasting: whether another try would find the same.
    """

    text: str
    exceeded: Literal["seconds", "mib"] | None = None
    limit: float = 0.0
    lasting: bool = True


class NotStartedError(Exception):
    """No child process runs here: it does not start, or cannot import what this process has."""


class Child:
    """A child process that does one job after another, until one of them ends it.

    Args:
        module: module whose ``main`` it calls; that calls `child_side.serve`.
        forked: fork this process instead of starting an interpreter, where the system can (Linux). What it needs is
            imported already. In a process with other threads it may wait for a lock for ever, which looks like a hang.

    Raises:
        NotStartedError: it does not start.
    """

    def __init__(self, module: str, *, forked: bool = False) -> None:
        self._process: subprocess.Popen[bytes] | Forked
        self._inherited_mib = 0.0
        forked = forked and sys.platform == "linux"
        try:
            self._process = _forked(module) if forked else _started(module)
        except OSError as error:
            raise NotStartedError(str(error)) from error
        self.ended = False
        self._pending = b""
        try:
            ready = self.next(Limits(_START, float("inf")))
        except BaseException:
            self.close()
            raise
        if isinstance(ready, Fault):
            raise NotStartedError(self._last_words())
        if forked:
            self._inherited_mib = self._used_mib()

    def send(self, job: Mapping[str, object]) -> None:
        """Give the child a job of plain JSON values."""
        with suppress(OSError):  # it has ended, which the next message says
            _pipe(self._process.stdin).write(json.dumps(job).encode() + b"\n")
            _pipe(self._process.stdin).flush()

    def next(self, limits: Limits) -> dict[str, Any] | Fault:
        """Return the next message, or the fault if the child ends or exceeds a limit."""
        until = time.monotonic() + limits.seconds
        output = _pipe(self._process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if selector.select(_POLL_S):
                    piece = os.read(output.fileno(), 1 << 16)
                    if not piece:
                        return _fault_of(self._process.wait())
                    self._pending += piece
                elif (code := self._process.poll()) is not None:  # what it left behind may hold the pipe open
                    return _fault_of(code)
                if time.monotonic() > until:
                    text = f"hangs on this model (no result within {limits.seconds:.0f} s)"
                    return Fault(text, "seconds", limits.seconds)
                if self._used_mib() > limits.mib:
                    text = f"exhausts the memory on this model (more than {limits.mib:.0f} MiB)"
                    return Fault(text, "mib", limits.mib)
        line, _, self._pending = self._pending.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _used_mib(self) -> float:
        try:
            return float(psutil.Process(self._process.pid).memory_info().rss) / _MIB - self._inherited_mib
        except psutil.Error:
            return 0.0

    def _last_words(self) -> str:
        self._kill()
        lines = _pipe(self._process.stderr).read().decode(errors="replace").splitlines()
        self.close()
        return next((line.strip() for line in reversed(lines) if line.strip()), f"{_python()} does not start")

    def _kill(self) -> None:
        self.ended = True
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """End the child and whatever it started. Safe to call twice."""
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError):  # a job that was not read
                _pipe(pipe).close()


def _started(module: str) -> subprocess.Popen[bytes]:
    paths = [path for path in sys.path if isinstance(path, str)]
    return subprocess.Popen(
        [_python(), "-W", "ignore", "-c", _BOOT, module, *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "PYTHONFAULTHANDLER"},
        start_new_session=True,  # Ctrl-C is this process's, which then ends the child
    )


def _forked(module: str) -> Forked:
    main = importlib.import_module(module).main  # here: its lock may be held by another thread
    return Forked(main)


def _fault_of(code: int) -> Fault:
    if code >= 0:
        return Fault(f"ends the process on this model (exit code {code})")
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    if -code in _FROM_OUTSIDE:
        return Fault(f"could not be tried on this model (the trial was stopped by {name})", lasting=False)
    if -code == signal.SIGKILL:  # not by `close`: by the kernel
        return Fault("was killed on this model (SIGKILL), probably for want of memory", lasting=False)
    return Fault(f"crashes on this model ({name})")


def _pipe(pipe: Any) -> Any:
    if pipe is None:
        raise TypeError("a pipe was asked for")
    return pipe


def _python() -> str:
    """Return the path of this Python's interpreter.

    Raises:
        NotStartedError: this program has none: a frozen application.
    """
    names = f"python{sys.version_info.major}.{sys.version_info.minor}", f"python{sys.version_info.major}"
    beside = [str(Path(sys.exec_prefix) / "bin" / name) for name in names]  # of an application that embeds Python
    for path in () if getattr(sys, "frozen", False) else (sys.executable, *beside):
        if path and re.match(r"python|pypy", Path(path).name) and Path(path).exists():
            return path
    raise NotStartedError("this program has no Python interpreter")


def limit_of(name: str, otherwise: float) -> float:
    """Return a limit as the environment says (`LIMITS`), or the other value."""
    try:
        value = float(os.environ.get(LIMITS[name], ""))
    except ValueError:
        return otherwise
    return value if value > 0 else otherwise
