"""Errors of the system, of memory and of libraries on what a person gave: one list, and one sentence for each.

The library raises them as `InputError` (`bounded`), the command line shows them and ends with exit code 2.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from edgeproof_runtime.errors import InputError

__all__ = ["bounded", "is_of_input", "sentence"]

_KINDS = (OSError, MemoryError, RecursionError, UnicodeError, EOFError, zipfile.BadZipFile, zlib.error)
# Only where the module was imported: OpenCV loads slowly, and a Python may be built without lzma.
_KINDS_OF_MODULES = {"cv2": "error", "lzma": "LZMAError"}
_NO_THREAD = "can't start new thread"  # a plain RuntimeError of Python
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def is_of_input(error: BaseException | None) -> bool:
    """Return whether an error says that a file or a machine is not as needed. A fault of edgeproof is none of these."""
    imported = [(sys.modules.get(module), name) for module, name in _KINDS_OF_MODULES.items()]
    kinds = tuple(getattr(module, name) for module, name in imported if hasattr(module, name))
    if isinstance(error, (*_KINDS, *kinds)):
        return True
    return isinstance(error, RuntimeError) and str(error) == _NO_THREAD


def sentence(error: BaseException) -> tuple[str, str | None]:
    """Return an error of `is_of_input` in a clause, and what was found."""
    if isinstance(error, OSError) and error.strerror:
        return (f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror), None
    if isinstance(error, MemoryError):
        return "out of memory", str(error) or None
    if isinstance(error, RecursionError):
        return "an input is nested too deeply", None
    if str(error) == _NO_THREAD:
        return "no more threads can be started", "the limit of processes (ulimit -u), or too little memory"
    return "an input cannot be read", f"{type(error).__name__}: {error}"


def bounded(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let a public function raise `InputError` where what it calls raises an error of `is_of_input`."""

    @wraps(function)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if not is_of_input(error):
                raise
            what, got = sentence(error)
            raise InputError(what, got=got) from error

    return call
