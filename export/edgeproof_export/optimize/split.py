"""Split images into calibration and validation images, without overlap."""

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
    """Disjoint calibration and validation images.

    Attributes:
        calibration: images for ranges, bias correction and ranking of layers; labels are not used.
        validation: images for measuring the drop; nothing is fitted to them.
        notes: notes for the report.
    """

    calibration: Inputs
    validation: Inputs
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shared = set(self.calibration.sha256) & set(self.validation.sha256)
        if shared:
            raise InputError(
                "--calibration: shares images with --data, which would bias the validation",
                got=f"{len(shared)} images in both, such as sha256 {min(shared)[:16]}",
                expected="different images",
                fix="calibrate on other images, or leave --calibration out to split --data",
            )

    def to_json(self) -> dict[str, Any]:
        """Return the hashes of both parts: every calibration image's, one fingerprint of the validation images."""
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
    """Choose and read calibration and validation images.

    Calibration images are evenly spread over each class's list, in proportion to its size; there is no seed to tune.

    Args:
        data: labelled images; at most half of them calibrate without ``calibration``, all validate with it.
        calibration: separate calibration images, or None.
        contract: input contract.
        calibration_pictures: most calibration images.
        force: permit fewer than 50 calibration images.
        advance: called with (done, total).

    Raises:
        InputError: fewer than 50 calibration images without ``force``, no validation images, or images in both parts.
    """
    own = data if calibration is None else calibration
    images, targets = (own, [0] * len(own)) if isinstance(own, ImageList) else (own.images, own.targets)
    wanted = min(calibration_pictures, len(images) // 2 if calibration is None else len(images))
    chosen = _stratified(targets, wanted)
    if len(chosen) < FEWEST_CALIBRATION and not force:
        raise InputError(
            "calibration: too few images for reliable ranges",
            got=f"{len(chosen)} of {len(images)} images",
            expected=f"at least {FEWEST_CALIBRATION}",
            fix="add images with --calibration DATA, or use these with --force",
        )
    rest = sorted(set(range(len(data))) - set(chosen)) if calibration is None else list(range(len(data)))
    if not rest:
        raise InputError("validation: no images left", got=f"{len(data)} images in total")
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
    note = f"{len(twice)} images are copies of calibration images and were left out of the validation."
    return Split(fitted, judged.without(twice), (note,))


def _stratified(targets: Sequence[Any], count: int) -> list[int]:
    by_class = sorted(range(len(targets)), key=lambda position: (targets[position], position))
    return sorted(by_class[place] for place in evenly(len(by_class), count))
