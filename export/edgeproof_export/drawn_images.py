"""Drawn images, on which a training's preprocessing is compared with an input contract."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.contract.contract import InputContract

__all__ = ["CHECKED_SIZES", "SAME_LEVELS", "drawn", "levels_apart"]

CHECKED_SIZES = ((97, 97), (97, 131), (240, 173), (300, 420), (301, 420), (300, 427), (333, 250))  # height, width
SAME_LEVELS = 0.01  # float32 rounding of rescale and normalize


def drawn(height: int, width: int) -> NDArray[np.uint8]:
    """Return an image with edges and gradients in every channel, uint8 ``HxWx3``."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / a + c) * np.cos(y / b) for a, b, c in ((7, 11, 0), (13, 5, 1), (9, 17, 2))]
    image = np.stack([127.5 + 100 * wave for wave in waves], axis=-1)
    image[height // 3 : height // 2, width // 4 : width // 2] = (255, 0, 128)
    found: NDArray[np.uint8] = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return found


def levels_apart(found: NDArray[np.generic], frame: NDArray[np.uint8], contract: InputContract) -> float:
    """Return the largest difference between a training's tensor and the contract's, in levels of 0..255.

    Args:
        found: the training's tensor of the frame, ``CxHxW``.
        frame: uint8 ``HxWx3`` BGR, or ``HxW`` gray.
        contract: the contract.
    """
    from edgeproof_export.golden import torchvision_tensor

    expected = torchvision_tensor(frame, contract).astype(np.float64)
    if found.shape != expected.shape:
        return 255.0
    level = np.asarray(contract.std)[:, None, None] * contract.scale
    return float(np.abs((found.astype(np.float64) - expected) * level).max())
