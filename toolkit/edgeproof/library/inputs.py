"""Open what the functions of the library are given: bundles and labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeproof_runtime.bundle.manifest import Manifest
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.data.dataset import ImageList, LabelledImages
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.tasks.registry import task_of

__all__ = ["open_bundle", "open_calibration", "open_data", "reread"]


def open_bundle(bundle: str | Path | Bundle, *, again: bool = False) -> Bundle:
    """Open a bundle, unless it is open already.

    Args:
        bundle: path of a bundle, or an opened one.
        again: open it in any case: an opened bundle has the manifest of the time when it was opened, and to write
            that back would undo what was added since.

    Raises:
        BundleError: it is not a bundle, or is damaged.
    """
    if isinstance(bundle, Bundle):
        return Bundle.open(bundle.path) if again else bundle
    return Bundle.open(bundle)


def reread(bundle: Bundle) -> Bundle:
    """Return a bundle with the manifest that it has now; no file is checked again.

    Raises:
        BundleError: the manifest cannot be read.
    """
    path = bundle.path / "bundle.json"
    try:
        return Bundle(bundle.path, Manifest.from_json(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read", got=error, fix="export the bundle again") from error


def open_data(
    bundle: Bundle, data: str | Path, class_ids: str | Path | None = None, split: str = "test"
) -> LabelledImages[Any]:
    """Open the labelled images that a bundle's task is evaluated on.

    Args:
        bundle: an opened bundle.
        data: a folder of class folders, an ``.npz``, or ``cifar10``.
        class_ids: file of folder names, line number = class index; None takes the bundle's.
        split: ``x_SPLIT`` of an ``.npz``, or a subfolder of that name.

    Raises:
        InputError: the data cannot be read, or its classes are not the bundle's.
    """
    task = task_of(bundle)
    if data == "cifar10":
        from edgeproof_export.datasets import CIFAR10_LABELS, cifar10

        classes = bundle.manifest.outputs[0].shape[0]
        return cifar10(split=split).matched(CIFAR10_LABELS, bundle.labels or tuple(str(i) for i in range(classes)))
    if task.open_dataset is None:
        raise InputError(f"{bundle.path}: cannot be evaluated", got=f"task {task.name}, which {task.summary}")
    ids = None if class_ids is None else Path(class_ids)
    return task.open_dataset(bundle, data, class_ids=ids, split=split)


def open_calibration(
    bundle: Bundle, data: str | Path, class_ids: str | Path | None = None, split: str = "train"
) -> ImageList | LabelledImages[Any]:
    """Open calibration images: labelled where they are, so that every class takes part, else a plain list.

    Raises:
        InputError: the data cannot be read.
    """
    try:
        return open_data(bundle, data, class_ids, split)
    except InputError:
        return ImageList.open(data, split=split)
