"""Protobuf's text format, for ``config.pbtxt``.

Source: https://protobuf.dev/reference/protobuf/textformat-spec/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Word", "pbtxt"]


class Word(str):
    """Value of an enumeration, which is written without quotes."""

    __slots__ = ()


def pbtxt(message: Mapping[str, Any]) -> str:
    """Return a message as text.

    Args:
        message: fields by name. Values: text, `Word`, bool, int, messages, and lists of these, which repeat the field.
            A list of integers is written in brackets.
    """
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Mapping[str, Any]) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, list) and all(isinstance(one, int) for one in value):
            yield f"{name}: [ {', '.join(map(str, value))} ]" if value else f"{name}: [ ]"
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                yield f"{name} {{"
                yield from (f"  {line}" for line in _lines(one))
                yield "}"
            else:
                yield f"{name}: {_scalar(one)}"


def _scalar(value: Any) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    # Control characters as octal escapes; other text stays UTF-8.
    escaped = re.sub(r'["\\]', r"\\\g<0>", value)
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\{ord(found[0]):03o}", escaped) + '"'
