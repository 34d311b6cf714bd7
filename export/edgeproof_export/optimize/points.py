"""The trade-off curve: accuracy drop and speed of every validated graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgeproof_export.optimize.judge import Speed
from edgeproof_export.tasks.budget import Comparison

__all__ = ["Point", "Ranked"]


@dataclass(frozen=True, slots=True)
class Point:
    """Comparison of one graph with fp32.

    Attributes:
        model: name of the bundle's model: ``fp16``, ``int8`` or ``int8-tensorrt``.
        recipe: name of the recipe.
        restored: layers restored to fp32.
        paired: paired comparison on the validation images.
        divergence: divergence of its outputs from fp32's on the calibration images, nats.
        speed: times of both; None if this machine cannot time it.
        size_bytes: size of the ONNX file.
        chosen: whether it was added to the bundle.
    """

    model: str
    recipe: str
    restored: tuple[str, ...]
    paired: Comparison
    divergence: float
    speed: Speed | None
    size_bytes: int
    chosen: bool = False

    def held(self, max_drop: float) -> bool:
        """Return whether the drop is within a budget."""
        return self.paired.drop <= max_drop

    def surely_held(self, max_drop: float) -> bool:
        """Return whether the 95 % interval of the drop is within a budget."""
        return self.paired.drop_ci95[1] <= max_drop

    def share_of_speed(self, other: Point) -> float:
        """Return the speed-up over fp32, as a share of another point's; 1 if not timed."""
        if self.speed is None or other.speed is None:
            return 1.0
        return self.speed.speedup.estimate / other.speed.speedup.estimate

    def pays(self) -> bool:
        """Return whether it is faster than fp32, or cannot be timed on this machine."""
        return self.speed is None or self.speed.speedup.estimate > 1.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            **asdict(self),
            "restored": list(self.restored),
            "paired": self.paired.to_json(),
            "candidate": self.paired.candidate,
        }


@dataclass(frozen=True, slots=True)
class Ranked:
    """Layer with the cost of its quantisation: reduction of divergence when it alone is restored, nats."""

    layer: str
    operator: str
    cost: float
