"""COCO-style annotations, where every image shows one category."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproof_runtime.data.forms.record import Found, ReadError, below, image_root, require_few
from edgeproof_runtime.data.store import FileStore

__all__ = ["is_coco", "read_coco"]


def is_coco(raw: Any) -> bool:
    """Return whether a parsed JSON file has COCO's lists of images, annotations and categories."""
    return isinstance(raw, Mapping) and all(
        isinstance(raw.get(key), list) for key in ("images", "annotations", "categories")
    )


def read_coco(path: Path, raw: Mapping[str, Any], exif: bool) -> Found:
    """Read the images of a COCO file and the category of each; several boxes of one category count once.

    Raises:
        ReadError: an image shows several categories, is missing, or an entry is damaged.
    """
    try:
        names = {_id(entry["id"]): str(entry["name"]) for entry in raw["categories"]}
        files = {
            entry["id"]: below(str(entry["file_name"]), f"{path.name}, image {entry['id']}") for entry in raw["images"]
        }
        shown: dict[Any, set[int | str]] = {}
        for entry in raw["annotations"]:
            shown.setdefault(entry["image_id"], set()).add(_id(entry["category_id"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ReadError(f"{path.name}: damaged COCO file", got=f"{type(error).__name__}: {error}") from error
    require_few(len(files), str(path))
    several = [image for image, categories in shown.items() if len(categories) > 1]
    if several:
        which = sorted(names.get(number, str(number)) for number in shown[several[0]])
        raise ReadError(
            f"{path.name}: images with several categories",
            got=f"{len(several)} of {len(files)}, such as {files.get(several[0], several[0])}: {', '.join(which[:4])}",
            expected="one category per image for a classifier",
            fix="use a multi-label model, or crop the objects",
        )
    unknown = sorted({number for numbers in shown.values() for number in numbers} - set(names), key=str)
    if unknown:
        raise ReadError(f"{path.name}: category without a name", got=json.dumps(unknown[:5]))
    kept = [(file, names[next(iter(shown[image]))]) for image, file in files.items() if image in shown]
    if not kept:
        raise ReadError(f"{path.name}: no annotated image", got=f"{len(files)} images")
    root = image_root(path, kept[0][0])
    missing = [file for file, _ in kept if not (root / file).is_file()]
    if missing:
        raise ReadError(
            f"{path.name}: image not found",
            got=f"{len(missing)} of {len(kept)} missing, such as {missing[0]}",
            expected=f"below {path.parent} or beside it, in images or {path.stem.rsplit('_', 1)[-1]}",
        )
    bare = len(files) - len(kept)
    notes = (f"dataset: {bare} of {len(files)} images of {path.name} have no annotation: left out.",) if bare else ()
    store = FileStore(root, [root / file for file, _ in kept], exif=exif)
    return Found(store, [label for _, label in kept], notes=notes)


def _id(value: Any) -> int | str:
    """Return the id of a category as a number where it is one."""
    try:
        return int(value)
    except ValueError:
        return str(value)
