"""What CSV files of every form have in common."""

from __future__ import annotations

from collections.abc import Sequence

from edgeproof_runtime.errors import InputError

__all__ = ["check_row"]


def check_row(
    where: str, cells: Sequence[str], header: Sequence[str], delimiter: str = ",", error: type[InputError] = InputError
) -> None:
    """Check that a row has as many cells as the header.

    Raises:
        InputError: it has not, as ``error``.
    """
    if len(cells) != len(header):
        raise error(
            f"{where}: wrong number of columns",
            got=f"{len(cells)}: {delimiter.join(cells)[:80]}",
            expected=f"{len(header)}: {delimiter.join(header)[:80]}",
            fix="quote a name that contains the separator",
        )
