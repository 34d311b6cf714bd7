"""A fork of this process with pipes, as `subprocess.Popen` has: it starts in milliseconds, with all imports done."""

from __future__ import annotations

import fcntl
import gc
import os
import traceback
import warnings
from collections.abc import Callable
from typing import IO

__all__ = ["Forked"]


class Forked:
    """A fork of this process that does one thing and ends.

    Only the thread that forks lives on in it: a lock that another thread holds is never released there.

    Args:
        main: what the fork does; its standard streams are the pipes.

    Raises:
        OSError: no process or pipe can be made.

    Attributes:
        pid: number of the process, which leads a session and a group.
        returncode: exit code, negative for a signal; None until `poll` or `wait` has seen the end.
        stdin: pipe to its standard input.
        stdout: pipe from its standard output.
        stderr: pipe from its standard error.
    """

    def __init__(self, main: Callable[[], object]) -> None:
        self.returncode: int | None = None
        pipes = list[int]()
        try:
            for _ in range(3):
                pipes += os.pipe()
            with warnings.catch_warnings():  # of forks beside threads, for Python 3.12: idle native ones hold no lock
                warnings.simplefilter("ignore", DeprecationWarning)
                self.pid: int = os.fork()
        except OSError:
            for descriptor in pipes:
                os.close(descriptor)
            raise
        job, ours_in, ours_out, said, ours_err, cried = pipes
        if self.pid == 0:
            _end_with(main, (job, said, cried))
        for theirs in (job, said, cried):
            os.close(theirs)
        self.stdin: IO[bytes] = os.fdopen(ours_in, "wb")
        self.stdout: IO[bytes] = os.fdopen(ours_out, "rb")
        self.stderr: IO[bytes] = os.fdopen(ours_err, "rb")

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def _end_with(main: Callable[[], object], ends: tuple[int, int, int]) -> None:
    code = 1
    try:
        os.setsid()  # Ctrl-C is the parent's
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 3) for end in ends]  # an end may have the number of a closed stream
        for number, end in enumerate(high):
            os.dup2(end, number)
        os.closerange(3, 1 << 20)
        warnings.simplefilter("ignore")
        gc.freeze()  # a collection would copy the pages of everything that is imported
        main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
