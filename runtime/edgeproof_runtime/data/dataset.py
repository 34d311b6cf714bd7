"""Datasets of images, with or without labels, read one image at a time."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.data.class_names import read_class_names
from edgeproof_runtime.data.class_order import match_classes
from edgeproof_runtime.data.forms.arrays import class_indices
from edgeproof_runtime.data.forms.record import NoLabelsError, Reading
from edgeproof_runtime.data.forms.registry import find_dataset
from edgeproof_runtime.data.images import reason_of
from edgeproof_runtime.data.splits import EVALUATION
from edgeproof_runtime.data.store import ArrayStore, FileStore, PictureStore, Traits, decode_ahead
from edgeproof_runtime.errors import InputError, Skipped, SourceError
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.text import some

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
    torchvision's ``ImageFolder``, unless the store applies it. ``skipped`` lists files that are not images from the
    start, and damaged images once iteration reaches them.

    Args:
        store: the images.
        split: name of the split they are; None if the dataset has none.
        notes: what people should know about the dataset, in sentences.
    """

    def __init__(self, store: PictureStore, *, split: str | None = None, notes: Sequence[str] = ()) -> None:
        self._store = store
        self._damaged: dict[str, str] = {}
        self._notes = tuple(notes)
        self.split = split

    @property
    def notes(self) -> list[str]:
        """What people should know: the split taken, the order of the classes, and what the images read so far hold."""
        return [*self._notes, *self._store.notes()]

    @classmethod
    def open(
        cls, path: str | Path, *, split: str | None = None, prefer: Sequence[str] = EVALUATION, exif: bool = False
    ) -> Self:
        """Open the images of a dataset of any form, or one image; labels are not read.

        Args:
            path: a folder (subfolders included) or a file; see `edgeproof_runtime.data.forms.registry`.
            split: part of the dataset; None means the first of ``prefer``, or all if the dataset has no splits.
            prefer: splits tried in this order.
            exif: turn images by their EXIF orientation.

        Raises:
            InputError: no images were found.
        """
        found = find_dataset(Path(path), Reading(split=split, prefer=tuple(prefer), labelled=False, exif=exif))
        return cls(found.store, split=found.split, notes=found.notes)

    def of_split(self, split: str | None, notes: Sequence[str]) -> ImageList:
        """Return the same images as a split's, with notes on its choice."""
        return ImageList(self._store, split=split, notes=(*notes, *self._notes))

    @property
    def skipped(self) -> list[Skipped]:
        """Files that are not images, then the images that proved damaged."""
        return [*self._store.not_pictures, *(Skipped(*item) for item in self._damaged.items())]

    @property
    def files(self) -> Sequence[Path] | None:
        """File of each image; None if they are stored otherwise."""
        return self._store.files if isinstance(self._store, FileStore) else None

    def name(self, index: int) -> str:
        """Return the name of an image."""
        return self._store.name(index)

    def note(self, index: int, traits: Traits, damage: str | None) -> None:
        """Take note of an image that a worker read elsewhere.

        Args:
            index: position of the image.
            traits: what its header says.
            damage: why it cannot be read; None if it can.
        """
        if damage is None:
            self._store.note(index, traits)
        else:
            self._damaged[self._store.name(index)] = damage

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
        # Turned images are other images.
        turned = b"\0exif" if self._store.exif else b"\0"
        return hashlib.sha256(name.encode() + turned + hashlib.sha256(content).digest()).digest()

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
        self.targets: tuple[T, ...] = tuple(targets)
        self.names: tuple[str, ...] = tuple(names)

    @property
    def skipped(self) -> list[Skipped]:
        """Files that could not be read; see `ImageList`."""
        return self.images.skipped

    @property
    def notes(self) -> list[str]:
        """What people should know about the dataset; see `ImageList`."""
        return self.images.notes

    @property
    def split(self) -> str | None:
        """Name of the split; None if the dataset has none."""
        return self.images.split

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
        ids: the dataset's own class names by index, if they were matched with the model's classes by their order.

    Raises:
        InputError: the targets do not match the images or the classes.
    """

    def __init__(
        self,
        images: ImageList,
        targets: Sequence[int],
        classes: int,
        names: Sequence[str] = (),
        *,
        ids: Sequence[str] | None = None,
    ) -> None:
        wrong = [t for t in targets if not 0 <= t < classes]
        if wrong:
            raise InputError(
                "targets: class index out of range",
                got=f"class index {wrong[0]}",
                expected=f"0..{classes - 1}",
                fix="count the classes from 0: subtract 1"
                if min(targets) == 1 and max(targets) == classes
                else "use the labels that the dataset was made with",
            )
        super().__init__(images, [int(t) for t in targets], names)
        self.ids: tuple[str, ...] | None = None if ids is None else tuple(ids)

    @classmethod
    def open(
        cls,
        path: str | Path,
        labels: Sequence[str],
        *,
        class_ids: str | Path | Sequence[str] | None = None,
        split: str | None = None,
        prefer: Sequence[str] = EVALUATION,
        class_order: str | None = None,
        exif: bool = False,
    ) -> Self:
        """Open a labelled dataset of any form; see `edgeproof_runtime.data.forms.registry`.

        Args:
            path: a file or folder.
            labels: the model's labels, in the order of its outputs; their indices if nothing named the classes.
            class_ids: file of folder names (see `edgeproof_runtime.data.class_names.read_class_names`), or the names;
                position = class index.
            split: part of the dataset; None means the first of ``prefer``, or all if the dataset has no splits.
            prefer: splits tried in this order.
            class_order: ``text`` or ``natural``: order of the dataset's class names that the model was trained with.
            exif: turn images by their EXIF orientation.

        Raises:
            ClassOrderError: the order of the classes is not clear.
            InputError: no images were found, or the dataset's classes cannot be matched with the model's.
        """
        source: str | None = None
        if isinstance(class_ids, str | Path):
            source, class_ids = str(class_ids), read_class_names(Path(class_ids), "class ids", len(labels))
        known = (*labels, *(class_ids or ()))
        found = find_dataset(Path(path), Reading(split=split, prefer=tuple(prefer), known=known, exif=exif))
        if found.labels is None:
            raise NoLabelsError(
                f"{path}: images without labels",
                got=f"{len(found.store)} images",
                expected="class folders, or a column of labels",
            )
        mapped = match_classes(found, labels, class_ids, source=source, order=class_order)
        images = ImageList(found.store, split=found.split, notes=(*found.notes, *mapped.notes))
        return cls(images, mapped.targets, len(labels), mapped.names, ids=mapped.ids)

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
        return cls(ImageList(ArrayStore(pictures, name)), class_indices(targets), classes)

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
