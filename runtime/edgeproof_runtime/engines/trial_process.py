"""The parent's side of a trial: start the child process, watch its time and memory, say how it ended."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from edgeproof_runtime.bundle.artifact import ModelArtifact
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.engines.trial_child import job_to_json

__all__ = ["Fault", "Limits", "NotStartedError", "Outcome", "TrialProcess"]

_START = 60.0  # seconds for an interpreter on a slow, busy machine
_POLL_S = 0.05
_MIB = 1 << 20
_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from edgeproof_runtime.engines.trial_child import main; main()"
# They come from outside and say nothing about the engine.
_FROM_OUTSIDE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one load may take.

    Attributes:
        seconds: time without a message from the child.
        mib: resident memory of the child, MiB.
    """

    seconds: float
    mib: float


@dataclass(frozen=True, slots=True)
class Fault:
    """What an engine does to the process that loads a model on it.

    Attributes:
        text: the fault as a clause, to be read after the engine's name.
        exceeded: limit that was exceeded; None for another fault.
        limit: value of that limit.
        lasting: whether another trial would find the same.
    """

    text: str
    exceeded: Literal["seconds", "mib"] | None = None
    limit: float = 0.0
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of one trial.

    Attributes:
        fault: None if the child lived.
        one_ran: whether a batch of one ran before the fault, as an engine for batches of one runs it.
    """

    fault: Fault | None
    one_ran: bool


class NotStartedError(Exception):
    """No child process tries engines here: it does not start, or cannot import what this process has."""


class TrialProcess:
    """A child process that tries engines, one after another, until one of them ends it.

    Raises:
        NotStartedError: it does not start.
    """

    def __init__(self) -> None:
        command = [_python(), "-W", "ignore", "-c", _BOOT, *(path for path in sys.path if isinstance(path, str))]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={key: value for key, value in os.environ.items() if key != "PYTHONFAULTHANDLER"},
                start_new_session=True,  # Ctrl-C is this process's, which then ends the child
            )
        except OSError as error:
            raise NotStartedError(str(error)) from error
        self.ended = False
        self._pending = b""
        try:
            ready = self._next(Limits(_START, float("inf")))
        except BaseException:
            self.close()
            raise
        if isinstance(ready, Fault):
            raise NotStartedError(self._last_words())

    def try_out(self, entry: CatalogEntry, artifact: ModelArtifact, loads: Sequence[int], limits: Limits) -> Outcome:
        """Load an artifact on an engine and run it, in the child.

        Args:
            entry: the engine.
            artifact: what it loads.
            loads: ``max_batch`` of each load.
            limits: limits of each load.

        Raises:
            NotStartedError: the child cannot import the engine.
        """
        one_ran = False
        try:
            job = json.dumps(job_to_json((entry, artifact, loads)))
            with suppress(OSError):  # it has ended, which the next message says
                _pipe(self._process.stdin).write(job.encode() + b"\n")
                _pipe(self._process.stdin).flush()
            while True:
                message = self._next(limits)
                if isinstance(message, Fault):
                    self.close()
                    return Outcome(message, one_ran)
                if "untried" in message:
                    raise NotStartedError(str(message["untried"]))
                if "done" in message:
                    return Outcome(None, one_ran)
                one_ran = one_ran or message.get("loaded") == 1 or ("ran" in message and loads[0] != 1)
        except BaseException:
            self.close()
            raise

    def _next(self, limits: Limits) -> dict[str, Any] | Fault:
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
                elif self._process.poll() is not None:  # a process that it left behind may hold the pipe open
                    return _fault_of(self._process.returncode)
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
            return float(psutil.Process(self._process.pid).memory_info().rss) / _MIB
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
