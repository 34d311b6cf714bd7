"""Gates: measurements and their bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgeproof_runtime.system.compat import Self

__all__ = ["Gate"]


@dataclass(frozen=True, slots=True)
class Gate:
    """A measurement and its bounds. Build it with `judge`.

    Attributes:
        name: such as ``parity openvino fp32``.
        passed: whether every bound was met.
        what: what was compared with what, in one clause.
        measured: quantity -> value, such as max_abs_diff, mean_abs_diff, cosine, top1_agreement.
        bound: quantity -> ``{"max": v}``, ``{"min": v}`` or both; quantities without a bound are for information.
    """

    name: str
    passed: bool
    what: str
    measured: Mapping[str, float]
    bound: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        missed = self.missed()
        if self.passed and missed:
            raise ValueError(f"gate {self.name} cannot have passed: {', '.join(missed)} missed the bound")

    def missed(self) -> list[str]:
        """List the quantities that missed their bound; one that is absent or NaN has missed it."""
        return [
            name
            for name, limits in self.bound.items()
            if not limits.get("min", -math.inf) <= self.measured.get(name, math.nan) <= limits.get("max", math.inf)
        ]

    def misses(self) -> str:
        """Return the missed quantities with their bounds as text, such as ``relative_diff 0.0012 (at most 0.001)``."""
        words = {"min": "at least", "max": "at most"}
        return ", ".join(
            f"{name} {self.measured.get(name, math.nan):.4g} "
            f"({' and '.join(f'{words[side]} {value:g}' for side, value in self.bound[name].items())})"
            for name in self.missed()
        )

    @classmethod
    def judge(
        cls,
        name: str,
        what: str,
        measured: Mapping[str, float],
        *,
        at_most: Mapping[str, float] | None = None,
        at_least: Mapping[str, float] | None = None,
    ) -> Self:
        """Build a gate and decide whether it passed.

        Args:
            name: such as ``parity openvino fp32``.
            what: what was compared with what, in one clause.
            measured: quantity -> value.
            at_most: upper bounds.
            at_least: lower bounds.
        """
        bound: dict[str, dict[str, float]] = {}
        for side, limits in (("max", at_most), ("min", at_least)):
            for quantity, limit in (limits or {}).items():
                bound.setdefault(quantity, {})[side] = limit
        missed = cls(name, False, what, measured, bound).missed()
        return cls(name, not missed, what, measured, bound)
