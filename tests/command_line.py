"""The type of the `cli` fixture."""

from collections.abc import Callable

Cli = Callable[..., tuple[int, str, str]]  # (exit code, stdout, stderr) of `edgeproof ARGUMENTS`
