"""``.npz`` files of images and class indices, named as Keras or MedMNIST name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeproof_runtime.data.forms.record import Found, Reading
from edgeproof_runtime.data.splits import pick_split, split_of
from edgeproof_runtime.data.store import ArrayStore, array_names, load_npz
from edgeproof_runtime.errors import InputError

__all__ = ["array_splits", "choose_arrays", "class_indices", "read_arrays"]


def array_splits(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return names of the arrays of images and of labels of each split of an ``.npz``."""
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        if name[:2] in ("x_", "X_"):
            split = name[2:]
            labels = f"Y_{split}" if f"Y_{split}" in names else f"y_{split}"
        elif name.endswith("_images"):
            split = name.removesuffix("_images")
            labels = f"{split}_labels"
        else:
            continue
        if split_of(split) is not None:
            found.setdefault(split, (name, labels))
    return found


def choose_arrays(path: Path, reading: Reading) -> tuple[str, str, str, tuple[str, ...]]:
    """Return split, names of its arrays of images and labels, and notes.

    Raises:
        InputError: the file is damaged, or has no such split.
    """
    splits = array_splits(array_names(path))
    if reading.split is not None and reading.split not in splits and split_of(reading.split) is None:
        # An array of any name, such as x_corrupted.
        return reading.split, f"x_{reading.split}", f"y_{reading.split}", ()
    if not splits:
        wanted = reading.split or reading.prefer[0]
        return wanted, f"x_{wanted}", f"y_{wanted}", ()
    pick = pick_split(splits, reading.split, str(path), prefer=reading.prefer)
    first = split_of(pick.name) == reading.prefer[0]
    return pick.name, *splits[pick.name], () if first else pick.notes


def read_arrays(files: Sequence[Path], reading: Reading) -> Found:
    """Read the images, and if asked for the class indices, of one split.

    Raises:
        InputError: an array is missing, or has another dtype or shape.
    """
    path = files[0]
    split, images, labels, notes = choose_arrays(path, reading)
    if not reading.labelled:
        (pictures,) = load_npz(path, images)
        return Found(ArrayStore(pictures, images), split=split, notes=notes)
    pictures, targets = load_npz(path, images, labels)
    store = ArrayStore(pictures, images)
    if targets.dtype.kind == "U" and targets.ndim == 1:
        return Found(store, [str(name) for name in targets], split=split, notes=notes)
    return Found(store, class_indices(targets), by_index=True, split=split, notes=notes)


def class_indices(targets: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> list[int]:
    """Return class indices from an array ``N`` or ``Nx1``, or one-hot ``NxC``; floats must be whole numbers.

    Raises:
        InputError: another shape, or other values.
    """
    flat = targets.reshape(-1) if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if targets.ndim == 2 and targets.shape[1] > 1 and targets.dtype.kind in "biuf" and _one_hot(targets):
        flat = targets.argmax(axis=1)
    numbers = flat.dtype.kind in "iu" or (
        flat.dtype.kind == "f" and bool((np.abs(flat) < 2.0**53).all() and (flat == np.floor(flat)).all())
    )
    if flat.ndim != 1 or not numbers:
        raise InputError(
            "targets: must be one class index per image",
            got=f"{targets.dtype} {targets.shape}",
            expected="integers (N,), one-hot (N, classes), or names (N,)",
        )
    indices: list[int] = flat.astype(np.int64).tolist()
    return indices


def _one_hot(targets: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bool:
    return bool((((targets == 0) | (targets == 1)).all(axis=1) & ((targets == 1).sum(axis=1) == 1)).all())
