"""Splits of a dataset (train, val, test) by the names that people give them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from edgeproof_runtime.data.images import FOREIGN_FOLDERS, looks_like_image, own_files
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.text import some

__all__ = [
    "EVALUATION",
    "TRAINING",
    "Located",
    "Pick",
    "group_files",
    "locate",
    "pick_split",
    "same_split",
    "split_folders",
    "split_of",
    "subfolders",
]

T = TypeVar("T")

EVALUATION = ("test", "val")
"""Splits tried without ``--split``, in this order."""
TRAINING = ("train", "val")
"""The same for calibration images."""

_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing", "tst", "evaluation"),
}
_SPLIT_OF = {name: split for split, names in _NAMES.items() for name in names}
_NAMED = re.compile(r"([a-z]+?)(?:[_ -]?(?:set|data|dataset|images|imgs|split))?(?:[0-9]{4})?")
_FOLD = re.compile(r"(?:fold|cv|part|k)[_ -]?\d+")
_OF_IMAGES = ("images", "imgs", "image", "img")
_DEEPEST = 3  # folders above the splits, such as dataset/images/train


@dataclass(frozen=True, slots=True)
class Pick:
    """A chosen split.

    Attributes:
        name: its name in the dataset, such as ``valid``.
        note: sentence for people; empty if the split was asked for by name.
    """

    name: str
    note: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """The note, if there is one."""
        return (self.note,) if self.note else ()


@dataclass(frozen=True, slots=True)
class Located:
    """Folder of the images of a dataset.

    Attributes:
        root: folder of the chosen split, or the dataset's own folder.
        split: name of the split; None if the dataset has none.
        notes: sentences for people.
    """

    root: Path
    split: str | None = None
    notes: tuple[str, ...] = ()


def split_of(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` if a name is usual for it: ``Valid``, ``test_set``, ``val2017``."""
    found = _NAMED.fullmatch(name.lower())
    return None if found is None else _SPLIT_OF.get(found.group(1))


def same_split(name: str, split: str) -> bool:
    """Return whether a folder or file stem is named after the split that was asked for, by any of its names."""
    return name == split or (split_of(name) is not None and split_of(name) == split_of(split))


def pick_split(
    found: Mapping[str, T],
    split: str | None,
    where: str,
    *,
    prefer: Sequence[str] = EVALUATION,
    unusable: Mapping[str, str] | None = None,
) -> Pick:
    """Choose a split by name, or the first of ``prefer`` that there is.

    Args:
        found: splits of the dataset by their names there.
        split: the name asked for; None means automatic.
        where: the dataset, for messages.
        prefer: names tried in this order if ``split`` is None.
        unusable: why a split is left out of the automatic choice, by name.

    Raises:
        InputError: no such split, or two folders have names of the same one.
    """
    there = ", ".join(sorted(found))
    if split is not None:
        wanted = [split] if split in found else [name for name in found if same_split(name, split)]
        if len(wanted) == 1:
            return Pick(wanted[0])
        raise InputError(
            f"{where}: no split {split}" if not wanted else f"{where}: split {split} is ambiguous",
            got=f"splits {there}",
            expected="one of these",
            fix=f"--split {(wanted or sorted(found, key=lambda name: (split_of(name) not in prefer, name)))[0]}",
        )
    left_out = unusable or {}
    missing: list[str] = []
    for wish in prefer:
        names = [name for name in found if split_of(name) == wish and name not in left_out]
        if len(names) > 1:
            raise InputError(
                f"{where}: more than one split is named like {wish}", got=", ".join(names), fix=f"--split {names[0]}"
            )
        if names:
            why = f"no {' or '.join(missing)} found; " if missing else ""
            reasons = "".join(f"{name} {reason}; " for name, reason in left_out.items() if split_of(name) in missing)
            return Pick(names[0], f"dataset: split {names[0]} ({reasons or why}of {there}; --split chooses).")
        missing.append(wish)
    raise InputError(
        f"{where}: no {' or '.join(prefer)} split",
        got=f"splits {there}" + "".join(f"; {name} {reason}" for name, reason in left_out.items()),
        expected=" or ".join(prefer),
        fix=f"--split {min(found, key=lambda name: (name in left_out, name))}",
    )


def group_files(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Group files named after a split, such as ``train-00001-of-00002.parquet``, by its name; empty unless all are."""
    groups: dict[str, list[Path]] = {}
    for file in files:
        found = re.match(r"[A-Za-z]+\d*", file.name)
        name = "" if found is None else found.group()
        if split_of(name) is None or len({split_of(word) for word in re.split(r"[\W_]+", file.stem)} - {None}) > 1:
            return {}  # `train_test_split.txt` says which image is of which split
        groups.setdefault(name, []).append(file)
    return groups


def split_folders(root: Path, known: Collection[str] = ()) -> dict[str, Path]:
    """Return the split folders of a dataset by name; empty if its folders are classes.

    Args:
        root: folder of the dataset.
        known: names of classes. A folder ``train`` of images among vehicles is a class.

    Raises:
        InputError: some folders look like splits and others like classes.
    """
    folders = subfolders(root)
    splits = {folder.name: folder for folder in folders if split_of(folder.name) is not None}
    if not splits:
        return {}
    flat = all(not subfolders(folder) and holds_images(folder) for folder in splits.values())
    if flat and set(splits) <= set(known):
        return {}
    others = [folder for folder in folders if folder.name not in splits and holds_images(folder)]
    if others and {folder.name for folder in (*others, *splits.values())} <= set(known):
        return {}
    if not others or all(subfolders(folder) or not holds_images(folder) for folder in splits.values()):
        return splits
    if flat and len(others) >= len(splits):
        return {}
    raise InputError(
        f"{root}: holds both split folders and other folders of images",
        got=", ".join(sorted([*splits, *(folder.name for folder in others)])[:8]),
        expected="only splits (train, val, test), or only classes",
        fix=f"--data {root / next(iter(splits))}, or move the other folders away",
    )


def locate(
    path: Path, split: str | None, *, prefer: Sequence[str] = EVALUATION, known: Collection[str] = (), labelled: bool
) -> Located:
    """Find the folder of a dataset's split.

    Args:
        path: folder of the dataset.
        split: split asked for; None means the first of ``prefer``, or the whole folder if it has no splits.
        prefer: see `pick_split`.
        known: names of classes; see `split_folders`.
        labelled: whether class folders are required.

    Raises:
        InputError: no such split, or splits and classes cannot be told apart.
    """
    root = path
    for _ in range(_DEEPEST):
        splits = split_folders(root, known)
        if splits:
            return _chosen(root, splits, split, prefer, labelled=labelled)
        if split is not None and split not in known and (root / split).is_dir():
            return Located(root / split, split)
        # Two are enough to know, and a dataset may have a thousand.
        inner = list(islice((folder for folder in subfolders(root) if holds_images(folder)), 2))
        if len(inner) != 1 or inner[0].name in known or not subfolders(inner[0]):
            break
        root = inner[0]
    if split is not None:
        raise InputError(
            f"{path}: no split {split}",
            got=_listed(path),
            expected=f"a folder {path / split}",
            fix="leave --split out",
        )
    _refuse_inner_splits(root)
    _refuse_folds(root, known)
    # A folder around the class folders, as archives have it; one folder alone is a class.
    return Located(root if root != path and len(subfolders(root)) > 1 else path)


def _chosen(
    root: Path, splits: Mapping[str, Path], split: str | None, prefer: Sequence[str], *, labelled: bool
) -> Located:
    unusable = {name: why for name, folder in splits.items() if (why := _unusable(folder, labelled=labelled))}
    if len(unusable) == len(splits):
        unusable = {}
    pick = pick_split(splits, split, str(root), prefer=prefer, unusable=unusable)
    others = [folder.name for folder in subfolders(root) if folder.name not in splits and holds_images(folder)]
    notes = (f"dataset: {root}: not used: {', '.join(others)}.",) if others else ()
    return Located(splits[pick.name], pick.name, (*pick.notes, *notes))


def _unusable(folder: Path, *, labelled: bool) -> str:
    if not holds_images(folder):
        # A split of another form, such as Parquet, is not for this function to judge.
        return "" if any(p.is_file() and not p.name.startswith(".") for p in folder.iterdir()) else "is empty"
    classes = [inner for inner in subfolders(folder) if inner.name.lower() not in _OF_IMAGES]
    return "has no class folders" if labelled and not classes and not _tables(folder) else ""


def _tables(folder: Path) -> bool:
    return any(p.suffix.lower() in (".csv", ".tsv", ".json", ".jsonl", ".txt") for p in folder.iterdir() if p.is_file())


def _refuse_inner_splits(path: Path) -> None:
    """Refuse ``CLASS/train/IMAGE``: evaluating would take the training images too."""
    folders = subfolders(path)
    inner = {inside.name for folder in folders for inside in subfolders(folder)}
    if len(folders) > 1 and inner and all(split_of(name) for name in inner):
        raise InputError(
            f"{path}: splits inside the class folders",
            got=f"{folders[0].name}/{{{','.join(sorted(inner))}}}",
            expected=f"{path}/SPLIT/CLASS/IMAGE",
            fix=f"move them: {sorted(inner)[0]}/{folders[0].name} instead of {folders[0].name}/{sorted(inner)[0]}",
        )


def _refuse_folds(path: Path, known: Collection[str]) -> None:
    """Refuse ``fold1/CLASS/IMAGE``: the folds are not the classes.

    Folders of other names are folds if all folders in them are named like classes, or if they are called folds and hold
    the same folders.
    """
    folders = subfolders(path)
    if len(folders) < 2 or any(folder.name in known for folder in folders):
        return
    inside = [{inner.name for inner in subfolders(folder) if holds_images(inner)} for folder in folders]
    every = set().union(*inside)
    same = len(every) > 1 and all(names == every for names in inside)
    if (len(every) > 1 and every <= set(known)) or (same and all(_FOLD.fullmatch(f.name.lower()) for f in folders)):
        first = folders[0].name
        raise InputError(
            f"{path}: class folders inside other folders",
            got=f"{first}/{{{some(sorted(inside[0]))}}} and {len(folders) - 1} more like {first}",
            expected=f"{path}/CLASS/IMAGE, or split folders train, val, test",
            fix=f"--split {first} for one of them, or join the folders of each class",
        )


def subfolders(path: Path) -> list[Path]:
    """Return the folders directly below a folder, sorted as text, without hidden ones and those of other programs."""
    return sorted(
        p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in FOREIGN_FOLDERS
    )


def _listed(path: Path) -> str:
    names = [folder.name for folder in subfolders(path)]
    return f"folders {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "no folders"


def holds_images(folder: Path) -> bool:
    """Return whether a folder has an image at any depth."""
    return any(looks_like_image(path) for path in own_files(folder))
