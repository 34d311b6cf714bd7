"""Weights must be numbers, whatever they are read from."""

from __future__ import annotations

from collections.abc import Sequence

from edgeproof_runtime.errors import InputError

__all__ = ["first_names", "require_numbers"]


def first_names(names: Sequence[str]) -> str:
    """Return the first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def require_numbers(wrong: Sequence[str], spec: str) -> None:
    """Refuse a model that has weights with NaN; infinities may be masks.

    Args:
        wrong: names of these weights.
        spec: name in error messages.

    Raises:
        InputError: there are some.
    """
    if wrong:
        raise InputError(
            f"{spec}: weights that are not numbers (NaN)",
            got=first_names(wrong),
            expected="finite weights",
            fix="export an earlier checkpoint: the training diverged",
        )
