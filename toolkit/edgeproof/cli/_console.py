"""The two consoles. Control characters in names, labels and messages never reach a terminal."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from edgeproof_runtime.system.redact import redact
from edgeproof_runtime.system.text import printable

__all__ = ["err", "out", "results_on_stderr", "set_output"]

_ERROR, _WARNING, _INFO = 3, 4, 6  # syslog's priorities
_FILE_COLUMNS = 160  # for pipes and log files, where rich would fold tables to 80 columns


_Console = TypeVar("_Console", bound=Console)


class _SafeConsole(Console):
    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(printable(text), **how)  # before tables measure it

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Rich's own movements of the cursor are control segments; everything else is text.
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


class _Messages(_SafeConsole):
    """Standard error. Where that is systemd's journal, each line begins with its priority (sd-daemon(3))."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._priority: int | None = None
        self._within_line = False
        self.results_only = False

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Print lines as errors."""
        self._priority = _ERROR
        try:
            yield
        finally:
            self._priority = None

    def print(self, *objects: Any, style: Any = None, **how: Any) -> None:
        if self.results_only and self._priority is None and style != "yellow":
            return
        if not _is_journal(2):
            super().print(*objects, style=style, **how)
            return
        priority = self._priority or (_WARNING if style == "yellow" else _INFO)
        with self.capture() as captured:
            super().print(*objects, style=style, **how)
        for line in captured.get().splitlines(keepends=True):
            self.file.write(line if self._within_line else f"<{priority}>{line}")
            self._within_line = not line.endswith("\n")
        self.file.flush()


def _is_journal(descriptor: int) -> bool:
    """Return whether a standard stream is connected to the journal (systemd.exec(5), ``JOURNAL_STREAM``)."""
    named = os.environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        facts = os.fstat(descriptor)
    except OSError:
        return False
    return named == f"{facts.st_dev}:{facts.st_ino}"


def _console(kind: type[_Console], *, stderr: bool) -> _Console:
    # Labels and file names may contain rich markup, such as "[/bold]".
    console = kind(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_COLUMNS
    return console


out = _console(_SafeConsole, stderr=False)
err = _console(_Messages, stderr=True)


class _Log(logging.Handler):
    """Prints the records of edgeproof's loggers on standard error, after the seconds since the program began."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # a line of a log ends no command
            line = " ".join(redact(record.getMessage()).split())
            style = "yellow" if record.levelno >= logging.WARNING else "dim"
            err.print(f"{record.relativeCreated / 1e3:8.3f} s  {line}", style=style)


_LOG = _Log()


def set_output(*, quiet: bool, color: bool, verbose: bool = False) -> None:
    """Leave out notes and progress, or colours, or print the log, from now on.

    Args:
        quiet: print results, warnings and errors only.
        color: False for none, also on a terminal.
        verbose: print what is done, and how long it took.
    """
    log = logging.getLogger("edgeproof")
    log.removeHandler(_LOG)
    log.setLevel(logging.INFO if verbose else logging.NOTSET)
    if verbose:
        log.addHandler(_LOG)
    err.results_only = quiet
    for console in (out, err):
        console.no_color = not color or "NO_COLOR" in os.environ


@contextmanager
def results_on_stderr() -> Iterator[None]:
    """Print results on stderr, while standard output takes a file of the command."""
    out.stderr = True
    try:
        yield
    finally:
        out.stderr = False
