"""The trade-off curve: graphs that were judged, with what each loses and how fast it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgeproof_export.optimize.judge import Speed
from edgeproof_export.tasks.budget import Comparison

__all__ = ["Point", "Ranked"]


@dataclass(frozen=True, slots=True)
class Point:
    """One graph beside fp32.

    Attributes:
        model: which of the bundle's models it is, or would be: ``fp16``, ``int8``, ``int8-tensorrt``.
        recipe: how it was made.
        restored: layers that went back to fp32.
        paired: the comparison on the validation images.
        divergence: of its answers from fp32's on the calibration images, nats.
        speed: beside fp32; None where this machine cannot tell.
        size_bytes: of the ONNX file.
        chosen: it is the one that was added to the bundle.
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
        """Whether it loses at most so much."""
        return self.paired.drop <= max_drop

    def pays(self) -> bool:
        """Whether it is faster than fp32, as far as this machine can tell."""
        return self.speed is None or self.speed.speedup.estimate > 1.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "restored": list(self.restored),
            "paired": self.paired.to_json(),
            "candidate": self.paired.candidate,
        }


@dataclass(frozen=True, slots=True)
class Ranked:
    """A layer, and what its quantisation costs: the divergence that goes away when it alone is fp32 again, nats."""

    layer: str
    operator: str
    cost: float
