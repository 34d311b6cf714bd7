"""Multi-label datasets: images with any number of labels each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.dataset import ImageList, LabelledImages
from edgeproof_runtime.data.forms.arrays import choose_arrays
from edgeproof_runtime.data.forms.record import Reading
from edgeproof_runtime.data.label_table import find_table, read_label_table, tables_of
from edgeproof_runtime.data.splits import EVALUATION
from edgeproof_runtime.data.store import ArrayStore, FileStore, array_names, load_npz
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self

__all__ = ["MultilabelData", "shown_matrix", "splits_of"]


class MultilabelData(LabelledImages[tuple[int, ...]]):
    """Images with any number of class indices each, ascending, in a fixed order.

    Args:
        images: the images.
        targets: class indices of each image; empty if it shows none.
        names: class names by index.
    """

    @classmethod
    def open(
        cls,
        path: str | Path,
        labels: Sequence[str] | None = None,
        *,
        split: str | None = None,
        prefer: Sequence[str] = EVALUATION,
        exif: bool = False,
    ) -> Self:
        """Open a label file, a folder with ``SPLIT.csv`` or ``SPLIT.json``, or an ``.npz``.

        Args:
            path: see `edgeproof_runtime.data.label_table.read_label_table` for the forms of a label file. An ``.npz``
                has ``x_SPLIT`` (uint8 ``NxHxWx3`` RGB or ``NxHxW`` grey) and ``y_SPLIT`` (``N x C``, 0 or 1).
            labels: the model's labels, by class index; None takes those of the dataset.
            split: part of the dataset; None means the first of ``prefer``.
            prefer: splits tried in this order.
            exif: turn images by their EXIF orientation.

        Raises:
            InputError: the dataset cannot be read, an image is missing, or a label is not among ``labels``.
        """
        path = Path(path)
        if path.suffix == ".npz":
            chosen, images, columns, notes = choose_arrays(path, Reading(split=split, prefer=tuple(prefer)))
            pictures, shown = load_npz(path, images, columns)
            found = cls.from_arrays(pictures, shown, labels, name=images)
            return cls(found.images.of_split(chosen, notes), found.targets, found.names)
        file, pick = find_table(path, split, prefer)
        table = read_label_table(file)
        names = table.labels if labels is None else tuple(labels)
        targets = table.targets(names)
        images_found = ImageList(FileStore(table.path.parent, table.files(), exif=exif))
        return cls(images_found if pick is None else images_found.of_split(pick.name, pick.notes), targets, names)

    @classmethod
    def from_arrays(
        cls, pictures: NDArray[Any], targets: NDArray[Any], labels: Sequence[str] | None = None, *, name: str
    ) -> Self:
        """Build a dataset from arrays.

        Args:
            pictures: uint8 ``NxHxWx3`` RGB, ``NxHxWx1`` or ``NxHxW`` grey.
            targets: ``N x C``, 0 or 1.
            labels: class names by index; None numbers them.
            name: name of the array; a sample is named ``name[17]``.

        Raises:
            InputError: a shape, dtype or target is invalid.
        """
        names = tuple(labels) if labels is not None else tuple(str(i) for i in range(targets.shape[-1]))
        if targets.ndim != 2 or targets.shape[1] != len(names) or not np.isin(targets, (0, 1)).all():
            values = f", values {np.unique(targets)[:5].tolist()}" if targets.size else ""
            raise InputError(
                f"{name}: invalid targets",
                got=f"{targets.dtype} {targets.shape}{values}",
                expected=f"0 or 1, (N, {len(names)}): one column per class",
            )
        return cls(ImageList(ArrayStore(pictures, name)), [_indices(row) for row in targets], names)

    @property
    def target_array(self) -> NDArray[np.int64]:
        return shown_matrix(self.targets, len(self.names)).astype(np.int64)

    def target_bytes(self, target: tuple[int, ...]) -> bytes:
        return b"".join(number.to_bytes(8, "little") for number in (len(target), *target))


def _indices(row: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.flatnonzero(row))


def shown_matrix(targets: Sequence[Sequence[int]], classes: int) -> NDArray[np.bool_]:
    """Return whether each image shows each class, ``N x classes``, from the class indices that each shows."""
    shown = np.zeros((len(targets), classes), np.bool_)
    for row, target in zip(shown, targets, strict=True):
        row[list(target)] = True
    return shown


def splits_of(path: Path) -> tuple[str, ...]:
    """Return which of ``train``, ``val`` and ``test`` a dataset has; a single label file is ``train``.

    Raises:
        InputError: an ``.npz`` cannot be read.
    """
    names = ("train", "val", "test")
    if path.suffix == ".npz":
        present = array_names(path)
        return tuple(split for split in names if f"x_{split}" in present)
    return tuple(split for split in names if tables_of(path, split)) if path.is_dir() else names[:1]
