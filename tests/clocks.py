"""A wall clock that a test sets while a program runs: libfaketime, which leaves the monotonic clock alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["WallClock", "missing_faketime"]


def _library() -> str | None:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None


def missing_faketime() -> str | None:
    """Why no clock can be set here; None if one can."""
    if _library() is None or shutil.which("faketime") is None:
        return "no faketime: apt-get install faketime"
    return None


class WallClock:
    """The wall clock of child processes that are started with `environment`.

    Args:
        file: file that holds its offset.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, offset_s: int) -> None:
        """Set the clock this far from the true time, as an NTP step does."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}\n")
        fresh.rename(self._file)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        """Start a program under this clock."""
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)
