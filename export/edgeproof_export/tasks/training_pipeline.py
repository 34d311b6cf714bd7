"""Compare the scores of a bundle with those of the training's own preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from edgeproof_export.tasks.record import Advance, Measured, Reference, Transform
from edgeproof_runtime.bundle.task_settings import AnomalySettings
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.dataset import ImageList
from edgeproof_runtime.metrics.gate import Gate

__all__ = ["training_scores"]

# Of the threshold. anomalib resizes in float32, the contract rounds to uint8: 0.009 for a PaDiM of magnetic tiles. A
# resize without antialiasing, as in anomalib's own ONNX export, moves its scores by up to 1.0.
_LARGEST_SHARE = 0.05


def training_scores(
    images: ImageList,
    positions: Sequence[int],
    contract: InputContract,
    reference: Reference,
    transform: Transform,
    settings: AnomalySettings,
    advance: Advance,
) -> Measured:
    """Compare the reference's scores of the contract's tensors and of the training's, image by image.

    Args:
        images: the images.
        positions: positions of the images to use.
        contract: input contract.
        reference: the model; its last output is the score.
        transform: the training's transform of a PIL image.
        settings: threshold.
        advance: called with (done, total).
    """
    preprocess = Preprocessor(contract)
    bundled, trained = [], []
    for done, (_, picture) in enumerate(images.indexed(positions), 1):
        theirs: Any = transform(_pillow(picture.frame))
        bundled.append(float(reference(preprocess(picture.frame)[None])[-1].item()))
        trained.append(float(reference(theirs.numpy()[None])[-1].item()))
        advance(done, len(positions))
    first, second = np.array(bundled), np.array(trained)
    gate = Gate.judge(
        "training's preprocessing",
        "scores with the input contract, and with the preprocessing of the training",
        {
            "n": float(len(first)),
            "score_diff_of_threshold": float(np.abs(first - second).max()) / settings.threshold,
            "decisions_changed": float(((first > settings.threshold) != (second > settings.threshold)).sum()),
        },
        at_most={"score_diff_of_threshold": _LARGEST_SHARE},
    )
    return Measured(sections={}, counts={}, gates=[gate])


def _pillow(frame: Any) -> Image.Image:
    return Image.fromarray(frame if frame.ndim == 2 else np.ascontiguousarray(frame[:, :, ::-1]))
