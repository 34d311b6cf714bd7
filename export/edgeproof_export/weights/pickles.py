"""Read what a pickle says without executing it, within bounds: its classes and functions, and how large it becomes.

PyTorch's restricted unpickler executes no code of a file. But it follows any number of opcodes, and Python overflows
its stack on the hash of deeply nested tuples.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof_export.archives import opened

__all__ = ["Pickle", "TooMuchError", "scan"]

_MOST_BYTES = 256 << 20  # of a pickle without its tensors
_MOST_OPCODES = 2_000_000
_MOST_NAMES = 500
_DEEPEST = 100
_LONG_INTEGERS, _LARGEST = 1000, 2**64  # integers that hash alike make dictionaries slow
_NAME = re.compile(r"[\w.<>\-+/ ]{1,256}")
_SLOW_CODECS = ("punycode", "idna")  # they take quadratic time
_FILLING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")


class TooMuchError(ValueError):
    """A pickle beyond its bounds."""


@dataclass(frozen=True, slots=True)
class Pickle:
    """What a pickle says about itself.

    Attributes:
        names: the classes and functions that it names, in order.
        protocol: its protocol.
        top: class of the object that it holds; None for a container or plain value.
    """

    names: Sequence[str]
    protocol: int
    top: str | None


def scan(path: Path) -> Pickle:
    """Read what the pickle of a checkpoint names; nothing is executed.

    Raises:
        TooMuchError: it has more, or deeper nested, objects than checkpoints have.
        ValueError: the file is damaged. Other types are possible.
    """
    if zipfile.is_zipfile(path):
        with path.open("rb") as file, opened(file, compressed=True) as archive:
            name = next(name for name in archive.sizes if name.endswith("/data.pkl"))
            return _scanned(archive.read(name, _MOST_BYTES))
    with path.open("rb") as file:  # before PyTorch 1.6: magic number, protocol, system, then the content
        for _ in range(3):
            _scanned(file)
        return _scanned(file)


def _scanned(stream: Any) -> Pickle:
    names: dict[str, None] = {}
    strings: list[str] = []
    slow, nesting, long_integers = False, _Nesting(), 0
    protocol, top, first = 0, None, True
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count > _MOST_OPCODES:
            raise TooMuchError(f"more than {_MOST_OPCODES} opcodes")
        nesting.follow(opcode, argument)
        if opcode.name == "PROTO":
            protocol = int(argument or 0)
            continue
        if opcode.name == "GLOBAL":
            name = _python3(*str(argument).split(" ", 1))
            _add(names, name)
            if first and name != "collections.OrderedDict":
                top = name
        elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
            _add(names, ".".join(strings[-2:]))
        elif isinstance(argument, str):
            strings = [*strings[-1:], argument]
            slow = slow or (len(argument) < 32 and re.sub(r"\W", "", argument).lower() in _SLOW_CODECS)
        elif isinstance(argument, int) and abs(argument) >= _LARGEST:
            long_integers += 1
        # A module is preceded by the persistent id of its class before PyTorch 1.6.
        first = first and opcode.name in ("MARK", "BINUNICODE", "BINPUT")
    if long_integers > _LONG_INTEGERS:
        raise TooMuchError(f"{long_integers} integers of more than 64 bits")
    if slow and "_codecs.encode" in names:
        raise TooMuchError("text in a codec that takes quadratic time")
    return Pickle(list(names), protocol, top)


def _add(names: dict[str, None], name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"a class with the name {name[:60]!r}")
    names.setdefault(name)
    if len(names) > _MOST_NAMES:
        raise TooMuchError(f"more than {_MOST_NAMES} classes")


class _Nesting:
    """How deep the objects on an unpickler's stack are nested."""

    def __init__(self) -> None:
        self._depths: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[object, int] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        """Do to the depths what an opcode does to the objects.

        Raises:
            TooMuchError: an object is nested too deep.
        """
        depths, name = self._depths, opcode.name
        if name == "MARK":
            self._marks.append(len(depths))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = depths[-1] if depths else 0
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            depths.append(self._memo.get(argument, 0))
        elif name == "DUP":
            depths.append(depths[-1] if depths else 0)
        else:
            before = opcode.stack_before
            taken = len(before)
            if pickletools.markobject in before:
                start = self._marks.pop() if self._marks else 0
                taken = len(depths) - start + before.index(pickletools.markobject)
            parts = depths[len(depths) - taken :] if taken else []
            del depths[len(depths) - len(parts) :]
            # A container that is filled stays what it is; anything else is made of what it takes.
            filled = parts[:1] if name in _FILLING else []
            depth = max([*filled, *(1 + part for part in parts[len(filled) :])], default=0)
            if depth > _DEEPEST:
                raise TooMuchError(f"objects nested deeper than {_DEEPEST}")
            depths.extend([depth] * len(opcode.stack_after))


def _python3(module: str, name: str) -> str:
    """Return a name in Python 3: torch.save's protocol uses those of Python 2."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"
