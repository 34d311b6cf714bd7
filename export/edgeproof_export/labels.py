"""Labels of the classes, and their folder names in datasets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeproof_runtime.data.class_names import read_class_names
from edgeproof_runtime.data.class_order import are_indices
from edgeproof_runtime.errors import InputError

__all__ = ["Labels", "hugging_face_labels", "imagenet_ids", "settle_labels", "timm_labels"]

_INVENTED = re.compile(r"LABEL_\d+")


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of a model's classes.

    Attributes:
        names: label of each class index.
        ids: its folder name (WordNet id for ImageNet) if known.
        invented: whether the names are only the class indices, because nothing named the classes.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...] | None = None
    invented: bool = False


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


def hugging_face_labels(id2label: Any) -> Labels | None:
    """Return the labels of a configuration of transformers by class index; None if transformers invented them."""
    names = [str(id2label[index]) for index in sorted(id2label)]
    if not names or all(_INVENTED.fullmatch(name) for name in names):
        return None
    return Labels(tuple(names))


def _short_names(descriptions: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Return the first synonym; if classes share it, all synonyms; if they share those, with the id."""
    short = [text.split(",")[0].strip() for text in descriptions]
    of_short, of_text = Counter(short), Counter(descriptions)
    return tuple(
        name if of_short[name] == 1 else text if of_text[text] == 1 and "," in text else f"{text} ({key})"
        for name, text, key in zip(short, descriptions, ids, strict=True)
    )


def settle_labels(
    own: Labels | None,
    classes: int,
    *,
    labels: str | Path | tuple[str, ...] | None,
    class_ids: Path | None,
) -> tuple[Labels, list[str]]:
    """Choose the labels of a bundle: from files, else the model's.

    Args:
        own: labels of the model's library.
        classes: number of classes of the model.
        labels: the names, or a file of them; see `edgeproof_runtime.data.class_names.read_class_names`.
        class_ids: file of folder names, in the same forms.

    Returns:
        The labels, and notes for the report.

    Raises:
        InputError: a file cannot be read, or the number of names is not ``classes``.
    """
    notes: list[str] = []
    invented = False
    if labels is not None:
        names = (
            _given(labels, classes) if isinstance(labels, tuple) else read_class_names(Path(labels), "labels", classes)
        )
        ids = own.ids if own is not None and len(own.names) == classes else None
        if ids is None and are_indices(names):
            ids = names  # numbers that were given are names, which the bundle must tell from no names
    elif own is not None and len(own.names) == classes:
        names, ids = own.names, own.ids
    else:
        names, ids, invented = tuple(str(index) for index in range(classes)), None, True
        notes.append("No labels: classes are named by their index; add --labels FILE.")
    if class_ids is not None:
        ids = read_class_names(class_ids, "class ids", classes)
    return Labels(names, ids, invented=invented), notes


def _given(labels: tuple[str, ...], classes: int) -> tuple[str, ...]:
    names = tuple(map(str, labels))
    if len(names) != classes or any("\n" in name or not name.strip() for name in names):
        raise InputError(
            "labels: must be one name of one line for each class",
            got=f"{len(names)} names",
            expected=f"{classes} names",
        )
    return names
