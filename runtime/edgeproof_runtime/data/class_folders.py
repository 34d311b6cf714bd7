"""Class indices of the class folders of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeproof_runtime.errors import InputError

__all__ = ["class_index", "some"]


def class_index(folders: Sequence[str], labels: Sequence[str], class_ids: str | Path | None) -> dict[str, int]:
    """Return the class index of each folder: by a file of class ids, by label, or by position among the sorted folders.

    Raises:
        InputError: the folders cannot be matched without guessing.
    """
    if class_ids is not None:
        return _index_by_ids(folders, _read_class_ids(Path(class_ids), len(labels)), str(class_ids))
    unknown = [name for name in folders if name not in labels]
    if not unknown:
        return _index_by_ids(folders, labels, "the labels")
    if len(unknown) < len(folders):
        raise InputError(
            "class folders: some are named after labels and some are not",
            got=some(unknown),
            expected="every folder named after a label",
            fix="rename them, or pass their order with --class-ids FILE",
        )
    if len(folders) != len(labels):
        raise InputError(
            "class folders: cannot be matched with the model's classes",
            got=f"{len(folders)} folders, such as {some(folders)}",
            expected=f"folders named after labels, such as {some(labels)}, or exactly {len(labels)} folders",
            fix="pass the folder names in the model's order, one per line, with --class-ids FILE",
        )
    if all(name.isdecimal() for name in folders) and folders != sorted(folders, key=int):
        raise InputError(
            "class folders: numeric names sort in another order as text than as numbers",
            got=some(folders),
            expected="names with one order, such as 00, 01, 10",
            fix="pass their order with --class-ids FILE",
        )
    return {name: index for index, name in enumerate(folders)}


def _index_by_ids(folders: Sequence[str], ids: Sequence[str], source: str) -> dict[str, int]:
    known: dict[str, list[int]] = {}
    for index, name in enumerate(ids):
        known.setdefault(name, []).append(index)
    missing = [name for name in folders if name not in known]
    if missing:
        raise InputError(f"class folders: not in {source}", got=some(missing), expected=some(ids))
    doubled = [name for name in folders if len(known[name]) > 1]
    if doubled:
        raise InputError(
            f"class folders: listed more than once in {source}",
            got=f"{doubled[0]!r} as classes {', '.join(map(str, known[doubled[0]]))}",
            expected="one class per folder",
            fix="pass a separate folder name for each class with --class-ids FILE",
        )
    return {name: known[name][0] for name in folders}


def _read_class_ids(path: Path, classes: int) -> list[str]:
    try:
        ids = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read", got=error) from error
    while ids and not ids[-1]:
        ids.pop()
    if len(ids) != classes:
        raise InputError(
            f"{path}: wrong number of lines", got=f"{len(ids)} lines", expected=f"{classes}, one per class of the model"
        )
    return ids


def some(names: Sequence[str]) -> str:
    """Return the first names of a list, for a message."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
