"""The result of reading a dataset, whatever its form, and what its readers share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from edgeproof_runtime.data.splits import EVALUATION
from edgeproof_runtime.data.store import PictureStore
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.bounds import require_at_most, require_texts
from edgeproof_runtime.system.spec import SPEC

__all__ = [
    "Form",
    "Found",
    "NoLabelsError",
    "ReadError",
    "Reading",
    "below",
    "column_named",
    "image_file",
    "image_root",
    "moved",
    "require_few",
]

IMAGE_COLUMNS = (
    "image",
    "img",
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "image_path",
    "image_file",
    "picture",
    "jpg",
    "jpeg",
    "png",
    "webp",
)
LABEL_COLUMNS = ("label", "class", "target", "category", "class_name", "label_name", "labels", "y", "cls", "fine_label")
_ELSEWHERE = re.compile(r"/|[A-Za-z]:/|[a-z][a-z0-9+.-]*://")
_SUFFIXES: tuple[str, ...] = tuple(SPEC["sources"]["image_suffixes"])


class ReadError(InputError):
    """A file of a known form that is damaged, or whose content is not recognised."""


class NoLabelsError(InputError):
    """Images without labels, where labels are required."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a dataset is read.

    Attributes:
        split: split asked for; None means automatic.
        prefer: splits tried in this order if ``split`` is None.
        known: names of the model's classes.
        labelled: whether labels are required.
        exif: see `edgeproof_runtime.data.store.EncodedStore`.
    """

    split: str | None = None
    prefer: tuple[str, ...] = EVALUATION
    known: tuple[str, ...] = ()
    labelled: bool = True
    exif: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Images of a dataset, with their labels as stored.

    Attributes:
        store: the images.
        labels: a name or a number per image; None without labels.
        names: class names by number, if the dataset has them.
        every: names of classes that the dataset is known to have, also those without images in this split.
        by_index: whether numbers are class indices by the form's convention, and never names.
        what: what the labels are called in messages, such as ``class folders``.
        split: name of the split; None if the dataset has none.
        notes: sentences for people.

    Raises:
        InputError: a name or label is longer than 256 characters.
    """

    store: PictureStore
    labels: Sequence[str] | Sequence[int] | None = None
    names: tuple[str, ...] | None = None
    every: tuple[str, ...] = ()
    by_index: bool = False
    what: str = "labels of the dataset"
    split: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        texts = [label for label in self.labels or () if isinstance(label, str)]
        require_texts((*(self.names or ()), *self.every, *texts), self.what)


@dataclass(frozen=True, slots=True)
class Form:
    """A form of dataset files.

    Attributes:
        name: name for messages and documentation.
        suffixes: extensions of its files, in lower case.
        read: function from the files of one split to their content.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Sequence[Path], Reading], Found]


def column_named(columns: Sequence[str], wanted: Sequence[str], where: str, what: str) -> str | None:
    """Return the one column whose name is among ``wanted`` (any case); None if there is none.

    Raises:
        ReadError: several columns are, and none is named by the first word of ``wanted``.
    """
    found = [name for wish in wanted for name in columns if name.strip().lower() == wish]
    if len(found) > 1 and found[0].strip().lower() != wanted[0]:
        raise ReadError(
            f"{where}: more than one column of {what}", got=", ".join(found), fix=f"rename one to {wanted[0]}"
        )
    return found[0] if found else None


def require_few(count: int, where: str) -> None:
    """Refuse an absurd number of images.

    Raises:
        InputError: more than ``dataset_images`` of `edgeproof_runtime.system.bounds`.
    """
    require_at_most(count, "dataset_images", f"{where}: images")


def below(image: str, where: str, folder: Path | None = None) -> str:
    """Return a path below the dataset's folder, with ``/``.

    Args:
        image: the path as written.
        where: file and line, for messages.
        folder: the dataset's folder, in which an absolute path may lie.

    Raises:
        ReadError: the path leads out of the folder.
    """
    path = PurePosixPath(image.strip().replace("\\", "/"))
    if folder is not None and path.is_absolute() and path.is_relative_to(folder.absolute().as_posix()):
        path = path.relative_to(folder.absolute().as_posix())
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ReadError(
            f"{where}: invalid image path",
            got=repr(image),
            expected="a path below the folder of the file",
            fix="write paths relative to the file, and move the file above its images",
        )
    return path.as_posix()


def moved(image: str, folder: Path, told: list[str] | None = None) -> str:
    """Return the path below a folder of an image that a list names where it was made; others as they are.

    Absolute paths that are not of this machine, of Windows and with a scheme (``gs://``) keep the folders that are here
    as well, and their name.

    Args:
        image: the path as written.
        folder: the list's folder.
        told: receives a note.
    """
    path = image.strip().replace("\\", "/")
    if not _ELSEWHERE.match(path) or ".." in PurePosixPath(path).parts or _is_here(path):
        return image
    head, _, name = path.rpartition("/")
    here = _known_part(head, folder)
    if told is not None and name:
        left_out = head.removesuffix(here).rstrip("/")
        told.append(f"dataset: paths are of another place: {left_out}/ is left out.")
    return f"{here}/{name}" if here else name


def _is_here(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return True


@lru_cache(maxsize=4096)
def _known_part(head: str, folder: Path) -> str:
    """Return the longest end of a path whose folders are below the folder; empty if none is."""
    parts = [part for part in head.split("/") if part]
    for begin in range(1, len(parts)):
        end = "/".join(parts[begin:])
        if (folder / end).is_dir():
            return end
    return ""


def image_file(folder: Path, image: str) -> str | None:
    """Return an image's path below a folder: as written, or with the extension of its file; None without a file.

    Kaggle's lists have ids (``image_id``) of files ``ID.jpg``. Two files of one id are none.
    """
    if (folder / image).is_file():
        return image
    if image.lower().endswith(_SUFFIXES):
        return None
    found = [image + ending for suffix in _SUFFIXES for ending in (suffix, suffix.upper())]
    found = [name for name in found if (folder / name).is_file()]
    return found[0] if len(found) == 1 else None


def image_root(path: Path, image: str) -> Path:
    """Return the folder of a list's images: the list's own, or one beside it where people keep them.

    Args:
        path: the list, such as ``annotations/instances_val.json`` or ``train.csv``.
        image: an image of the list.
    """
    stem = path.stem.rsplit("_", 1)[-1]
    for base in (path.parent, path.parent.parent):
        for folder in (base, base / "images", base / "images" / stem, base / stem):
            if image_file(folder, image) is not None:
                return folder
    return path.parent
