"""Task settings in ``bundle.json``: decision thresholds, and the input of a generator."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from edgeproof_runtime.contract.contract import BatchBounds
from edgeproof_runtime.errors import BundleError
from edgeproof_runtime.system.compat import Self

__all__ = ["DEFECT", "GOOD", "AnomalySettings", "LatentInput", "MultilabelSettings", "Normal"]

GOOD, DEFECT = "good", "defect"

Normal = Literal["splitmix64-box-muller"]
ImageColor = Literal["gray", "rgb"]
Criterion = Literal["best-f1", "default"]

_LARGEST_LATENT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalySettings:
    """Anomaly threshold, and how it was chosen (task ``reconstruct``).

    The model computes heat map and score, so every engine and program gets the same score.

    Attributes:
        threshold: a score above it is a defect.
        quantile: quantile of the good images' scores that became the threshold, in (0, 1]; None if the model came
            with its threshold.
        good_images: number of good images that it was chosen on; None if the model came with its threshold.
        score: how the model computes the score, for people.
    """

    threshold: float
    quantile: float | None
    good_images: int | None
    score: str

    def __post_init__(self) -> None:
        if not (_is_number(self.threshold) and self.threshold > 0):
            raise BundleError("anomaly.threshold: must be above 0", got=repr(self.threshold), expected="a number > 0")
        if (self.quantile is None) != (self.good_images is None):
            raise BundleError(
                "anomaly.quantile and anomaly.good_images: must be given together",
                got=f"{self.quantile!r} and {self.good_images!r}",
                expected="two numbers, or null twice",
            )
        if self.quantile is not None and not (_is_number(self.quantile) and 0 < self.quantile <= 1):
            raise BundleError(
                "anomaly.quantile: must be in (0, 1]", got=repr(self.quantile), expected="0 < quantile <= 1"
            )
        if self.good_images is not None and not _is_count(self.good_images):
            raise BundleError(
                "anomaly.good_images: must be at least 1", got=repr(self.good_images), expected="an integer >= 1"
            )
        if not isinstance(self.score, str) or not self.score:
            raise BundleError("anomaly.score: must be a string", got=repr(self.score), expected="a string, not empty")

    def summary(self) -> tuple[str, str]:
        """Return a row for people: what is decided, and how."""
        return "defect", f"score above {self.threshold:.4g}: {self.score}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `from_json` is the inverse."""
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
    """Label thresholds, and how they were chosen (task ``multilabel``).

    Attributes:
        thresholds: one per class, 0..1; an image has the label from its threshold upwards.
        criterion: how they were chosen: ``best-f1`` (`edgeproof_runtime.metrics.threshold.best_f1_threshold`), or
            ``default``, not chosen on any data.
        images: number of validation images that they were chosen on; 0 for ``default``.
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
        if self.criterion == "default" and self.images != 0:
            raise BundleError("multilabel.images: must be 0 for default thresholds", got=repr(self.images))
        if self.criterion != "default" and not _is_count(self.images):
            raise BundleError("multilabel.images: must be at least 1", got=repr(self.images))

    def summary(self) -> tuple[str, str]:
        """Return a row for people: what is decided, and how."""
        limits = f"{min(self.thresholds):.3f} to {max(self.thresholds):.3f}"
        chosen = "not chosen on data" if self.criterion == "default" else f"{self.criterion} on {self.images} images"
        return "labels", f"from probabilities of {limits} upwards, {chosen}"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `from_json` is the inverse."""
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
    """Input of a generator, and the meaning of its output values (task ``generate``).

    Attributes:
        size: numbers per image; the input tensor is float32 ``N x size``.
        normal: how a seed becomes numbers; defined by `edgeproof_runtime.bundle.latent.latents`.
        color: channel order of the image; the output is ``1xHxW`` or ``3xHxW``.
        low: output value of black.
        high: output value of full brightness.
        batch: batch bounds.
    """

    size: int
    normal: Normal = "splitmix64-box-muller"
    color: ImageColor = "gray"
    low: float = 0.0
    high: float = 1.0
    batch: BatchBounds = field(default_factory=BatchBounds)

    def __post_init__(self) -> None:
        if not (_is_count(self.size) and self.size <= _LARGEST_LATENT):
            raise BundleError("input.latent.size: invalid", got=repr(self.size), expected=f"1..{_LARGEST_LATENT}")
        for name, allowed in (("normal", Normal), ("color", ImageColor)):
            if getattr(self, name) not in get_args(allowed):
                raise BundleError(
                    f"input.latent.{name}: unknown",
                    got=repr(getattr(self, name)),
                    expected=", ".join(get_args(allowed)),
                )
        if not (_is_number(self.low) and _is_number(self.high) and self.low < self.high):
            raise BundleError("input.latent: invalid range", got=(self.low, self.high), expected="low < high")

    @property
    def channels(self) -> int:
        """1 for gray, else 3."""
        return 1 if self.color == "gray" else 3

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `from_json` is the inverse."""
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
        """Describe the input in one line for people."""
        return f"{self.size} normal numbers ({self.normal}), {self.color} image, {self.low:g}..{self.high:g}"


def _known(raw: Any, cls: type[Any], name: str) -> dict[str, Any]:
    expected = {f.name for f in fields(cls)}
    if not isinstance(raw, Mapping) or set(raw) != expected:
        got = f"fields {sorted(raw)}" if isinstance(raw, Mapping) else type(raw).__name__
        raise BundleError(f"bundle.json: invalid fields of {name}", got=got, expected=sorted(expected))
    return dict(raw)


def _is_number(value: object) -> bool:
    # math.isfinite raises on an integer that is too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
