"""A child process in which the program tries parsers and engines, forked from a warm process instead of started."""

from __future__ import annotations

import importlib
import os
from typing import Any

from edgeproof_runtime.system import forked

__all__ = ["Forked"]


class Forked(forked.Forked):
    """What `edgeproof_runtime.system.child` uses of `subprocess.Popen`, for its own command alone.

    Args:
        command: an interpreter, its options, and from the sixth on the module to run and the paths of imports.
        env: environment of the child.
    """

    def __init__(self, command: list[str], *, env: dict[str, str], **_pipes_and_session: Any) -> None:
        def main() -> None:
            os.environ.clear()
            os.environ.update(env)
            importlib.import_module(command[5]).main()

        super().__init__(main)
