"""Class folders (``CLASS/IMAGE``) and plain folders of images."""

from __future__ import annotations

from pathlib import Path

from edgeproof_runtime.data.forms.record import Found, NoLabelsError, Reading
from edgeproof_runtime.data.images import find_images, why_left_out
from edgeproof_runtime.data.splits import subfolders
from edgeproof_runtime.data.store import FileStore
from edgeproof_runtime.errors import InputError

__all__ = ["read_class_folders", "read_images"]


def read_class_folders(root: Path, reading: Reading) -> Found:
    """Read class folders; the label of an image is the name of its folder below ``root``.

    Raises:
        InputError: no class folders, or no images in them.
    """
    files, others = find_images(root)
    classes = subfolders(root)
    if not classes:
        raise NoLabelsError(
            f"{root}: no class folders", got=f"{len(files)} images", expected="one folder per class with its images"
        )
    inside = [p for p in files if p.parent != root]
    if not inside:
        raise InputError(f"{root}: no images in the class folders", got=f"{len(others)} other files")
    left_out = _left_out(others)
    left_out |= {p: "not in a class folder" for p in files if p.parent == root}
    labels = [p.relative_to(root).parts[0] for p in inside]
    store = FileStore(root, inside, left_out, exif=reading.exif)
    return Found(store, labels, every=tuple(folder.name for folder in classes), what="class folders")


def read_images(root: Path, reading: Reading) -> Found:
    """Read all images below a folder.

    Raises:
        InputError: no images.
    """
    files, others = find_images(root)
    if not files:
        raise InputError(f"{root}: no images", got=f"{len(others)} other files", expected="JPEG, PNG, ...")
    return Found(FileStore(root, files, _left_out(others), exif=reading.exif))


def _left_out(others: list[Path]) -> dict[Path, str]:
    return {path: why_left_out(path, "not an image") for path in others}
