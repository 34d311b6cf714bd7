"""The table of kinds: how many inputs each surface was given, how many it passed, and how long that took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Row", "Table"]

Row = tuple[str, str, int, int, float]
"""Kind, surface, inputs, inputs that passed, seconds."""


@dataclass(slots=True)
class _Count:
    tried: int = 0
    passed: int = 0
    seconds: float = 0.0


class Table:
    """Counts by kind and surface.

    The surfaces ``api`` and ``command`` are forks of a warm process; the others are processes as a person starts them.
    """

    SURFACES = ("api", "command", "process", "serve", "edgeproof-run")

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}
        for kind, surface, tried, passed, seconds in rows:
            count = self._counts.setdefault((kind, surface), _Count())
            count.tried += tried
            count.passed += passed
            count.seconds += seconds

    def add(self, kind: str, surface: str, *, passed: bool, seconds: float) -> None:
        """Count an input."""
        count = self._counts.setdefault((kind, surface), _Count())
        count.tried += 1
        count.passed += int(passed)
        count.seconds += seconds

    def rows(self) -> list[Row]:
        """Return the counts as plain values."""
        return [(*key, count.tried, count.passed, count.seconds) for key, count in self._counts.items()]

    @property
    def tried(self) -> int:
        """Number of inputs."""
        return sum(count.tried for count in self._counts.values())

    @property
    def passed(self) -> bool:
        """Whether all passed."""
        return all(count.tried == count.passed for count in self._counts.values())

    def text(self) -> str:
        """Return the table: passed of tried, by kind and surface."""
        kinds = sorted({kind for kind, _ in self._counts})
        width = max([len(kind) for kind in kinds] + [5])
        heads = (*self.SURFACES, "failed", "seconds")
        lines = [f"{'kind':<{width}}" + "".join(f"{head:>14}" for head in heads)]
        for kind in [*kinds, None]:
            counts = [self._sum(kind, surface) for surface in self.SURFACES]
            cells = [f"{c.passed} of {c.tried}" if c.tried else "" for c in counts]
            of_all = self._sum(kind, None)
            cells += [str(of_all.tried - of_all.passed), f"{of_all.seconds:.0f}"]
            lines.append(f"{kind or 'all':<{width}}" + "".join(f"{cell:>14}" for cell in cells))
        return "\n".join(lines)

    def _sum(self, kind: str | None, surface: str | None) -> _Count:
        found = _Count()
        for (of_kind, of_surface), count in self._counts.items():
            if kind in (None, of_kind) and surface in (None, of_surface):
                found.tried += count.tried
                found.passed += count.passed
                found.seconds += count.seconds
        return found
