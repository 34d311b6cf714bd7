"""JSON documents from outside: one strict dialect, the same in Python and C++ (``edgeproof/json.h`` defines it)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeproof_runtime import _native
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.regular import read_regular
from edgeproof_runtime.system.spec import SPEC

__all__ = ["MAX_BYTES", "parse_document", "read_document", "read_text"]

MAX_BYTES: int = SPEC["bounds"]["json_bytes"]
_TEXT_BYTES = 2 << 30  # lists of millions of images


def parse_document(
    content: bytes,
    name: object,
    *,
    error: type[InputError] = InputError,
    expected: str | None = None,
    fix: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Parse one JSON document.

    UTF-8 without a byte order mark; no duplicate keys, lone surrogates, ``NaN`` or ``Infinity``; integers of 64 bits,
    numbers that a double holds; bounds on depth and size. Takes time in proportion to the size.

    Args:
        content: the document.
        name: its name in messages.
        error: class of the error that is raised.
        expected, fix: of the error; None for the parser's expectation, and no fix.
        max_bytes: largest size.

    Raises:
        InputError: the document is not of this dialect. The class is ``error``.
    """
    try:
        _native.check_json(content, max_bytes)
    except InputError as found:
        got = found.got if found.what == "JSON: invalid" else f"{found.got}, {found.expected} allowed"
        wanted = f"; the parser expected {found.expected}" if found.what == "JSON: invalid" else ""
        raise error(f"{name}: invalid JSON", got=f"{got}{wanted}", expected=expected, fix=fix) from None
    return json.loads(content.decode("utf-8"))


def read_document(
    path: Path,
    *,
    error: type[InputError] = InputError,
    expected: str | None = None,
    fix: str | None = None,
) -> Any:
    """Read a JSON file; see `parse_document`.

    Raises:
        InputError: the file cannot be read, is not a regular file, or is not of the dialect. The class is ``error``.
    """
    try:
        content = read_regular(path, MAX_BYTES)
    except OSError as found:
        raise error(f"{path}: cannot be read", got=found, expected=expected, fix=fix) from found
    return parse_document(content, path, error=error, expected=expected, fix=fix)


def read_text(
    path: Path, *, error: type[InputError] = InputError, expected: str | None = None, max_bytes: int = _TEXT_BYTES
) -> str:
    """Read a text file in UTF-8, with or without a byte order mark; line ends become ``\\n``.

    Raises:
        InputError: the file cannot be read, is not a regular file, is too large, or is not UTF-8. The class is
            ``error``.
    """
    try:
        text = read_regular(path, max_bytes).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as found:
        fix = "save the file as UTF-8" if isinstance(found, UnicodeDecodeError) else None
        raise error(f"{path}: cannot be read", got=found, expected=expected, fix=fix) from found
    return text.replace("\r\n", "\n").replace("\r", "\n")
