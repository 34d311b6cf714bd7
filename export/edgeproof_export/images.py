"""Images for the gates of an export: given data, else photographs of scikit-image, else drawn images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeproof_export.labels import Labels
from edgeproof_runtime.data.bands import bands_in_force
from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.data.store import ArrayStore, FileStore
from edgeproof_runtime.errors import InputError

__all__ = ["Images", "evenly", "open_images"]

# Files in scikit-image's wheel: first objects of ImageNet's classes, then other photographs.
_PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "camera.png", "astronaut.png")
_DRAWN = 8


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images, with labels if available.

    Attributes:
        name: name for messages.
        images: all images.
        labelled: the same images with class indices; None without labels.
        notes: notes for the report.
    """

    name: str
    images: ImageList
    labelled: LabelledData | None = None
    notes: tuple[str, ...] = ()


def evenly(length: int, count: int) -> list[int]:
    """Return at most ``count`` evenly spread positions of ``length``, first and last included."""
    if count >= length:
        return list(range(length))
    return sorted({round(i * (length - 1) / max(1, count - 1)) for i in range(count)})


def open_images(data: str | None, labels: Labels, *, class_ids: Path | None, split: str) -> Images:
    """Open ``--data``; without it, scikit-image's photographs, or drawn images if that is not installed.

    Args:
        data: a folder of class folders or of images, an ``.npz``, ``cifar10``, or None.
        labels: labels of the model.
        class_ids: file with the folder names of the labels, or None.
        split: split of the dataset.

    Raises:
        InputError: the data cannot be read.
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
        # Parity needs no labels; note what was not measured.
        images = ImageList.open(path, split=split)
        reason = error.what if error.got is None else f"{error.what} ({error.got})"
        note = f"{data}: used without labels, PyTorch's accuracy was not measured: {reason}."
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
    bands = bands_in_force()
    if bands is not None:
        drawn = np.stack([_draw(seed, bands.channels) for seed in range(_DRAWN)])
        scaled = drawn if bands.dtype == "uint8" else drawn.astype(bands.dtype) * np.asarray(257, bands.dtype)
        note = f"The gates used drawn images of {bands.channels} channels: add --data DATA."
        return Images("drawn images", ImageList(ArrayStore(scaled, "drawn")), notes=(note,))
    spec = util.find_spec("skimage")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "data"
        paths = [folder / name for name in _PHOTOGRAPHS if (folder / name).is_file()]
        if paths:
            return Images("scikit-image's photographs", ImageList(FileStore(folder, paths)))
    return Images(
        "drawn images",
        ImageList(ArrayStore(np.stack([_draw(seed) for seed in range(_DRAWN)]), "drawn")),
        notes=("The gates used drawn images, not photographs: add --data DATA, or install scikit-image.",),
    )


def _draw(seed: int, channels: int = 3) -> NDArray[np.uint8]:
    """Draw a scene of gradients, ellipses and noise: uint8 240x320, RGB or more, the same on every machine."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, 320)[None, :, None] * rng.uniform(0.3, 1.0, channels)
    canvas = np.ascontiguousarray(np.broadcast_to(ramp, (240, 320, channels))).astype(np.uint8)
    for _ in range(12):
        centre = (int(rng.integers(320)), int(rng.integers(240)))
        axes = (int(rng.integers(8, 90)), int(rng.integers(8, 90)))
        color = rng.integers(0, 256, channels)
        inside = np.zeros(canvas.shape[:2], np.uint8)
        cv2.ellipse(inside, centre, axes, float(rng.integers(180)), 0, 360, [1], -1)
        canvas[inside == 1] = color
    noisy = canvas + rng.normal(0, 6, canvas.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)
