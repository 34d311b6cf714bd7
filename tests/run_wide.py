"""What all processes of a test run share: one folder, artifacts made once in it, and a lock on the machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ["FOLDER_VARIABLE", "machine", "once"]

FOLDER_VARIABLE = "EDGEPROOF_TEST_RUN"
"""Names the run's folder; set by the process that starts the run, inherited by its workers."""


def once(name: str, make: Callable[[Path], object]) -> Path:
    """Return the path of an artifact of this run; the first process that asks makes it, the others wait.

    Args:
        name: file name of the artifact.
        make: writes it at the path that it is given, which has this name. The artifact is moved afterwards.
    """
    folder = Path(os.environ[FOLDER_VARIABLE])
    path = folder / name
    with _locked(folder / f"{name}.lock", fcntl.LOCK_EX):
        if not path.exists():
            unfinished = (
                folder / "unfinished" / str(os.getpid())
            )  # of this process: a failed try must not be in the way
            unfinished.mkdir(parents=True, exist_ok=True)
            make(unfinished / name)
            (unfinished / name).rename(path)
    return path


@contextmanager
def machine(*, alone: bool) -> Iterator[None]:
    """Share the machine with the tests of the other workers, or with ``alone`` have it to oneself.

    The gate makes it fair: who waits to be alone lets no other test begin.
    """
    folder = Path(os.environ[FOLDER_VARIABLE])
    with ExitStack() as held:
        with _locked(folder / "gate.lock", fcntl.LOCK_EX):
            held.enter_context(_locked(folder / "machine.lock", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield
