"""The table of kinds: how many inputs each surface was given, and how many it passed."""

from __future__ import annotations

__all__ = ["Table"]


class Table:
    """Counts by kind and surface."""

    SURFACES = ("api", "command", "process", "serve", "edgeproof-run")

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}

    def add(self, kind: str, surface: str, *, passed: bool, tried: int = 1) -> None:
        """Count an input; with ``tried`` several that all passed or all failed."""
        if tried == 0:
            return
        counts = self._counts.setdefault((kind, surface), [0, 0])
        counts[0] += tried
        counts[1] += tried if passed else 0

    def rows(self) -> list[tuple[tuple[str, str], list[int]]]:
        """Return (kind, surface) and (tried, passed)."""
        return list(self._counts.items())

    @property
    def tried(self) -> int:
        """Number of inputs."""
        return sum(tried for tried, _ in self._counts.values())

    @property
    def passed(self) -> bool:
        """Whether all passed."""
        return all(tried == passed for tried, passed in self._counts.values())

    def text(self) -> str:
        """Return the table: passed of tried, by kind and surface."""
        kinds = sorted({kind for kind, _ in self._counts})
        width = max([len(kind) for kind in kinds] + [4])
        lines = [f"{'kind':<{width}}" + "".join(f"{surface:>15}" for surface in self.SURFACES)]
        for kind in kinds:
            cells = [self._counts.get((kind, surface)) for surface in self.SURFACES]
            lines.append(f"{kind:<{width}}" + "".join(f"{f'{c[1]} of {c[0]}' if c else '':>15}" for c in cells))
        failed = sum(tried - passed for tried, passed in self._counts.values())
        lines.append(f"{self.tried} inputs, {failed} failed")
        return "\n".join(lines)
