"""Text that is safe where it is shown: terminals, JSON files and spreadsheets."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["csv_cell", "csv_value", "encodable", "json_line", "json_text", "printable", "some", "whole_number"]

# Characters that act on what shows them: C0 (but tab and newline), DEL, C1, and marks that reorder or break lines.
_MARKS = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_ON_TERMINALS = re.compile(f"[\x00-\x08\x0b-\x1f{_MARKS}]")
_IN_JSON = re.compile(f"[{_MARKS}\ud800-\udfff]")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


_WHOLE = re.compile(r"[0-9]{1,18}")


def whole_number(text: str) -> int | None:
    """Return a number of at most 18 ASCII digits, None for other text.

    ``isdigit`` and ``isdecimal`` let pass what ``int`` refuses: superscripts, and more than 4,300 digits.
    """
    return int(text) if _WHOLE.fullmatch(text) else None


def printable(text: str) -> str:
    r"""Escape the control characters of a text for a terminal: ESC becomes ``\x1b``. Tabs and newlines stay."""
    return _ON_TERMINALS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def encodable(text: str) -> str:
    r"""Escape lone surrogates, which stand for bytes of a file name and which UTF-8 cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def some(names: Sequence[str], shown: int = 3) -> str:
    """Return the first names of a list, for a message."""
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def json_text(document: Any, *, indent: int | None = 2) -> str:
    r"""Encode a document as JSON in which control characters are escaped.

    A lone surrogate, which JSON cannot hold, becomes text: ``\xNN`` for a byte of a file name that is not UTF-8.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    # In JSON, these characters can only be inside a string.
    return _IN_JSON.sub(_escape_in_json, text)


def _escape_in_json(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:  # Python's stand-in for a byte
        return f"\\\\x{code & 0xFF:02x}"
    return f"\\\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"


def json_line(document: Any) -> str:
    """Encode a document as one line of a JSON lines file; as `json_text`."""
    return json_text(document, indent=None) + "\n"


def csv_cell(value: object) -> str:
    """Return a cell of a CSV file that no spreadsheet takes for a formula; `csv_value` reads it back.

    A text that begins with ``= + - @``, tab or carriage return gets a leading apostrophe (OWASP, "CSV Injection").
    Numbers stay as they are, negative ones too. A NUL, which Python 3.10 neither writes nor reads, is escaped.
    """
    if isinstance(value, int | float):
        return str(value)
    text = "" if value is None else str(value).replace("\0", r"\x00")
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def csv_value(cell: str) -> str:
    """Return the text of a cell that `csv_cell` wrote."""
    rest = cell[1:]
    return rest if cell.startswith("'") and csv_cell(rest) == cell else cell
