"""Images for the gates of an export: given data, else photographs of scikit-image, else drawn images."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeproof_export.labels import Labels
from edgeproof_runtime.data.bands import bands_in_force
from edgeproof_runtime.data.class_order import ClassOrderError
from edgeproof_runtime.data.dataset import ImageList, LabelledData
from edgeproof_runtime.data.forms.record import NoLabelsError, ReadError
from edgeproof_runtime.data.options import DataOptions
from edgeproof_runtime.data.store import ArrayStore, FileStore
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.opencv import cv2

__all__ = ["Images", "embedded_images", "evenly", "open_images", "unlabelled"]

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


def open_images(data: str | None, labels: Labels, options: DataOptions) -> Images:
    """Open ``--data``; without it, scikit-image's photographs, or drawn images if that is not installed.

    Args:
        data: a dataset of any form, images without labels, ``cifar10``, or None.
        labels: labels of the model.
        options: split, order of the classes, EXIF.

    Raises:
        ClassOrderError: the order of the dataset's classes is not clear.
        InputError: the data cannot be read.
    """
    if data is None:
        return embedded_images()
    if data == "cifar10":
        from edgeproof_export.datasets import cifar10

        found = cifar10(split=options.split)
        return Images("cifar10", found.images, found)
    try:
        labelled = LabelledData.open(
            data,
            labels.names,
            class_ids=options.class_ids or labels.ids,
            split=options.split,
            prefer=options.prefer,
            class_order=options.class_order,
            exif=options.exif,
        )
    except InputError as error:
        asked = isinstance(error, ClassOrderError) or (isinstance(error, ReadError) and Path(data).is_file())
        if asked or options.class_order is not None:
            raise
        # Parity needs no labels; note what was not measured.
        found_images = unlabelled(data, options)
        reason = error.what if error.got is None else f"{error.what} ({error.got})"
        note = f"{data}: used without labels, PyTorch's accuracy was not measured: {reason}."
        return Images(data, found_images, notes=() if isinstance(error, NoLabelsError) else (note,))
    return Images(data, labelled.images, labelled)


def unlabelled(data: str, options: DataOptions) -> ImageList:
    """Open the images of a dataset without its labels.

    Raises:
        InputError: the data cannot be read.
    """
    return ImageList.open(data, split=options.split, prefer=options.prefer, exif=options.exif)


def embedded_images() -> Images:
    """Return scikit-image's photographs, or drawn images if that is not installed or has too few channels."""
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
