"""What one hostile input is, and what is required of the program that is given it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ANY", "GATES", "REFUSED", "Probe", "Result"]

REFUSED = frozenset({2, 3})
ANY = frozenset({0, 2, 3})
GATES = frozenset({0, 1, 2, 3})


def nothing(_folder: Path) -> None:
    """Plant nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A hostile input and how it is given to a surface.

    The program runs in a folder of its own: ``in`` holds the inputs, ``out`` takes the outputs. ``home`` and ``tmp``
    are its HOME and its TMPDIR.

    Attributes:
        kind: row of the table.
        surface: column: api, command, process, edgeproof-run or serve.
        name: what was done, unique within kind and surface.
        plant: writes the inputs below the folder that it is given.
        argv: arguments of the command, or ``module:function`` and its JSON arguments.
        codes: exit codes that are right.
        secret: text that must appear in nothing that is written or printed.
        says: text that stdout or stderr must contain.
        never: texts that neither stdout nor stderr may contain.
        writes: an accepted input may be changed, as an evaluated bundle is.
        keeps: outputs, and what was added to a bundle, may be left although the command was refused.
        env: environment variables that differ; None removes one.
        uid: user that the program runs as; needs root.
        stdout: ``file``, ``closed``, ``full`` or ``pipe``, which is closed after the first line.
        fed: bytes on standard input.
        place: what the process makes of its surroundings first (`hostile.places`).
        silent: a refusal may stay without a message: there is nowhere to write it.
    """

    kind: str
    surface: str
    name: str
    argv: tuple[Any, ...]
    plant: Callable[[Path], object] = nothing
    codes: frozenset[int] = ANY
    secret: str | None = None
    says: str | None = None
    never: tuple[str, ...] = ()
    writes: bool = False
    keeps: bool = False
    env: dict[str, str | None] = field(default_factory=dict)
    uid: int | None = None
    stdout: str = "file"
    fed: bytes = b""
    place: str | None = None
    silent: bool = False

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.surface}/{self.name}"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a probe.

    Attributes:
        code: exit code; negative for a signal; None if it was stopped.
        stopped: why the supervisor stopped it.
        cpu_s: CPU time of it and its children.
        orphans: processes that it left behind.
        out: standard output.
        err: standard error.
    """

    code: int | None
    stopped: str | None
    cpu_s: float
    orphans: int
    out: bytes
    err: bytes
