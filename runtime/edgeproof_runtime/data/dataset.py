"""Datasets of images: class folders, ``.npz`` arrays and plain folders, read one image at a time."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.class_folders import class_index, some
from edgeproof_runtime.data.images import find_images, reason_of
from edgeproof_runtime.data.store import ArrayStore, FileStore, PictureStore, decode_ahead, load_npz
from edgeproof_runtime.errors import InputError, Skipped, SourceError

__all__ = ["ImageList", "LabelledData", "LabelledImages", "Picture", "Sample", "Skipped"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Picture:
    """One image: BGR uint8 ``HxWx3``, grey uint8 ``HxW``, or ``HxWxC`` where many channels are read."""

    frame: NDArray[Any]
    name: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image, a frame as in `Picture`, and its target as its dataset has it."""

    frame: NDArray[Any]
    target: Any
    name: str


class ImageList:
    """Images without labels, in a fixed order.

    Iterating decodes a few images ahead in threads, and may be repeated. EXIF orientation is ignored, as in
    torchvision's ``ImageFolder``. ``skipped`` lists files that are not images from the start, and damaged
    images once iteration reaches them.
    """

    def __init__(self, store: PictureStore) -> None:
        self._store = store
        self._damaged: dict[str, str] = {}

    @classmethod
    def open(cls, path: str | Path, *, split: str = "test") -> Self:
        """Open a folder of images (subfolders included), one image, or ``x_<split>`` of an ``.npz``.

        Raises:
            InputError: no images were found.
        """
        path = Path(path)
        if path.suffix == ".npz":
            (pictures,) = load_npz(path, f"x_{split}")
            return cls(ArrayStore(pictures, f"x_{split}"))
        if path.is_file():
            return cls(FileStore(path.parent, [path]))
        pictures_found, others = find_images(_existing_folder(path))
        if not pictures_found:
            raise InputError(f"{path}: no images", got=f"{len(others)} other files", expected="JPEG, PNG, ...")
        return cls(FileStore(path, pictures_found, dict.fromkeys(others, "not an image")))

    @property
    def skipped(self) -> list[Skipped]:
        """Files that are not images, then the images that proved damaged."""
        return [*self._store.not_pictures, *(Skipped(*item) for item in self._damaged.items())]

    def __len__(self) -> int:
        """Number of images listed, damaged ones included."""
        return len(self._store)

    def __iter__(self) -> Iterator[Picture]:
        for _, picture in self.indexed():
            yield picture

    def indexed(self, positions: Sequence[int] | None = None) -> Iterator[tuple[int, Picture]]:
        """Yield each readable image with its position in the list.

        Args:
            positions: images to read, in this order; None reads all.
        """
        for index, frame in decode_ahead(self._store, positions):
            name = self._store.name(index)
            if isinstance(frame, SourceError):
                self._damaged[name] = reason_of(frame, name)
            else:
                yield index, Picture(frame, name)

    def digest(self, index: int) -> bytes:
        """Return SHA-256 over name and stored bytes of one image; an unreadable file counts as empty."""
        name = self._store.name(index)
        try:
            content = self._store.content(index)
        except OSError:
            content = b""
        return hashlib.sha256(name.encode() + b"\0" + hashlib.sha256(content).digest()).digest()

    def fingerprint(self) -> str:
        """Return SHA-256 (hex) over names and contents in order; it does not depend on the path."""
        total = hashlib.sha256()
        for index in range(len(self)):
            total.update(self.digest(index))
        return total.hexdigest()


class LabelledImages(ABC, Generic[T]):
    """Images with a target each, in a fixed order.

    Args:
        images: the images.
        targets: one target per image.
        names: class names by index; empty if unnamed.

    Raises:
        InputError: the number of targets differs from the number of images.
    """

    def __init__(self, images: ImageList, targets: Sequence[T], names: Sequence[str]) -> None:
        if len(images) != len(targets):
            raise InputError("targets: must be one per image", got=f"{len(targets)} for {len(images)} images")
        self.images = images
        self.targets = tuple(targets)
        self.names = tuple(names)

    @property
    def skipped(self) -> list[Skipped]:
        """Files that could not be read; see `ImageList`."""
        return self.images.skipped

    def __len__(self) -> int:
        """Number of images listed, damaged ones included."""
        return len(self.images)

    def __iter__(self) -> Iterator[Sample]:
        for index, picture in self.images.indexed():
            yield Sample(picture.frame, self.targets[index], picture.name)

    @property
    @abstractmethod
    def target_array(self) -> NDArray[np.int64]:
        """The targets as one array: class index ``N``, or ``N x C`` with 0 and 1."""

    @abstractmethod
    def target_bytes(self, target: T) -> bytes:
        """Encode a target for the fingerprint."""

    def fingerprint(self) -> str:
        """Return SHA-256 (hex) over names, targets and contents in order; it does not depend on the path."""
        total = hashlib.sha256()
        for index, target in enumerate(self.targets):
            total.update(self.images.digest(index) + self.target_bytes(target))
        return total.hexdigest()


class LabelledData(LabelledImages[int]):
    """Images with their class indices, in a fixed order.

    Args:
        images: the images.
        targets: one class index per image.
        classes: number of classes of the model.
        names: class names by index; empty if unnamed.

    Raises:
        InputError: the targets do not match the images or the classes.
    """

    def __init__(self, images: ImageList, targets: Sequence[int], classes: int, names: Sequence[str] = ()) -> None:
        wrong = [t for t in targets if not 0 <= t < classes]
        if wrong:
            raise InputError(
                "targets: class index out of range",
                got=f"class index {wrong[0]}",
                expected=f"0..{classes - 1}",
                fix="use the labels that the dataset was made with",
            )
        super().__init__(images, [int(t) for t in targets], names)

    @classmethod
    def open(
        cls,
        path: str | Path,
        labels: Sequence[str],
        *,
        class_ids: str | Path | None = None,
        split: str = "test",
    ) -> Self:
        """Open class folders (``<path>/<class>/<image>``) or the arrays ``x_<split>``, ``y_<split>`` of an ``.npz``.

        A folder's class index is the first of: its line in ``class_ids``; its position in ``labels``, if every
        folder is named after a label; its position among the sorted folders, if there are as many folders as
        labels (torchvision's ``ImageFolder``). Anything else is an error. ``<path>/<split>`` is used instead of
        ``<path>`` if it is a folder and ``split`` is not a label.

        Args:
            path: a folder or an ``.npz`` with uint8 ``NxHxWx3`` RGB or ``NxHxW`` grey images (Keras' convention).
            labels: the model's labels, in the order of its outputs.
            class_ids: text file with one folder name per line; line number = class index.
            split: part of the dataset.

        Raises:
            InputError: no images were found, or the folders cannot be matched with the classes.
        """
        path = Path(path)
        if path.suffix == ".npz":
            pictures, targets = load_npz(path, f"x_{split}", f"y_{split}")
            return cls.from_arrays(pictures, targets, classes=len(labels), name=f"x_{split}")
        root = _existing_folder(path)
        if split not in labels and (root / split).is_dir():
            root = root / split
        files, others = find_images(root)
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        if not folders:
            raise InputError(
                f"{root}: no class folders",
                got=f"{len(files)} images",
                expected="one folder per class with its images",
            )
        index = class_index(folders, labels, class_ids)
        inside = [p for p in files if p.parent != root]
        if not inside:
            raise InputError(f"{root}: no images in the class folders", got=f"{len(others)} other files")
        left_out = dict.fromkeys(others, "not an image")
        left_out |= {p: "not in a class folder" for p in files if p.parent == root}
        class_of = [index[p.relative_to(root).parts[0]] for p in inside]
        return cls(ImageList(FileStore(root, inside, left_out)), class_of, len(labels), labels)

    @classmethod
    def from_arrays(cls, pictures: NDArray[Any], targets: NDArray[Any], *, classes: int, name: str) -> Self:
        """Build a dataset from arrays in memory.

        Args:
            pictures: uint8 ``NxHxWx3`` RGB, ``NxHxWx1`` or ``NxHxW`` grey.
            targets: integers, ``N`` or ``Nx1``.
            classes: number of classes of the model.
            name: name of the array; a sample is named ``name[17]``.

        Raises:
            InputError: a shape, dtype or target is invalid.
        """
        flat = targets.reshape(-1) if targets.ndim == 2 and targets.shape[1] == 1 else targets
        if flat.ndim != 1 or not np.issubdtype(flat.dtype, np.integer):
            raise InputError(
                "targets: must be one class index per image",
                got=f"{targets.dtype} {targets.shape}",
                expected="integers (N,)",
            )
        return cls(ImageList(ArrayStore(pictures, name)), flat.tolist(), classes)

    def matched(self, names: Sequence[str], labels: Sequence[str]) -> LabelledData:
        """Map the targets to a model's class indices: by name if it has all the names, else by position.

        Args:
            names: class names of this dataset.
            labels: the model's labels.

        Raises:
            InputError: the model has neither these names nor this number of classes.
        """
        if set(names) <= set(labels):
            index = [labels.index(name) for name in names]
            return LabelledData(self.images, [index[target] for target in self.targets], len(labels), labels)
        if len(names) != len(labels):
            missing = [name for name in names if name not in labels]
            raise InputError(
                "the dataset's classes do not match the model's",
                got=f"{len(names)} classes; not in the model: {some(missing)}",
                expected=f"labels of the model, such as {some(labels)}, or exactly {len(labels)} classes",
                fix="use a dataset with the model's classes, such as folders named after its labels",
            )
        return self

    @property
    def target_array(self) -> NDArray[np.int64]:
        return np.asarray(self.targets, np.int64)

    def target_bytes(self, target: int) -> bytes:
        return target.to_bytes(8, "little")


def _existing_folder(path: Path) -> Path:
    if path.is_dir():
        return path
    raise InputError(
        f"{path}: not a dataset",
        got="a file of another kind" if path.exists() else "no such file or folder",
        expected="a folder of images or an .npz file",
    )
