"""A server for benchmarks: `edgeproof serve` in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["served"]


@contextmanager
def served(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a server without a token, wait for its address, and end it with the context.

    Yields:
        The process, whose stderr goes on after the address, and the port.
    """
    environment = {name: value for name, value in os.environ.items() if name != "EDGEPROOF_TOKEN"}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stderr is not None
        said, found = "", None
        for line in server.stderr:  # notes, such as that of a busy host, come first
            said += line
            if (found := re.search(r"http://127\.0\.0\.1:(\d+)", line)) is not None:
                break
        if found is None:
            sys.exit(said)
        print(said.strip())
        yield server, int(found.group(1))
    finally:
        server.terminate()
        server.wait(60)
