"""Files that change while they are read, and what a program opens."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def exchanging(path: Path, other: bytes) -> Iterator[None]:
    """Exchange a file's content for another of the same size all the time: by renaming, and by writing into it."""
    right = path.read_bytes()
    assert len(right) == len(other)
    stop = threading.Event()
    beside = path.parent.parent / "other"

    def exchange() -> None:
        for number in itertools.cycle(range(4)):
            if stop.is_set():
                return
            content = other if number % 2 else right
            if number < 2:
                beside.write_bytes(content)
                beside.replace(path)
            else:
                with path.open("r+b") as file:
                    file.write(content)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def opened(command: Sequence[object], log: Path) -> list[tuple[str, str]]:
    """Run a program under strace and return what it and its children open: process id and the call's arguments."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    strace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=open,openat,openat2,creat", "-o", str(log)]
    done = subprocess.run([*strace, *map(str, command)], capture_output=True, text=True, check=False)
    if "PTRACE" in done.stderr:
        pytest.skip("strace is not allowed here")
    assert done.returncode == 0, done.stderr
    calls = [line.partition(" ") for line in log.read_text().splitlines()]
    return [(process, call) for process, _, call in calls if call.lstrip().startswith(("open", "creat"))]
