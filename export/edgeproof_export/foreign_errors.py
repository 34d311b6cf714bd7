"""Errors of other libraries in one line."""

from __future__ import annotations

__all__ = ["described", "first_line"]


def first_line(error: object, otherwise: str | None = None) -> str:
    """Return the first line of an error's message that is not empty.

    Args:
        error: the error.
        otherwise: text for an error without a message; None for its type.
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__ if otherwise is None else otherwise)


def described(error: BaseException) -> str:
    """Return type and first line of an error."""
    return f"{type(error).__name__}: {first_line(error, 'no reason given')}"
