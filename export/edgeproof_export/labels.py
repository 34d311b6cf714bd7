"""Labels of the classes, and their folder names in datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof_runtime.errors import InputError

__all__ = ["Labels", "imagenet_ids", "read_lines", "settle_labels", "timm_labels"]


@dataclass(frozen=True, slots=True)
class Labels:
    """Label of each class index, and its folder name (WordNet id for ImageNet) if known."""

    names: tuple[str, ...]
    ids: tuple[str, ...] | None = None


def imagenet_ids() -> tuple[str, ...]:
    """Return the WordNet ids of the 1,000 classes of ImageNet-1k, in class order."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())


def timm_labels(module: Any) -> Labels | None:
    """Return the labels of a timm model trained on ImageNet or one of its larger sets; None for others."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(module)
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    ids = tuple(info.label_names())
    return Labels(_short_names(info.label_descriptions(), ids), ids)


def _short_names(descriptions: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Return the first synonym; if classes share it, all synonyms; if they share those, with the id."""
    short = [text.split(",")[0].strip() for text in descriptions]
    of_short, of_text = Counter(short), Counter(descriptions)
    return tuple(
        name if of_short[name] == 1 else text if of_text[text] == 1 and "," in text else f"{text} ({key})"
        for name, text, key in zip(short, descriptions, ids, strict=True)
    )


def read_lines(path: Path, what: str) -> tuple[str, ...]:
    """Read the lines of a text file, one per class; empty lines at the end are ignored.

    Raises:
        InputError: the file cannot be read, is empty or has an empty line between others.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read", got=error, expected=f"{what}, one per line") from error
    while lines and not lines[-1]:
        lines.pop()
    if not lines or not all(lines):
        got = f"line {lines.index('') + 1} is empty" if lines else "an empty file"
        raise InputError(f"{path}: does not name every class", got=got, expected=f"{what}, one per line")
    return tuple(lines)


def settle_labels(
    own: Labels | None, classes: int, *, labels: Path | None, class_ids: Path | None
) -> tuple[Labels, list[str]]:
    """Choose the labels of a bundle: from files, else the model's.

    Args:
        own: labels of the model's library.
        classes: number of classes of the model.
        labels: file with one label per line.
        class_ids: file with one folder name per line.

    Returns:
        The labels, and notes for the report.

    Raises:
        InputError: a file cannot be read, or its number of lines is not ``classes``.
    """
    notes: list[str] = []
    if labels is not None:
        names = read_lines(labels, "labels")
        _require_number(labels, names, classes)
        ids = own.ids if own is not None and len(own.names) == classes else None
    elif own is not None and len(own.names) == classes:
        names, ids = own.names, own.ids
    else:
        names, ids = tuple(str(index) for index in range(classes)), None
        notes.append("No labels: classes are named by their index; add --labels FILE.")
    if class_ids is not None:
        ids = read_lines(class_ids, "class ids")
        _require_number(class_ids, ids, classes)
    return Labels(names, ids), notes


def _require_number(path: Path, lines: Sequence[str], classes: int) -> None:
    if len(lines) != classes:
        raise InputError(
            f"{path}: does not fit the model",
            got=f"{len(lines)} lines",
            expected=f"{classes}, one per output of the model",
            fix="line number = class index; check that the file belongs to this model",
        )
