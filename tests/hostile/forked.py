"""A child process in which the program tries parsers and engines, forked from a warm process instead of started."""

from __future__ import annotations

import gc
import importlib
import os
import traceback
import warnings
from typing import IO, Any

__all__ = ["Forked"]


class Forked:
    """What `edgeproof_runtime.system.child` uses of `subprocess.Popen`, for its own command alone.

    Args:
        command: an interpreter, its options, and from the sixth on the module to run and the paths of imports.
        env: environment of the child.
    """

    def __init__(self, command: list[str], *, env: dict[str, str], **_pipes_and_session: Any) -> None:
        self._module = command[5]
        self.returncode: int | None = None
        (job, self_in), (self_out, said), (self_err, cried) = os.pipe(), os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._serve(env, (job, said, cried))
        for theirs in (job, said, cried):
            os.close(theirs)
        self.stdin: IO[bytes] = os.fdopen(self_in, "wb")
        self.stdout: IO[bytes] = os.fdopen(self_out, "rb")
        self.stderr: IO[bytes] = os.fdopen(self_err, "rb")

    def _serve(self, env: dict[str, str], ends: tuple[int, int, int]) -> None:
        code = 1
        try:
            os.setsid()
            for number, end in enumerate(ends):
                os.dup2(end, number)
            os.closerange(3, 1 << 16)
            os.environ.clear()
            os.environ.update(env)
            warnings.simplefilter("ignore")
            gc.freeze()
            importlib.import_module(self._module).main()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        code = self._ended(0)
        assert code is not None
        return code

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid != 0:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode
