"""Datasets by name."""

from __future__ import annotations

import numpy as np

from edgeproof_runtime.data.dataset import LabelledData
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.files import cache_folder

__all__ = ["CIFAR10_LABELS", "cifar10"]

CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10(*, split: str | None = None) -> LabelledData:
    """Open CIFAR-10 through torchvision, which downloads it once into edgeproof's cache.

    Args:
        split: ``train`` (50,000 images) or ``test`` (10,000, also if None).

    Raises:
        UnavailableError: torchvision is not installed.
        InputError: the download fails, or the split is unknown.
    """
    chosen = split or "test"
    if chosen not in ("train", "test"):
        raise InputError("cifar10: unknown split", got=split, expected="train or test")
    try:
        from torchvision.datasets import CIFAR10
    except ImportError as error:
        raise UnavailableError(
            "cifar10: requires torchvision, which is not installed", fix='pip install "edgeproof[export]"'
        ) from error
    try:
        found = CIFAR10(str(cache_folder() / "cifar10"), train=chosen == "train", download=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            "cifar10: cannot be downloaded",
            got=error,
            fix="use an .npz with x_test and y_test, or a folder, as --data",
        ) from error
    data = LabelledData.from_arrays(found.data, np.asarray(found.targets), classes=10, name="cifar10")
    return LabelledData(data.images.of_split(chosen, ()), data.targets, 10)
