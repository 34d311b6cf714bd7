"""The forms of datasets, and which of them a path has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from edgeproof_runtime.data.forms.annotations import lists_images, read_annotations
from edgeproof_runtime.data.forms.arrays import read_arrays
from edgeproof_runtime.data.forms.arrow import read_arrow, read_parquet
from edgeproof_runtime.data.forms.folders import read_class_folders, read_images
from edgeproof_runtime.data.forms.foreign import foreign_dataset
from edgeproof_runtime.data.forms.record import Form, Found, ReadError, Reading
from edgeproof_runtime.data.forms.webdataset import read_webdataset
from edgeproof_runtime.data.splits import (
    Pick,
    group_files,
    holds_images,
    locate,
    pick_split,
    same_split,
    split_folders,
    split_of,
    subfolders,
)
from edgeproof_runtime.data.store import FileStore
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.documents import read_document

__all__ = ["FORMS", "find_dataset"]

FORMS = (
    Form("annotations", (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt"), read_annotations),
    Form("arrays", (".npz",), read_arrays),
    Form("parquet", (".parquet",), read_parquet),
    Form("arrow", (".arrow",), read_arrow),
    Form("webdataset", (".tar",), read_webdataset),
)
# Beside folders of classes these are notes and lists of classes rather than datasets.
_TOO_COMMON = (".txt", ".json")
_UNPACK = {".zip": "unzip", ".tar.gz": "tar xf", ".tgz": "tar xf", ".tar.bz2": "tar xf", ".tar.xz": "tar xf"}
_STATE, _DICT = "state.json", "dataset_dict.json"
_EXPECTED = "class folders, a folder of images, .npz, .csv, .tsv, .json, .jsonl, .parquet or .tar"


def find_dataset(path: Path, reading: Reading) -> Found:
    """Read the dataset at a path, whatever its form.

    Args:
        path: a file or folder.
        reading: split and options.

    Raises:
        InputError: not a dataset, a damaged one, or one whose form is not clear.
        UnavailableError: a package for its form is not installed.
    """
    form = form_of(path)
    try:
        if path.is_dir():
            return _in_folder(path, reading)
        if form is not None:
            return _read(form, [path], reading, None)
    except OSError as error:  # no permission, a name too long for the system
        raise InputError(f"{path}: cannot be read", got=error.strerror or error, expected=_EXPECTED) from error
    if path.is_file() and not reading.labelled:
        return Found(FileStore(path.parent, [path], exif=reading.exif))
    raise _not_a_dataset(path)


def _not_a_dataset(path: Path) -> InputError:
    """Return an error that says what the path is, and how to come to a dataset."""
    address = re.fullmatch(r"([a-z][a-z0-9+.-]+):/+(.*)", path.as_posix())
    if address is not None:
        return InputError(
            f"{address[1]}://{address[2]}: not a dataset",
            got="an address",
            expected="files of this machine",
            fix="download it, and pass the folder",
        )
    if not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", path.as_posix()) and not path.parent.exists():
        return InputError(
            f"{path}: not a dataset",
            got="no such file or folder",
            expected=_EXPECTED,
            fix=f"a dataset of Hugging Face's Hub: hf download --repo-type dataset {path} --local-dir {path.name}, and "
            f"pass {path.name}",
        )
    foreign = foreign_dataset(path) if path.is_file() else None
    packed = next((command for suffix, command in _UNPACK.items() if path.name.lower().endswith(suffix)), None)
    return InputError(
        f"{path}: not a dataset",
        got=foreign.kind
        if foreign is not None
        else "an archive"
        if packed and path.is_file()
        else "a file of another kind"
        if path.exists()
        else "no such file or folder",
        expected=_EXPECTED,
        fix=foreign.fix if foreign is not None else None if packed is None else f"{packed} {path}, and pass the folder",
    )


def form_of(path: Path) -> Form | None:
    """Return the form of a file by its extension."""
    return next((form for form in FORMS if path.suffix.lower() in form.suffixes), None)


def _in_folder(path: Path, reading: Reading) -> Found:
    only = None if _is_dataset(path) or holds_images(path) else _only_dataset(path)
    if only is not None:
        return _in_folder(only, reading)
    splits = split_folders(path, reading.known)
    labelled_splits = any(subfolders(folder) for folder in splits.values())
    files = _split_files(path)
    if files and not labelled_splits and (reading.labelled or not holds_images(path)):
        pick = pick_split(files, reading.split, str(path), prefer=reading.prefer)
        return _of_files(files[pick.name], reading, pick)
    if not splits and (tables := _tables_instead(path, reading)):
        return _of_files(tables, reading, None)
    located = locate(path, reading.split, prefer=reading.prefer, known=reading.known, labelled=reading.labelled)
    root = located.root
    inner = replace(reading, split=None)
    found = _in_split(root, inner)
    # A model trained on `train` has its classes, also one that `val` has no images of.
    every: set[str] = set()
    if found.every and located.split is not None:
        siblings = split_folders(root.parent, reading.known)
        every = {folder.name for sibling in siblings.values() for folder in subfolders(sibling)}
    return replace(
        found,
        every=tuple(sorted({*found.every, *every})),
        split=located.split or found.split,
        notes=(*located.notes, *found.notes),
    )


def _in_split(root: Path, reading: Reading) -> Found:
    if (root / _STATE).is_file():
        return read_arrow(_saved_files(root), reading)
    if tables := _tables_instead(root, reading):
        return _of_files(tables, reading, None)
    if not holds_images(root) and (foreign := foreign_dataset(root)) is not None:
        raise InputError(f"{root}: not a dataset", got=foreign.kind, expected=_EXPECTED, fix=foreign.fix)
    return read_class_folders(root, reading) if reading.labelled else read_images(root, reading)


def _tables_instead(root: Path, reading: Reading) -> list[Path]:
    """Return the dataset files of a folder, unless its folders or its images are the dataset."""
    tables = _tables(root)
    if not tables and reading.labelled and not _several(subfolders(root)):
        lists = [p for p in sorted(root.iterdir()) if p.suffix.lower() == ".txt" and p.is_file() and lists_images(p)]
        return lists if len(lists) == 1 else []
    if not tables or not holds_images(root):
        return tables
    return tables if reading.labelled and not _several(subfolders(root)) else []


def _several(folders: Sequence[Path]) -> bool:
    """Return whether more than one folder holds images."""
    return len(list(islice((folder for folder in folders if holds_images(folder)), 2))) > 1


def _only_dataset(folder: Path) -> Path | None:
    """Return the folder below with dataset files, if it is the only one, as ``data`` on Hugging Face's Hub."""
    found = [inner for inner in subfolders(folder) if _is_dataset(inner)]
    return found[0] if len(found) == 1 else None


def _is_dataset(folder: Path) -> bool:
    return bool(_tables(folder) or _split_files(folder) or (folder / _STATE).is_file() or (folder / _DICT).is_file())


def _tables(folder: Path) -> list[Path]:
    """Return the dataset files of a folder, without those that are usually something else."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    return [p for p in files if form_of(p) is not None and p.suffix.lower() not in _TOO_COMMON]


def _split_files(folder: Path) -> dict[str, list[Path]]:
    """Return dataset files named after splits, such as ``test.csv`` or ``train-00000-of-00002.parquet``."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and form_of(p) is not None and group_files([p])]
    common = any(p.suffix.lower() in _TOO_COMMON for p in files)
    if common and _several([inner for inner in subfolders(folder) if split_of(inner.name) is None]):
        files = [p for p in files if p.suffix.lower() not in _TOO_COMMON]
    return group_files(files)


def _of_files(files: Sequence[Path], reading: Reading, pick: Pick | None) -> Found:
    forms = {form.name: form for file in files if (form := form_of(file)) is not None}
    if len(forms) != 1 or (len(files) > 1 and "annotations" in forms):
        raise ReadError(
            f"{files[0].parent}: more than one dataset file",
            got=", ".join(file.name for file in files[:6]),
            expected="one, or one per split (train, val, test)",
            fix=f"--data {files[0]}",
        )
    return _read(next(iter(forms.values())), files, reading, pick)


def _read(form: Form, files: Sequence[Path], reading: Reading, pick: Pick | None) -> Found:
    if pick is not None:
        found = form.read(files, replace(reading, split=None))
        return replace(found, split=pick.name, notes=(*pick.notes, *found.notes))
    found = form.read(files, reading)
    own = next(iter(group_files(files)), files[0].stem)
    if reading.split is not None and found.split is None and not same_split(own, reading.split):
        raise InputError(
            f"{files[0]}: no split {reading.split}",
            got="a file without splits",
            expected="a folder of files named after splits, or a column split",
            fix="leave --split out",
        )
    return found


def _saved_files(root: Path) -> list[Path]:
    """Return the Arrow files that ``save_to_disk`` lists in ``state.json``."""
    try:
        state = read_document(root / _STATE)
        names = [str(entry["filename"]) for entry in state["_data_files"]]
    except (InputError, KeyError, TypeError) as error:
        raise ReadError(
            f"{root / _STATE}: cannot be read", got=error, expected="a dataset saved by save_to_disk"
        ) from error
    files = [root / name for name in names]
    missing = [name for name, file in zip(names, files, strict=True) if Path(name).name != name or not file.is_file()]
    if missing or not files:
        raise ReadError(f"{root}: files of the saved dataset not found", got=", ".join(missing[:3]) or "none listed")
    return files
