"""Class folders (``CLASS/IMAGE``) and plain folders of images."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path

from edgeproof_runtime.data.forms.record import Found, NoLabelsError, Reading
from edgeproof_runtime.data.images import find_images, unsupported_kind, why_left_out
from edgeproof_runtime.data.splits import subfolders
from edgeproof_runtime.data.store import FileStore
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.text import some

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
            f"{root}: no class folders",
            got=f"{len(files)} images",
            expected="one folder per class with its images",
            fix="move the images into folders named after the labels, or list them beside the folder in a CSV with the "
            "columns image and label",
        )
    inside = [p for p in files if p.parent != root]
    if not inside:
        raise _no_images(f"{root}: no images in the class folders", others)
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
        raise _no_images(f"{root}: no images", others)
    return Found(FileStore(root, files, _left_out(others), exif=reading.exif))


def _left_out(others: list[Path]) -> dict[Path, str]:
    return {path: why_left_out(path, "not an image") for path in others}


def _no_images(what: str, others: list[Path]) -> InputError:
    """Return an error that names the extensions of the other files, and what they are if OpenCV cannot read them."""
    suffixes = Counter(path.suffix.lower() or "no extension" for path in others)
    listed = f" ({some([suffix for suffix, _ in suffixes.most_common()])})" if others else ""
    kind = None
    for path in others[:1]:
        with suppress(OSError), path.open("rb") as file:
            kind = unsupported_kind(file.read(64))
    return InputError(
        what,
        got=f"{len(others)} other files{listed}" + (f"; the first is {kind}" if kind else ""),
        expected="JPEG, PNG or another format of the installed OpenCV",
        fix="convert them to JPEG or PNG" if others else None,
    )
