"""What ``bundle.json`` holds for tasks besides ``classify``: decision thresholds, and what a generator is fed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.errors import BundleError

__all__ = ["DEFECT", "GOOD", "AnomalySettings", "LatentInput", "MultilabelSettings", "Normal"]

GOOD, DEFECT = "good", "defect"

Normal = Literal["splitmix64-box-muller"]
PictureColor = Literal["gray", "rgb"]
Criterion = Literal["best-f1"]

_LARGEST_LATENT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalySettings:
    """When a picture counts as a defect (task ``reconstruct``).

    The model itself answers with reconstruction, heat map and score, so that every engine and program computes one
    and the same score; this says where the line is, and how it was drawn.

    Attributes:
        threshold: a score above it is a defect. Chosen on good pictures alone.
        quantile: of the good pictures' scores that the threshold is, 0..1.
        good_images: how many good pictures it was chosen on.
        score: how the model computes the score, for people.
    """

    threshold: float
    quantile: float
    good_images: int
    score: str

    def __post_init__(self) -> None:
        if not (_is_number(self.threshold) and self.threshold > 0):
            raise BundleError("the anomaly threshold is no score", got=repr(self.threshold), expected="a number > 0")
        if not (_is_number(self.quantile) and 0 < self.quantile <= 1):
            raise BundleError("the threshold's quantile is none", got=repr(self.quantile), expected="0 < quantile <= 1")
        if not _is_count(self.good_images):
            raise BundleError("no good pictures chose the threshold", got=repr(self.good_images), expected="1 or more")
        if not isinstance(self.score, str) or not self.score:
            raise BundleError("the anomaly score is not described", got=repr(self.score), expected="a string")

    def summary(self) -> tuple[str, str]:
        """A row for people: what is decided, and how."""
        return "defect", f"score above {self.threshold:.4g}: {self.score}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Validate and build.

        Raises:
            BundleError: a field is missing, unknown or of the wrong type.
        """
        return cls(**_known(raw, cls, "anomaly"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MultilabelSettings:
    """From which probability an image gets each label (task ``multilabel``).

    Attributes:
        thresholds: one per class, 0..1; an image has the label from its threshold upwards.
        criterion: how they were chosen; `edgeproof_runtime.metrics.threshold.best_f1_threshold` defines it.
        images: validation images that they were chosen on.
    """

    thresholds: tuple[float, ...]
    criterion: Criterion = "best-f1"
    images: int

    def __post_init__(self) -> None:
        wrong = [value for value in self.thresholds if not (_is_number(value) and 0 <= value <= 1)]
        if wrong or not self.thresholds:
            got = repr(wrong[0]) if wrong else "no thresholds"
            raise BundleError("multilabel.thresholds: must be in [0, 1]", got=got, expected="a number per class")
        if self.criterion not in get_args(Criterion):
            raise BundleError(
                "multilabel.criterion: unknown", got=repr(self.criterion), expected=", ".join(get_args(Criterion))
            )
        if not _is_count(self.images):
            raise BundleError("multilabel.images: must be at least 1", got=repr(self.images))

    def summary(self) -> tuple[str, str]:
        """A row for people: what is decided, and how."""
        limits = f"{min(self.thresholds):.3f} to {max(self.thresholds):.3f}"
        return "labels", f"from probabilities of {limits} upwards, {self.criterion} on {self.images} images"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse."""
        return {**asdict(self), "thresholds": list(self.thresholds)}

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Validate and build.

        Raises:
            BundleError: a field is missing, unknown or of the wrong type.
        """
        known = _known(raw, cls, "multilabel")
        if not isinstance(known["thresholds"], list):
            raise BundleError("multilabel.thresholds: must be a list", got=type(known["thresholds"]).__name__)
        return cls(**{**known, "thresholds": tuple(known["thresholds"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentInput:
    """What a generator is fed, and what its values mean (task ``generate``).

    Attributes:
        size: numbers per picture; the input tensor is float32 ``N x size``.
        normal: how a seed becomes them: `edgeproof_runtime.bundle.latent.latents` says exactly.
        color: of the picture; the output is ``1xHxW`` or ``3xHxW``, channels in this order.
        low, high: output values of black and of full brightness.
        batch: batch bounds.
    """

    size: int
    normal: Normal = "splitmix64-box-muller"
    color: PictureColor = "gray"
    low: float = 0.0
    high: float = 1.0
    batch: BatchBounds = field(default_factory=BatchBounds)

    def __post_init__(self) -> None:
        if not (_is_count(self.size) and self.size <= _LARGEST_LATENT):
            raise BundleError("the latent size is none", got=repr(self.size), expected=f"1..{_LARGEST_LATENT}")
        for name, allowed in (("normal", Normal), ("color", PictureColor)):
            if getattr(self, name) not in get_args(allowed):
                raise BundleError(
                    f"unknown {name} of the latent input",
                    got=repr(getattr(self, name)),
                    expected=", ".join(get_args(allowed)),
                )
        if not (_is_number(self.low) and _is_number(self.high) and self.low < self.high):
            raise BundleError("the picture's range is none", got=(self.low, self.high), expected="low < high")

    @property
    def channels(self) -> int:
        """1 for gray, else 3."""
        return 1 if self.color == "gray" else 3

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Validate and build.

        Raises:
            BundleError: a field is missing, unknown or of the wrong type.
            ContractError: the batch bounds are not in order.
        """
        known = _known(raw, cls, "input.latent")
        return cls(**{**known, "batch": BatchBounds(**known["batch"])})

    def summary(self) -> str:
        """One line for people."""
        return f"{self.size} normal numbers ({self.normal}), {self.color} picture, {self.low:g}..{self.high:g}"


def _known(raw: Any, cls: type[Any], name: str) -> dict[str, Any]:
    expected = {f.name for f in fields(cls)}
    if not isinstance(raw, Mapping) or set(raw) != expected:
        got = f"fields {sorted(raw)}" if isinstance(raw, Mapping) else type(raw).__name__
        raise BundleError(f"{name} in bundle.json is not what it should be", got=got, expected=sorted(expected))
    return dict(raw)


def _is_number(value: object) -> bool:
    # A whole number may be too large for a float, which math.isfinite does not survive.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
