"""The other end of `child.Child`: take jobs from standard input, and answer on standard output.

One job a line, any number of messages a line each.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

__all__ = ["serve"]

_PR_SET_PDEATHSIG = 1


def serve(handle: Callable[[dict[str, Any]], Iterable[dict[str, object]]]) -> None:
    """Answer one job after another until standard input ends.

    Args:
        handle: function from a job to its messages.
    """
    _restrain()
    # Native libraries print; none may write between the messages, or read the jobs.
    jobs, messages = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)

    def tell(**message: object) -> None:
        messages.write(json.dumps(message).encode() + b"\n")

    tell(ready=True)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for line in jobs:
        for message in handle(json.loads(line)):
            tell(**message)
    os._exit(0)  # what libraries do at their end is not the job's


def _restrain() -> None:
    """Write no core dump, end with the parent, and be what the kernel kills first where memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
