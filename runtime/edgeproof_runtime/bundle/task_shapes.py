"""Requirements of each task on ``bundle.json``: kind of input, settings, output shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeproof_runtime.errors import BundleError

if TYPE_CHECKING:
    from edgeproof_runtime.bundle.manifest import Manifest

__all__ = ["SHAPES", "TaskShape"]


@dataclass(frozen=True, slots=True)
class TaskShape:
    """Requirements of one task on its manifests.

    Attributes:
        takes_frames: the manifest holds an input contract; if False, a latent input.
        settings: manifest field that holds the task's settings; None for a task without settings.
        check: raises `BundleError` if outputs or golden cases do not match the task.
    """

    takes_frames: bool
    settings: str | None
    check: Callable[[Manifest], None]


def check_scores(manifest: Manifest) -> None:
    """Check that the first output holds one score per class and that golden cases name existing classes."""
    shape = manifest.outputs[0].shape
    if len(shape) != 1:
        raise BundleError(
            "bundle.json: the first output must hold one score per class", got=shape, expected="one dimension"
        )
    for case in manifest.golden:
        if case.top1 is not None and case.top1 >= shape[0]:
            raise BundleError(
                f"golden case {case.frame}: top1 is not a class of the model",
                got=case.top1,
                expected=f"0..{shape[0] - 1}",
            )


def _check_unclassified(manifest: Manifest) -> None:
    if manifest.labels or manifest.class_ids or any(case.top1 is not None for case in manifest.golden):
        check_scores(manifest)


def _check_reconstruct(manifest: Manifest) -> None:
    _check_unclassified(manifest)
    if manifest.contract is None:
        return
    shapes = tuple(output.shape for output in manifest.outputs)
    expected = manifest.contract.tensor_shape()[1:]
    # A model that compares with known good patches has no reconstruction.
    fits = (
        len(shapes) in (2, 3)
        and len(shapes[-2]) == 2
        and shapes[-1] == (1,)
        and (len(shapes) == 2 or shapes[0] == expected)
    )
    if not fits:
        raise BundleError(
            "bundle.json: the outputs are not those of the task reconstruct",
            got=shapes,
            expected=f"heat map (height, width), score (1,); before them a reconstruction {expected} or nothing",
        )


def _check_generate(manifest: Manifest) -> None:
    _check_unclassified(manifest)
    shape = manifest.outputs[0].shape
    if manifest.latent is not None and not (len(shape) == 3 and shape[0] == manifest.latent.channels):
        raise BundleError(
            "bundle.json: the output is not an image",
            got=shape,
            expected=f"({manifest.latent.channels}, height, width)",
        )


def _check_multilabel(manifest: Manifest) -> None:
    check_scores(manifest)
    output = manifest.outputs[0]
    if len(manifest.outputs) != 1 or output.activation != "sigmoid":
        raise BundleError(
            "bundle.json: the outputs are not those of the task multilabel",
            got=", ".join(f"{one.name} {one.shape}, activation {one.activation}" for one in manifest.outputs),
            expected="one output of probabilities, activation sigmoid",
        )
    if manifest.multilabel is not None and len(manifest.multilabel.thresholds) != output.shape[0]:
        raise BundleError(
            "multilabel.thresholds: must be one per class",
            got=len(manifest.multilabel.thresholds),
            expected=output.shape[0],
        )


SHAPES: dict[str, TaskShape] = {
    "classify": TaskShape(True, None, check_scores),
    "multilabel": TaskShape(True, "multilabel", _check_multilabel),
    "reconstruct": TaskShape(True, "anomaly", _check_reconstruct),
    "generate": TaskShape(False, None, _check_generate),
}
"""Task -> requirements on its manifests. The rest of a task's record is in `edgeproof_runtime.tasks`."""
