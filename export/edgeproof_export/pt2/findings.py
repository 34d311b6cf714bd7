"""What is wrong with an exported program, and where in its JSON."""

from __future__ import annotations

__all__ = ["CodeFound", "Damaged", "Finding"]


class Finding(ValueError):  # noqa: N818  # what is found, not an error of ours
    """Something wrong with a file.

    Attributes:
        text: what is wrong.
        where: keys and positions that lead to it, outermost first.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.where: list[str] = []

    def __str__(self) -> str:
        path = ".".join(self.where[-6:])
        return f"{path}: {self.text}" if path else self.text


class Damaged(Finding):
    """The file is not what PyTorch writes."""


class CodeFound(Finding):
    """The file holds what PyTorch would evaluate, import, unpickle or load as machine code."""
