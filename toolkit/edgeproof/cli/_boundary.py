"""The one boundary for errors: what leaves the command line as a message and an exit code, and never as a traceback."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, cast

import typer

from edgeproof.cli._console import err
from edgeproof.cli._hints import usage_fix
from edgeproof_runtime.errors import EdgeproofError, InputError
from edgeproof_runtime.system.boundary import is_of_input, sentence
from edgeproof_runtime.system.redact import redact
from edgeproof_runtime.system.spec import SPEC

__all__ = ["TRACEBACK_VARIABLE", "guarded"]

TRACEBACK_VARIABLE = "EDGEPROOF_TRACEBACK"

_CODES = SPEC["exit_codes"]
_BAD_INPUT: int = _CODES["bad_input"]
_INTERNAL: int = _CODES["internal"]
# Typer shows its errors of usage by no public name.
_USAGE_ERROR = cast(
    type[Exception], next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
)


def guarded(work: Callable[[], Any]) -> int:
    """Do the work of a command and return the exit code of the process.

    An error that edgeproof raises deliberately has its own code. An error of the operating system, of memory or of a
    library that reads a file is bad input. Any other is a fault of edgeproof. A reader that closes standard output
    ends the command quietly, with the code of other tools.

    Args:
        work: the command; returns None or an exit code.
    """
    with _standard_streams() as lost, _signals():
        code = _code_of(work)
        with suppress(_OutputError):
            if sys.stdout is not None:
                sys.stdout.flush()
        if not lost:
            return code
        if lost[0].errno == errno.EPIPE:
            return 128 + signal.SIGPIPE
        _say(f"standard output: cannot be written\n  got:      {lost[0].strerror}")
        return code or _BAD_INPUT


def _code_of(work: Callable[[], Any]) -> int:
    try:
        return int(work() or 0)
    except EdgeproofError as error:
        _say(str(error))  # redacted already; what it expects may look like an address
        if is_of_input(error.__cause__):
            _trace(error)
        return error.exit_code
    except _OutputError:
        return 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except _USAGE_ERROR as error:
        _say_usage(error)
        return _BAD_INPUT
    except typer.Abort:
        return 128 + signal.SIGINT
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else _INTERNAL
    except Exception as error:
        if is_of_input(error):
            what, got = sentence(error)
            _say(str(InputError(what, got=got)))
            _trace(error)
            return _BAD_INPUT
        _say(
            f"internal error: {type(error).__name__}: {redact(str(error))}\n"
            f"  fix:      please report it, with what {TRACEBACK_VARIABLE}=1 adds"
        )
        _trace(error)
        return _INTERNAL


def _say(text: str) -> None:
    with suppress(Exception), err.errors():  # a message that cannot be shown changes no exit code
        err.print("error: ", style="bold red", end="")
        err.print(text)


def _say_usage(error: Any) -> None:
    message = error.format_message()
    if not message.strip():  # no arguments: the help was printed
        return
    with suppress(Exception):
        context = getattr(error, "ctx", None)
        if context is not None:
            err.print(context.get_usage())
            err.print(f"Try '{context.command_path} {context.help_option_names[0]}' for help.")
    fix = None
    with suppress(Exception):  # the message alone is right too
        fix = usage_fix(error)
    _say(redact(message + (f"\n  fix:      {fix}" if fix else "")))


def _trace(error: BaseException) -> None:
    if os.environ.get(TRACEBACK_VARIABLE):
        with suppress(Exception), err.errors():
            err.print(redact("".join(traceback.format_exception(error))))


class _OutputError(Exception):
    """Standard output cannot be written. Not an OSError, because those are handled on the way."""


class _Output(io.RawIOBase):
    """Standard output that remembers the first error, then swallows what is written."""

    def __init__(self, descriptor: int, lost: list[OSError]) -> None:
        self._descriptor = descriptor
        self._lost = lost

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: Any) -> int:
        if self._lost:
            return len(content)
        try:
            return os.write(self._descriptor, content)
        except OSError as error:
            self._lost.append(error)
            raise _OutputError from error


class _Messages(_Output):
    """Standard error, whose errors do not matter: without a terminal, a report is written all the same."""

    def write(self, content: Any) -> int:
        with suppress(_OutputError):
            return super().write(content)
        return len(content)


@contextmanager
def _standard_streams() -> Iterator[list[OSError]]:
    """Make standard streams that can be printed on in every locale, and the errors of standard output."""
    lost: list[OSError] = []
    _open_closed()
    before = sys.stdout, sys.stderr
    real = sys.stdout is sys.__stdout__  # not a test's
    if real:
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Output(1, lost)), encoding, errors="backslashreplace", line_buffering=os.isatty(1)
        )
        if sys.stderr is None or sys.stderr is sys.__stderr__:
            encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
            sys.stderr = io.TextIOWrapper(
                io.BufferedWriter(_Messages(2, [])), encoding, errors="backslashreplace", line_buffering=True
            )
    try:
        yield lost
    finally:
        if real:
            with suppress(_OutputError):
                sys.stdout.flush()
            sys.stdout, sys.stderr = before


def _open_closed() -> None:
    # A standard stream that is closed would give its number to the next file that is opened, and what libraries
    # print would then be written into that file.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


@contextmanager
def _signals() -> Iterator[None]:
    def end(number: int, _where: FrameType | None) -> None:
        # As Ctrl-C does: whatever is half-written is cleaned up on the way out.
        sys.exit(128 + number)

    def fail(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            _say(f"internal error in thread {getattr(arguments.thread, 'name', '')}: {arguments.exc_value!r}")
            _trace(arguments.exc_value)

    signal.signal(signal.SIGTERM, end)
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:  # as by nohup
        signal.signal(hangup, end)
    before, threading.excepthook = threading.excepthook, fail
    try:
        yield
    finally:
        threading.excepthook = before
