"""Class indices of a dataset's labels: by the model's labels, or by an order that is clear. Nothing is guessed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from edgeproof_runtime.data.forms.record import Found
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.text import some

__all__ = ["ClassOrder", "ClassOrderError", "Matched", "are_indices", "in_order", "match_classes", "natural_key"]

ClassOrder = Literal["text", "natural"]
"""``text``: 0, 1, 10, 2, as torchvision's ``ImageFolder`` sorts; ``natural``: 0, 1, 2, 10, as timm's reader sorts."""


class ClassOrderError(InputError):
    """The dataset's class names have several orders, and nothing says which the model was trained with."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Class indices of a dataset's images.

    Attributes:
        targets: class index of each image.
        names: the model's labels; empty if the dataset has numbers only.
        notes: how the classes were matched, if not by name.
        ids: the dataset's name of every class, by index, if the classes were matched by their order.
    """

    targets: list[int]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None


def match_classes(
    found: Found, labels: Sequence[str], ids: Sequence[str] | None, *, source: str | None, order: str | None
) -> Matched:
    """Map the labels of a dataset to a model's class indices.

    The first of these that applies: the position of each name in ``ids``; in ``labels``, if all names are labels that
    something named, also in other case, with other separators (``_``, ``-``, space) or in another Unicode form; the
    numbers of a dataset of numbers; the dataset's own list of classes; the sorted names, if there are as many as
    labels and their orders as text and as numbers agree, or ``order`` chooses one.

    Args:
        found: the dataset.
        labels: the model's labels, by class index.
        ids: names of the classes in the dataset, by class index; None if unknown.
        source: the file of ``ids`` that was asked for, which must then name every class of the dataset; None for the
            bundle's own ids, which apply to a dataset with such names.
        order: ``text`` or ``natural``; None means neither was chosen.

    Raises:
        ClassOrderError: the names have several orders.
        InputError: the names cannot be matched.
    """
    if order is not None and order not in get_args(ClassOrder):
        raise InputError("--class-order: unknown", got=order, expected=" or ".join(get_args(ClassOrder)))
    if order is not None and source is not None:
        raise InputError("--class-order and --class-ids: mutually exclusive", fix="leave one out")
    values: list[str | int] = list(found.labels or ())
    numbers = [value for value in values if isinstance(value, int)]
    if numbers:
        if found.names is None:
            if found.by_index or (source is None and not _name_classes(numbers, found, labels, ids)):
                return Matched(numbers, ())
        else:
            wrong = next((n for n in numbers if not 0 <= n < len(found.names)), None)
            if wrong is not None:
                raise InputError(
                    f"{found.what}: class index out of range",
                    got=wrong,
                    expected=f"0..{len(found.names) - 1}",
                    fix="-1 stands for no label: leave these images out" if wrong == -1 else None,
                )
            values = [found.names[number] for number in numbers]
    names = [str(value) for value in values]
    notes: list[str] = []
    if order is None:
        known = ids if source is not None else labels if not set(names) <= set(ids or ()) else None
        alike = _alike(sorted(set(names)), known) if known is not None else {}
        names = [alike.get(name, name) for name in names]
        if alike:
            shown = some([f"{name} is {label}" for name, label in alike.items()])
            notes.append(f"dataset: {found.what} were matched without regard to case and separators: {shown}.")
    index, note, ordered = _index(names, found, labels, ids, source, order)
    by_order = tuple(sorted(index, key=index.__getitem__)) if ordered else None
    return Matched([index[name] for name in names], tuple(labels), (*notes, note) if note else tuple(notes), by_order)


def _alike(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Return the known name of each name that is none itself, if all are known names written in another way."""
    if are_indices(known) or set(names) <= set(known):
        return {}
    plain = {_plain(name): name for name in known}
    different = [name for name in names if name not in known]
    alike = {name: plain[_plain(name)] for name in different if _plain(name) in plain}
    clear = len(plain) == len(known) and len({_plain(name) for name in names}) == len(names)
    return alike if clear and len(alike) == len(different) else {}


def _plain(name: str) -> str:
    # macOS writes accents apart from their letters, into zip files as well.
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name)).strip().casefold()


def _name_classes(numbers: Sequence[int], found: Found, labels: Sequence[str], ids: Sequence[str] | None) -> bool:
    """Return whether numbers are names of classes, such as 1..12 of folders 1..12, rather than class indices.

    Raises:
        InputError: they may be either, for other classes.
    """
    texts = {str(number) for number in numbers}
    known = next((names for names in (ids or (), labels) if texts <= set(names) and not are_indices(names)), None)
    if known is None:
        return False
    if all(0 <= n < len(labels) for n in numbers) and any(known[int(text)] != text for text in texts):
        raise InputError(
            f"{found.what}: class indices or names, not clear which",
            got=f"{some(sorted(texts))}; the model's classes are named {some(known)}",
            expected="indices, or names that are not numbers",
            fix="--class-ids FILE, a line per class: 0, 1, 2, ... if they are indices, the names if they are names",
        )
    return True


def _index(
    names: Sequence[str],
    found: Found,
    labels: Sequence[str],
    ids: Sequence[str] | None,
    source: str | None,
    order: str | None,
) -> tuple[dict[str, int], str, bool]:
    """Return the class index of each name, how it was found if not by name, and whether by order."""
    unique, what = sorted(set(names)), found.what
    every = sorted({*unique, *found.every})
    ordered = every if len(every) == len(labels) else unique
    if order is not None:
        chosen = _positions(in_order(ordered, order, len(labels)), unique, labels, what)
        return chosen, _said(ordered, labels, order, what), True
    by_labels = not are_indices(labels) and set(unique) <= set(labels)
    listed = set(unique) & set(ids or ())
    if ids is not None and (source is not None or len(listed) == len(unique) or (listed and not by_labels)):
        return _by_name(unique, ids, source or "the bundle's class ids", what), "", False
    if by_labels:
        return _by_name(unique, labels, "the labels", what), "", False
    if found.names is not None and _agree(found.names, labels):
        note = f"dataset: classes in the order of the dataset's own list: {some(found.names)}."
        return {name: index for index, name in enumerate(found.names)}, note, True
    unknown = [name for name in unique if are_indices(labels) or name not in labels]
    if len(unknown) < len(unique):
        raise InputError(
            f"{what}: some are named after labels and some are not",
            got=some(unknown),
            expected="every one named after a label",
            fix="rename them, or pass their order with --class-ids FILE",
        )
    text, natural = (in_order(ordered, wish, len(labels)) for wish in get_args(ClassOrder))
    first = _positions(text, unique, labels, what)
    if text != natural:
        raise ClassOrderError(
            f"{what}: the order of the classes is not clear, their names sort in another order as text than as numbers",
            got=_differing(text, natural),
            expected="labels that name them, or a chosen order",
            fix="--class-order text (torchvision's ImageFolder), --class-order natural (timm), or --class-ids FILE",
        )
    return first, _said(ordered, labels, "text", what) if not _are_own_index(first) else "", True


def _agree(names: Sequence[str], labels: Sequence[str]) -> bool:
    """Return whether a dataset's list of classes may be the model's: as long, and no name at another place."""
    known = {} if are_indices(labels) else {label: index for index, label in enumerate(labels)}
    return len(names) == len(labels) and all(known.get(name, index) == index for index, name in enumerate(names))


def _are_own_index(index: Mapping[str, int]) -> bool:
    return all(name == str(number) for name, number in index.items())


def _said(unique: Sequence[str], labels: Sequence[str], order: str, what: str) -> str:
    names = sorted(unique) if order == "text" else sorted(unique, key=natural_key)
    why = "the model's classes have no names" if are_indices(labels) else f"{what} match no label of the model"
    return f"dataset: {why}; {what} taken in {order} order: {some(names)}."


def in_order(names: Sequence[str], order: str, classes: int) -> list[str]:
    """Return class names by class index.

    Args:
        names: names of the dataset.
        order: ``text`` or ``natural``.
        classes: number of classes of the model. Folders 3, 7 and 10 of 12 classes are among 0..11.
    """
    numbers = [str(index) for index in range(classes)]
    if len(names) < classes and set(names) <= set(numbers):
        names = numbers
    return sorted(names) if order == "text" else sorted(names, key=natural_key)


def natural_key(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Return the sort key of timm's reader, by which 2 comes before 10 whatever the case of the letters."""
    # Text and numbers alternate, text first. A longer number is the larger one.
    parts = re.split(r"0*([0-9]+)", name.lower())
    return tuple((len(part) if i % 2 else 0, part) for i, part in enumerate(parts)), name


def _positions(ordered: Sequence[str], unique: Sequence[str], labels: Sequence[str], what: str) -> dict[str, int]:
    if len(ordered) != len(labels):
        named = "a chosen order, or names" if are_indices(labels) else f"named after labels, such as {some(labels)}"
        raise InputError(
            f"{what}: cannot be matched with the model's classes",
            got=f"{len(unique)} {'folders' if 'folders' in what else 'classes'}, such as {some(unique)}",
            expected=f"{what} {named}, or exactly {len(labels)} {'folders' if 'folders' in what else 'classes'}",
            fix="pass the folder names in the model's order, one per line, with --class-ids FILE",
        )
    return {name: index for index, name in enumerate(ordered)}


def _by_name(unique: Sequence[str], ids: Sequence[str], source: str, what: str) -> dict[str, int]:
    known: dict[str, list[int]] = {}
    for index, name in enumerate(ids):
        known.setdefault(name, []).append(index)
    missing = [name for name in unique if name not in known]
    if missing:
        raise InputError(
            f"{what}: not in {source}", got=some(missing), expected=some(ids), fix="correct --class-ids, or the names"
        )
    doubled = [name for name in unique if len(known[name]) > 1]
    if doubled:
        raise InputError(
            f"{what}: listed more than once in {source}",
            got=f"{doubled[0]!r} as classes {', '.join(map(str, known[doubled[0]]))}",
            expected="one class per folder",
            fix="pass a separate folder name for each class with --class-ids FILE",
        )
    return {name: known[name][0] for name in unique}


def are_indices(labels: Sequence[str]) -> bool:
    """Return whether labels are only the class indices, which name nothing."""
    return all(label == str(index) for index, label in enumerate(labels))


def _differing(text: Sequence[str], natural: Sequence[str]) -> str:
    at = next(i for i, (a, b) in enumerate(zip(text, natural, strict=True)) if a != b)
    return f"class {at} is {text[at]} as text, {natural[at]} as numbers"
