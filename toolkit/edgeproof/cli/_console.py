"""The two consoles. Control characters in names, labels and messages never reach a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from edgeproof_runtime.system.text import printable

__all__ = ["err", "out", "results_on_stderr"]

_FILE_COLUMNS = 160  # for pipes and log files, where rich would fold tables to 80 columns


class _SafeConsole(Console):
    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(printable(text), **how)  # before tables measure it

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Rich's own movements of the cursor are control segments; everything else is text.
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def _console(*, stderr: bool) -> Console:
    # Labels and file names may contain rich markup, such as "[/bold]".
    console = _SafeConsole(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_COLUMNS
    return console


out = _console(stderr=False)
err = _console(stderr=True)


@contextmanager
def results_on_stderr() -> Iterator[None]:
    """Print results on stderr, while standard output takes a file of the command."""
    out.stderr = True
    try:
        yield
    finally:
        out.stderr = False
