"""Which pictures set the quantisers' ranges and which judge the result: never the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeproof_export.images import evenly
from edgeproof_export.optimize.inputs import Advance, Inputs
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.data.dataset import ImageList, LabelledImages
from edgeproof_runtime.errors import InputError

__all__ = ["FEWEST_CALIBRATION", "Split", "make_split"]

FEWEST_CALIBRATION = 50


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Calibration and validation pictures without a picture in common.

    Attributes:
        calibration: sets ranges, corrects biases, ranks layers; its labels are not used.
        validation: judges. Nothing is fitted to it.
        notes: sentences for people.
    """

    calibration: Inputs
    validation: Inputs
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shared = set(self.calibration.sha256) & set(self.validation.sha256)
        if shared:
            raise InputError(
                "pictures that calibrate cannot validate: the result would be judged on what it was fitted to",
                got=f"{len(shared)} pictures in both, sha256 {min(shared)[:16]} among them",
                expected="no picture in common",
                fix="calibrate on other pictures, or leave --calibration out to have --data split",
            )

    def to_json(self) -> dict[str, Any]:
        """Both parts by the hashes of their pictures: all of the calibration's, a sum of the validation's."""
        return {
            "calibration": {
                "n": len(self.calibration),
                "fingerprint": self.calibration.fingerprint(),
                "sha256": sorted(self.calibration.sha256),
            },
            "validation": {"n": len(self.validation), "fingerprint": self.validation.fingerprint()},
        }


def make_split(
    data: LabelledImages[Any],
    calibration: ImageList | LabelledImages[Any] | None,
    contract: InputContract,
    *,
    calibration_pictures: int,
    force: bool,
    advance: Advance,
) -> Split:
    """Choose and read both parts.

    Every class gives its share of calibration pictures, evenly spread over its list: no seed, so nothing to tune.

    Args:
        data: labelled pictures. Without ``calibration`` at most half of them calibrate; with it all of them validate.
        calibration: pictures of their own to calibrate on.
        contract: how pictures become tensors.
        calibration_pictures: how many calibrate at most.
        force: calibrate on fewer than 50.
        advance: is told (done, total).

    Raises:
        InputError: fewer than 50 calibration pictures without ``force``, nothing left to validate on, or a picture
            that is in both.
    """
    own = data if calibration is None else calibration
    images, targets = (own, [0] * len(own)) if isinstance(own, ImageList) else (own.images, own.targets)
    wanted = min(calibration_pictures, len(images) // 2 if calibration is None else len(images))
    chosen = _stratified(targets, wanted)
    if len(chosen) < FEWEST_CALIBRATION and not force:
        raise InputError(
            "too few pictures to calibrate on: their ranges would not be those of the others",
            got=f"{len(chosen)} of {len(images)} pictures",
            expected=f"at least {FEWEST_CALIBRATION}",
            fix="give more with --calibration DATA, or calibrate on these with --force",
        )
    rest = sorted(set(range(len(data))) - set(chosen)) if calibration is None else list(range(len(data)))
    if not rest:
        raise InputError("no picture is left to validate on", got=f"{len(data)} pictures in all")
    total = len(chosen) + len(rest)
    fitted = Inputs(images, chosen, contract, None, lambda done, _: advance(done, total))
    judged = Inputs(data.images, rest, contract, data.targets, lambda done, _: advance(len(chosen) + done, total))
    advance(total, total)
    if calibration is not None:
        return Split(fitted, judged)
    known = set(fitted.sha256)
    twice = {place for place, digest in enumerate(judged.sha256) if digest in known}
    if not twice:
        return Split(fitted, judged)
    note = f"{len(twice)} pictures of the data are copies of calibration pictures and do not validate."
    return Split(fitted, judged.without(twice), (note,))


def _stratified(targets: Sequence[Any], count: int) -> list[int]:
    by_class = sorted(range(len(targets)), key=lambda position: (targets[position], position))
    return sorted(by_class[place] for place in evenly(len(by_class), count))
