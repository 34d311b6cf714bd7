"""Images that an export is tested on: given data, else photographs that a package ships, else drawn images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeproof_export.labels import Labels
from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.data.store import ArrayStore, FileStore
from edgeproof_runtime.errors import InputError

__all__ = ["Images", "evenly", "open_images"]

# Files that scikit-image has in its wheel: things that ImageNet knows first, then other photographs.
_PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "camera.png", "astronaut.png")
_DRAWN = 8


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images, with their labels where they have some.

    Attributes:
        name: for people.
        images: all of them.
        labelled: the same with class indices; None without labels.
        notes: sentences for people.
    """

    name: str
    images: ImageList
    labelled: LabelledData | None = None
    notes: tuple[str, ...] = ()


def evenly(length: int, count: int) -> list[int]:
    """At most ``count`` positions of ``length``, evenly spread, first and last among them."""
    if count >= length:
        return list(range(length))
    return sorted({round(i * (length - 1) / max(1, count - 1)) for i in range(count)})


def open_images(data: str | None, labels: Labels, *, class_ids: Path | None, split: str) -> Images:
    """Open ``--data``; without it, scikit-image's photographs, or drawn images where that is not installed.

    Args:
        data: a folder of class folders or of images, an ``.npz``, ``cifar10``, or None.
        labels: of the model.
        class_ids: file with the folder names that the labels have, if they have some.
        split: which part of the dataset.

    Raises:
        InputError: there is nothing to read.
    """
    if data is None:
        return _embedded()
    if data == "cifar10":
        from edgeproof_export.datasets import cifar10

        found = cifar10(split=split)
        return Images("cifar10", found.images, found)
    path = Path(data)
    if path.is_dir() and not _has_class_folders(path):
        return Images(data, ImageList.open(path, split=split))
    if path.is_file() and path.suffix != ".npz":
        return Images(data, ImageList.open(path, split=split))
    try:
        ids = class_ids if labels.ids is not None and _names_folders(labels.ids, path, split) else None
        labelled = LabelledData.open(path, labels.names, class_ids=ids, split=split)
    except InputError as error:
        # Parity needs no labels; what they are missing for is said.
        images = ImageList.open(path, split=split)
        reason = error.what if error.got is None else f"{error.what} ({error.got})"
        note = f"{data} is used without labels, so PyTorch's accuracy was not measured: {reason}."
        return Images(data, images, notes=(note,))
    return Images(data, labelled.images, labelled)


def _has_class_folders(path: Path) -> bool:
    return any(p.is_dir() and not p.name.startswith(".") for p in path.iterdir())


def _names_folders(ids: Sequence[str], path: Path, split: str) -> bool:
    if not path.is_dir():
        return False
    root = path / split if split not in ids and (path / split).is_dir() else path
    return any(p.is_dir() and p.name in ids for p in root.iterdir())


def _embedded() -> Images:
    spec = util.find_spec("skimage")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "data"
        paths = [folder / name for name in _PHOTOGRAPHS if (folder / name).is_file()]
        if paths:
            return Images("scikit-image's photographs", ImageList(FileStore(folder, paths)))
    return Images(
        "drawn pictures",
        ImageList(ArrayStore(np.stack([_draw(seed) for seed in range(_DRAWN)]), "drawn")),
        notes=(
            "The gates ran on drawn pictures, not on photographs: give your own with --data, or install scikit-image.",
        ),
    )


def _draw(seed: int) -> NDArray[np.uint8]:
    """A scene of gradients, ellipses and noise: RGB uint8 240x320, the same on every machine."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, 320)[None, :, None] * rng.uniform(0.3, 1.0, 3)
    canvas = np.ascontiguousarray(np.broadcast_to(ramp, (240, 320, 3))).astype(np.uint8)
    for _ in range(12):
        centre = (int(rng.integers(320)), int(rng.integers(240)))
        axes = (int(rng.integers(8, 90)), int(rng.integers(8, 90)))
        color = [int(v) for v in rng.integers(0, 256, 3)]
        cv2.ellipse(canvas, centre, axes, float(rng.integers(180)), 0, 360, color, -1)
    noisy = canvas + rng.normal(0, 6, canvas.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
