"""Find the line of the user's model at which tracing or running it failed."""

from __future__ import annotations

import linecache
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from edgeproof_export.foreign_errors import first_line

__all__ = ["described", "is_data_dependent", "root_cause", "user_line"]

_PACKAGES = Path(sysconfig.get_paths()["purelib"])
# Packages that trace or convert: their frames say nothing about the model.
_TRACERS = ("torch", "functorch", "onnx", "onnxscript", "onnx_ir", "sympy")
_LIBRARIES = tuple(Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib"))
_OWN = Path(__file__).parents[1]  # edgeproof_export
# `File "a.py", line 3, in forward` of a traceback in a message, `File: a.py:3 in forward` of a graph's comments, and
# `a.py(3): forward` of TorchScript.
_IN_TEXT = (
    re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<name>[^\s,]+))?'),
    re.compile(r"File: (?P<file>[^:\n]+):(?P<line>\d+)(?: in (?P<name>[^\s,]+))?"),
    re.compile(r"^\s*(?P<file>[^\s(:]+\.py)\((?P<line>\d+)\)(?:: (?P<name>\S+))?", re.MULTILINE),
)
_DATA_DEPENDENT = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "PendingUnbackedSymbolNotFound")
_DATA_DEPENDENT_TEXT = ("data-dependent", "Data-dependent", "data dependent")

Place = tuple[str, int, str]


def root_cause(error: BaseException) -> BaseException:
    """Return the original of an error that exporters wrap in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def described(error: BaseException) -> str:
    """Return type and first line of the original error, in at most 200 characters."""
    error = root_cause(error)
    text = first_line(error, "no reason given")
    return f"{type(error).__name__}: {text if len(text) <= 200 else text[:197] + '...'}"


def is_data_dependent(error: BaseException) -> bool:
    """Return whether tracing failed because Python code depends on the values of a tensor."""
    error = root_cause(error)
    text = str(error)
    return type(error).__name__ in _DATA_DEPENDENT or any(words in text for words in _DATA_DEPENDENT_TEXT)


def user_line(error: BaseException) -> str | None:
    """Return ``file.py:12, in forward: code`` of the innermost line outside PyTorch and the converters.

    A line of an installed library is followed by the line of the user's own code that led to it. None if no line of
    the model is known.
    """
    error = root_cause(error)
    places = [place for place in _places(error) if _tells(place[0])]
    if not places:
        return None
    text = _shown(places[-1])
    own = [place for place in places if not Path(place[0]).is_relative_to(_PACKAGES)]
    if own and own[-1] != places[-1]:
        text += f" (called from {_shown(own[-1])})"
    return text


def _places(error: BaseException) -> Iterator[Place]:
    """Yield file, line and function of the calls that led to an error, outermost first."""
    # What the message quotes lies within what the traceback shows: strict tracing does not run the model's frames.
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename, frame.lineno or 0, frame.name
    text = str(error)
    for pattern in _IN_TEXT:
        found = [(m["file"], int(m["line"]), m["name"] or "") for m in pattern.finditer(text)]
        yield from found


def _tells(file: str) -> bool:
    path = Path(file)
    if not path.is_file() or path.is_relative_to(_OWN) or path == Path(sys.argv[0]):
        return False
    if path.is_relative_to(_PACKAGES):
        return path.relative_to(_PACKAGES).parts[0] not in _TRACERS
    return not any(path.is_relative_to(library) for library in _LIBRARIES)


def _shown(place: Place) -> str:
    file, line, name = place
    path = Path(file)
    for base in (Path.cwd(), _PACKAGES):
        if path.is_relative_to(base):
            path = path.relative_to(base)
            break
    code = linecache.getline(file, line).strip()
    inside = f", in {name}" if name and not name.startswith("<") else ""
    return f"{path}:{line}{inside}" + (f": {code}" if code else "")
