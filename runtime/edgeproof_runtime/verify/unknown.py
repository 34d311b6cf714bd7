"""Choose on data when a classifier says "unknown", and measure the choice on other data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_FLOOR, Context
from typing import Any

from edgeproof_runtime._native import wilson_interval
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.metrics.auroc import auroc, auroc_ci95
from edgeproof_runtime.metrics.latency import LatencyRecorder
from edgeproof_runtime.tasks.classify import probabilities
from edgeproof_runtime.tasks.unknown import UnknownRule, known_scores, scores_for
from edgeproof_runtime.verify.evaluate import outputs_of

__all__ = ["KnownScores", "UnknownResult", "choose_rule", "limit_at", "scores_of_images"]

TPR = 0.95
_FEWEST = 20  # images of each kind: half of them choose, half of them measure
_DIGITS = 6


class KnownScores:
    """Collects the scores of images, in their order.

    Args:
        bundle: a classifier.

    Attributes:
        values: score -> its value of each image; NaN, which no limit accepts, becomes minus infinity.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._activation = bundle.manifest.outputs[0].activation
        self.values: dict[str, list[float]] = {score: [] for score in scores_for(self._activation)}

    def add(self, outputs: tuple[Tensor, ...]) -> None:
        """Take the outputs for a batch."""
        found = probabilities(outputs[0], self._activation)
        for score, values in self.values.items():
            new = known_scores(score, outputs[0], found)
            values.extend(-math.inf if math.isnan(value) else value for value in new)


@dataclass(frozen=True, slots=True)
class ScoreFigures:
    """How well one score tells known images from unknown ones, on the half that chose nothing.

    Attributes:
        auroc: probability that a known image scores higher than an unknown one, ties counting half.
        ci95: 95 % interval of ``auroc`` (Newcombe 2006, method 5).
        fpr95: share of unknown images accepted at the limit that accepts 95 % of the known images of the same half.
        auroc_chosen_on: ``auroc`` on the other half, by which the score was chosen.
    """

    auroc: float
    ci95: tuple[float, float]
    fpr95: float
    auroc_chosen_on: float


@dataclass(frozen=True, slots=True)
class UnknownResult:
    """The rule that was chosen on one half of the images, and its figures on the other half.

    Attributes:
        rule: the rule, as ``--unknown`` takes it.
        split: how the images were divided.
        chosen_on, measured_on: number of ``known`` and ``unknown`` images of each half.
        scores: figures of each score on the measured half.
        known_kept: share of known images that the rule accepts, on the measured half.
        known_kept_ci95: its 95 % interval (Wilson 1927).
        unknown_accepted: share of unknown images that the rule accepts, on the measured half.
        unknown_accepted_ci95: its 95 % interval.
    """

    rule: str
    split: str
    chosen_on: dict[str, int]
    measured_on: dict[str, int]
    scores: dict[str, ScoreFigures]
    known_kept: float
    known_kept_ci95: tuple[float, float]
    unknown_accepted: float
    unknown_accepted_ci95: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def scores_of_images(
    bundle: Bundle, engine: Engine, images: ImageList, *, batch: int = 1, limit: int | None = None
) -> KnownScores:
    """Compute the scores of images without labels.

    Args:
        bundle: a classifier.
        engine: loaded with a ``max_batch`` of at least ``batch``.
        images: the images.
        batch: images per inference.
        limit: stop after this many.

    Raises:
        InputError: no image could be read.
    """
    found = KnownScores(bundle)
    for _, outputs in outputs_of(bundle, engine, images, LatencyRecorder(), batch=batch, limit=limit):
        found.add(outputs)
    return found


def choose_rule(known: KnownScores, unknown: KnownScores) -> UnknownResult:
    """Choose score and limit on every second image, and measure them on the others.

    The score of the highest AUROC is taken, of equals the first; its limit accepts 95 % of the known images.

    Args:
        known: scores of images of the model's classes.
        unknown: scores of images of none of them.

    Raises:
        InputError: too few images.
    """
    for what, found in (("--data", known), ("--unknown", unknown)):
        count = len(next(iter(found.values.values())))
        if count < _FEWEST:
            raise InputError(f"{what}: too few images to choose a rule", got=count, expected=f"at least {_FEWEST}")
    first = {score: (values[::2], unknown.values[score][::2]) for score, values in known.values.items()}
    second = {score: (values[1::2], unknown.values[score][1::2]) for score, values in known.values.items()}
    chosen = max(first, key=lambda score: auroc(first[score][1], first[score][0]))
    limit = limit_at(first[chosen][0])
    if not math.isfinite(limit):
        raise InputError("--unknown: no limit accepts 95 % of --data", got="outputs that are not finite")
    rule = UnknownRule(chosen, _rounded_down(limit))
    kept, accepted = ([rule.knows(value) for value in values] for values in second[chosen])
    return UnknownResult(
        rule=str(rule),
        split="in their order, images 1, 3, 5, ... chose, images 2, 4, 6, ... measured",
        chosen_on=_sizes(first[chosen]),
        measured_on=_sizes(second[chosen]),
        scores={
            score: ScoreFigures(
                auroc(accept, keep),
                auroc_ci95(accept, keep),
                _share(value >= limit_at(keep) for value in accept),
                auroc(first[score][1], first[score][0]),
            )
            for score, (keep, accept) in second.items()
        },
        known_kept=_share(kept),
        known_kept_ci95=wilson_interval(sum(kept), len(kept)),
        unknown_accepted=_share(accepted),
        unknown_accepted_ci95=wilson_interval(sum(accepted), len(accepted)),
    )


def limit_at(known: Sequence[float], share: float = TPR) -> float:
    """Return the highest limit that accepts at least this share of known images."""
    return sorted(known)[len(known) - math.ceil(share * len(known))]


def _rounded_down(limit: float) -> float:
    """Return a limit with few digits that accepts no image less: it is typed as an option."""
    return float(Context(prec=_DIGITS, rounding=ROUND_FLOOR).create_decimal_from_float(limit))


def _sizes(half: tuple[Sequence[float], Sequence[float]]) -> dict[str, int]:
    return {"known": len(half[0]), "unknown": len(half[1])}


def _share(accepted: Iterable[bool]) -> float:
    found = list(accepted)
    return sum(found) / len(found)
