"""What ``bundle.json`` must hold for each task: its kind of input, its settings, the shapes of its outputs."""

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
    """What a manifest of one task must hold.

    Attributes:
        takes_frames: the input is an input contract; False where it is a latent input.
        settings: the manifest's field with the task's own settings; None where it has none.
        check: raises `BundleError` where the outputs or golden cases are not the task's.
    """

    takes_frames: bool
    settings: str | None
    check: Callable[[Manifest], None]


def check_scores(manifest: Manifest) -> None:
    """The first output must be one score per class, of which the golden cases name existing ones."""
    shape = manifest.outputs[0].shape
    if len(shape) != 1:
        raise BundleError("the first output holds no score of each class", got=shape, expected="one dimension")
    for case in manifest.golden:
        if case.top1 is not None and case.top1 >= shape[0]:
            raise BundleError(
                f"golden case {case.frame} has a top1 that is no class of the model",
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
    fits = len(shapes) == 3 and shapes[0] == expected and len(shapes[1]) == 2 and shapes[2] == (1,)
    if not fits:
        raise BundleError(
            "the outputs are not those of the task reconstruct",
            got=shapes,
            expected=f"reconstruction {expected}, heat map (height, width), score (1,)",
        )


def _check_generate(manifest: Manifest) -> None:
    _check_unclassified(manifest)
    shape = manifest.outputs[0].shape
    if manifest.latent is not None and not (len(shape) == 3 and shape[0] == manifest.latent.channels):
        raise BundleError(
            "the output is not an image", got=shape, expected=f"({manifest.latent.channels}, height, width)"
        )


def _check_multilabel(manifest: Manifest) -> None:
    check_scores(manifest)
    output = manifest.outputs[0]
    if len(manifest.outputs) != 1 or output.activation != "sigmoid":
        raise BundleError(
            "outputs: not those of the task multilabel",
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
"""Task -> what its manifests must hold. A task's record in `edgeproof_runtime.tasks` has the rest."""
