"""Open the inputs of the library's functions: bundles and labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.bands import bands_of, reading
from edgeproof_runtime.data.dataset import ImageList, LabelledImages
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.steps import step
from edgeproof_runtime.tasks.record import OpenDataset
from edgeproof_runtime.tasks.registry import task_of

__all__ = ["open_bundle", "open_calibration", "open_data"]


def open_bundle(bundle: str | Path | Bundle, *, again: bool = False) -> Bundle:
    """Open a bundle, unless it is already open.

    Args:
        bundle: path of a bundle, or an opened one.
        again: reopen an opened bundle: others may have added to it since.

    Raises:
        BundleError: not a bundle, or damaged.
    """
    if isinstance(bundle, Bundle):
        trust = None if bundle.signed is None else bundle.signed.trust
        return Bundle.open(bundle.path, trust=trust) if again else bundle
    return Bundle.open(bundle)


def open_data(
    bundle: Bundle, data: str | Path, options: DataOptions | None = None, *, opens: OpenDataset | None = None
) -> LabelledImages[Any]:
    """Open the labelled images for evaluating a bundle's task.

    Args:
        bundle: an opened bundle.
        data: a dataset of any form, or ``cifar10``.
        options: split, order of the classes, EXIF.
        opens: opens the dataset; None means the task's `open_dataset`.

    Raises:
        ClassOrderError: the order of the dataset's classes is not clear.
        InputError: the data cannot be read, or its classes are not the bundle's.
    """
    with reading(bands_of(bundle.manifest.contract)), step(f"open dataset {data}"):
        return _open_data(bundle, data, options or DataOptions(), opens or task_of(bundle).open_dataset)


def _open_data(bundle: Bundle, data: str | Path, wanted: DataOptions, opens: OpenDataset | None) -> LabelledImages[Any]:
    if data == "cifar10":
        from edgeproof_export.datasets import CIFAR10_LABELS, cifar10

        classes = bundle.manifest.outputs[0].shape[0]
        return cifar10(split=wanted.split).matched(
            CIFAR10_LABELS, bundle.labels or tuple(str(i) for i in range(classes))
        )
    if opens is None:
        task = task_of(bundle)
        raise InputError(f"{bundle.path}: cannot be evaluated", got=f"task {task.name}, which {task.summary}")
    return opens(bundle, data, wanted)


def open_calibration(bundle: Bundle, data: str | Path, options: DataOptions) -> ImageList | LabelledImages[Any]:
    """Open calibration images: with labels if available, to draw from every class, else as a plain list.

    Raises:
        InputError: the data cannot be read.
    """
    try:
        return open_data(bundle, data, options)
    except InputError:
        # Calibration draws from every class; which class is which does not matter to it.
        with reading(bands_of(bundle.manifest.contract)):
            return ImageList.open(data, split=options.split, prefer=options.prefer, exif=options.exif)
