"""A chain of hops from frame to prediction, each differing from the previous one in one thing, and its drops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.evidence.thumbnail import Thumbnail
from edgeproof_runtime.metrics.accuracy import wilson_interval
from edgeproof_runtime.metrics.gate import Gate
from edgeproof_runtime.metrics.paired import Paired

__all__ = ["NOT_A_NUMBER", "Flip", "Frames", "Hop", "HopCost", "Walk"]

Frames = Sequence[NDArray[np.uint8]]

NOT_A_NUMBER = -1  # stands for the class of an output that is not finite; it matches no target

_FLIPS_LISTED = 500
_CLASSES_LISTED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Hop:
    """One way from frames to scores.

    Attributes:
        name: short name, such as ``contract``; names the place where accuracy is lost.
        what: what is new in it, in one clause.
        prepare: frames to a batch tensor; the same object as the previous hop's reuses its tensors.
        infer: a batch tensor to scores, ``N x C``.
        compared: what must match the previous hop besides accuracy: ``tensors`` (bit for bit), ``outputs`` (within the
            bounds of ``precision``), or ``nothing``.
        precision: precision of the model.
    """

    name: str
    what: str
    prepare: Callable[[Frames], Tensor]
    infer: Callable[[Tensor], Tensor]
    compared: Literal["tensors", "outputs", "nothing"] = "nothing"
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class HopCost:
    """Change of accuracy at one hop.

    Attributes:
        name: name of the hop.
        what: what is new in the hop.
        n: labelled images.
        correct: images predicted right after this hop.
        not_finite: outputs of this hop that hold NaN or infinity; they count as wrong.
        change: change from the previous hop; None for the first.
        gate: bounds of this hop; None without bounds.
        classes: (label, images, lost, gained) of the classes that changed, the largest net loss first.
    """

    name: str
    what: str
    n: int
    correct: int
    not_finite: int
    change: Paired | None
    gate: Gate | None
    classes: tuple[tuple[str, int, int, int], ...]

    @property
    def failed(self) -> bool:
        """Whether a bound was missed here, or the first outputs are not finite."""
        if self.change is None:
            return self.not_finite > 0
        return self.gate is not None and not self.gate.passed

    @property
    def dropped(self) -> bool:
        """Whether accuracy dropped here, beyond chance."""
        return self.change is not None and self.change.drop_ci95[0] > 0

    @property
    def lost(self) -> bool:
        """Whether accuracy dropped here, beyond chance, or a bound was missed."""
        return self.failed or self.dropped

    def sentence(self) -> str:
        """Describe the hop in a sentence for people."""
        if self.not_finite:
            return f"{self.name}: {self.not_finite} of {self.n} outputs are not finite."
        if self.change is None:
            return f"{self.name}: {self.correct} of {self.n} right."
        low, high = self.change.drop_ci95
        drop = self.change.drop
        word, sign = ("drop", 1) if drop >= 0 else ("gain", -1)
        ends = sorted((100 * sign * low, 100 * sign * high))
        cost = (
            f"{self.name}: top-1 {word} {100 * abs(drop):.2f} points (95 % interval {ends[0]:.2f} to "
            f"{ends[1]:.2f}; {self.change.lost} images lost, {self.change.gained} gained)"
        )
        missed = [] if self.gate is None else [name for name in self.gate.missed() if name != "drop"]
        if not missed or self.gate is None:
            return f"{cost}."
        figures = ", ".join(f"{name} {self.gate.measured[name]:.3g}" for name in missed)
        return f"{cost}; its {'input tensors' if 'differing_tensors' in missed else 'outputs'} differ: {figures}."

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; points are percentage points of top-1, above zero for a drop."""
        low, high = (0.0, 0.0) if self.change is None else self.change.drop_ci95
        return {
            "name": self.name,
            "what": self.what,
            "n": self.n,
            "correct": self.correct,
            "top1": self.correct / self.n,
            "ci95": list(wilson_interval(self.correct, self.n)),
            "not_finite": self.not_finite,
            "cost_points": None if self.change is None else 100 * self.change.drop,
            "cost_points_ci95": None if self.change is None else [100 * low, 100 * high],
            "change": None if self.change is None else self.change.to_json(),
            "lost": self.lost,
            "sentence": self.sentence(),
            "classes": [
                {"label": label, "support": support, "lost": lost, "gained": gained}
                for label, support, lost, gained in self.classes[:_CLASSES_LISTED]
            ],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Flip:
    """An image whose top-1 prediction changed on the way.

    Attributes:
        name: name of the image.
        truth: its label.
        hop: the first hop that predicts another label than the previous one.
        answers: label that each hop predicts, in order.
        thumbnail: thumbnail, for a few images of each hop.
    """

    name: str
    truth: str
    hop: str
    answers: tuple[str, ...]
    thumbnail: Thumbnail | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; the thumbnail's JPEG is base64."""
        return {
            "name": self.name,
            "truth": self.truth,
            "hop": self.hop,
            "answers": list(self.answers),
            "thumbnail": None if self.thumbnail is None else self.thumbnail.to_json(),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """Accuracy of the same images along a chain of hops.

    Attributes:
        costs: one per hop, in order.
        total: the last hop compared with the first.
        flips: images whose top-1 prediction changed at any hop, in the dataset's order.
        notes: sentences for people: what is missing in the chain, and why.
        label_notes: what is wrong with the labels already at the first hop, in sentences.
        kind: ``hops`` for a chain from training to camera, ``against`` for two models side by side.
    """

    costs: tuple[HopCost, ...]
    total: Paired
    flips: tuple[Flip, ...]
    notes: tuple[str, ...] = ()
    kind: Literal["hops", "against"] = "hops"
    label_notes: tuple[str, ...] = ()

    @property
    def losses(self) -> list[HopCost]:
        """Hops at which accuracy dropped or a bound was missed, in the order of the chain."""
        return [cost for cost in self.costs if cost.lost]

    @property
    def culprit(self) -> HopCost | None:
        """The hop to mend: of those that missed a bound, else of those that dropped, the one with the largest drop."""
        return max(self.losses, key=lambda cost: (cost.failed, cost.change.drop if cost.change else 1.0), default=None)

    @property
    def gates(self) -> list[Gate]:
        """Gates of all hops that have one."""
        return [cost.gate for cost in self.costs if cost.gate is not None]

    def verdict(self) -> str:
        """Name the hops at which accuracy dropped or a bound was missed, in a sentence each, the culprit first."""
        said = list(self.label_notes)
        if self.losses:
            first = self.culprit
            ordered = sorted(self.losses, key=lambda cost: cost is not first)
            return " ".join([f"{_accused(cost)} {cost.sentence()}" for cost in ordered] + said)
        low, high = self.total.drop_ci95
        whole = (
            f"No hop loses accuracy measurably on {self.total.n} images: {100 * self.total.drop:.2f} points from "
            f"{self.costs[0].name} to {self.costs[-1].name} (95 % interval {100 * low:.2f} to {100 * high:.2f})."
        )
        if said:
            whole = f"The fault is before the first hop. {' '.join(said)} {whole}"
        return whole

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; at most 500 flips are listed, ``flips_by_hop`` counts them all."""
        names = [cost.name for cost in self.costs]
        return {
            "kind": self.kind,
            "verdict": self.verdict(),
            "culprit": None if self.culprit is None else self.culprit.name,
            "hops": [cost.to_json() for cost in self.costs],
            "total": self.total.to_json(),
            "flips_by_hop": {name: sum(flip.hop == name for flip in self.flips) for name in names[1:]},
            "flips": [flip.to_json() for flip in self.flips[:_FLIPS_LISTED]],
            "notes": list(self.notes),
        }


def _accused(cost: HopCost) -> str:
    gained = cost.change is not None and cost.change.drop <= 0
    return "Bound missed at hop" if cost.failed and gained else "Accuracy lost at hop"
