"""Small checks of JSON values, put together to a schema: each returns what is kept of a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edgeproof_export.pt2.findings import CodeFound, Damaged, Finding

__all__ = [
    "Check",
    "boolean",
    "code",
    "dropped",
    "integer",
    "items",
    "later",
    "mapping",
    "number",
    "optional",
    "record",
    "text",
    "union",
]

Check = Callable[[Any], Any]

_MOST_ITEMS = 200_000
_INT64 = 2**63


@contextmanager
def _at(where: object) -> Iterator[None]:
    try:
        yield
    except Finding as finding:
        finding.where.insert(0, str(where)[:60])
        raise


def record(needed: Mapping[str, Check], optionals: Mapping[str, Check] | None = None) -> Check:
    """Check an object with these fields and no others."""
    checks = {**needed, **(optionals or {})}

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Damaged(f"{_kind(value)} instead of an object")
        if missing := [name for name in needed if name not in value]:
            raise Damaged(f"lacks {missing[0]}")
        kept = {}
        for name, part in value.items():
            if name not in checks:
                raise CodeFound(f"unknown field {name[:60]!r}")
            with _at(name):
                kept[name] = checks[name](part)
        return kept

    return check


def union(**alternatives: Check) -> Check:
    """Check an object that holds exactly one of these fields."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) != 1:
            raise Damaged("not an object of one field")
        ((name, part),) = value.items()
        if name not in alternatives:
            raise CodeFound(f"unknown field {name[:60]!r}")
        with _at(name):
            return {name: alternatives[name](part)}

    return check


def items(check_one: Check) -> Check:
    """Check a list."""

    def check(value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) > _MOST_ITEMS:
            raise Damaged(f"{_kind(value)} instead of a list of at most {_MOST_ITEMS}")
        kept = []
        for index, item in enumerate(value):
            with _at(index):
                kept.append(check_one(item))
        return kept

    return check


def mapping(check_key: Callable[[str], str], check_value: Check) -> Check:
    """Check an object with any number of fields."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > _MOST_ITEMS:
            raise Damaged(f"{_kind(value)} instead of an object of at most {_MOST_ITEMS} fields")
        kept = {}
        for key, part in value.items():
            with _at(key):
                kept[check_key(key)] = check_value(part)
        return kept

    return check


def optional(check_value: Check) -> Check:
    """Check a value that may be null."""
    return lambda value: None if value is None else check_value(value)


def dropped(instead: Any) -> Check:
    """Keep nothing of a value."""
    return lambda _value: instead


def later(found: Callable[[], Check]) -> Check:
    """Check by a definition that contains itself."""
    return lambda value: found()(value)


def text(check_text: Callable[[str], str]) -> Check:
    """Check a string."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Damaged(f"{_kind(value)} instead of a string")
        return check_text(value)

    return check


def code(what: str) -> Check:
    """Refuse a value that stands for code."""

    def check(_value: Any) -> Any:
        raise CodeFound(what)

    return check


def integer(value: Any) -> int:
    """Check an integer of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _INT64:
        raise Damaged(f"{_kind(value)} instead of an integer")
    return value


def number(value: Any) -> float | int | str:
    """Check a number; JSON has none that is not finite."""
    if value in ("Infinity", "-Infinity", "NaN"):
        return str(value)
    return float(value) if isinstance(value, float) else integer(value)


def boolean(value: Any) -> bool:
    """Check a truth value."""
    if not isinstance(value, bool):
        raise Damaged(f"{_kind(value)} instead of a truth value")
    return value


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a string", type(None): "null"}.get(type(value), repr(value)[:40])
