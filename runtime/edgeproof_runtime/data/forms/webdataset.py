"""WebDataset tar files: ``KEY.jpg`` with ``KEY.cls``, ``KEY.json`` or ``KEY.txt``."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgeproof_runtime.data.forms.record import LABEL_COLUMNS, Found, NoLabelsError, ReadError, Reading, require_few
from edgeproof_runtime.data.store import EncodedStore
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.bounds import bound

__all__ = ["read_webdataset"]

_IMAGES = frozenset({"jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "tif", "tiff"})
_LABELS = ("cls", "json", "cls.txt", "label.txt", "label")
_CAPTION = "txt"  # a label only if it is an index or a class of the model
_LARGEST_IMAGE, _LARGEST_LABEL = 256 << 20, 1 << 20


class _Member(NamedTuple):
    """Where a file lies in a tar: the tar's number, the position of its bytes, and their number."""

    tar: int
    position: int
    size: int


class _TarStore(EncodedStore):
    """Images inside uncompressed tar files, read where they lie."""

    def __init__(self, files: Sequence[Path], names: Sequence[str], members: Sequence[_Member], *, exif: bool) -> None:
        super().__init__(names, exif=exif)
        self._files = files
        self._members = members

    def content(self, index: int) -> bytes:
        return _bytes(self._files, self._members[index])


def read_webdataset(files: Sequence[Path], reading: Reading) -> Found:
    """Read the shards of a WebDataset, in order; only the headers and labels are read here.

    Raises:
        InputError: a file is damaged or compressed, or only some images have a label.
    """
    samples: dict[str, dict[str, _Member]] = {}
    for number, file in enumerate(files):
        for key, extension, member in _members(file, number):
            parts = samples.setdefault(key, {})
            if extension in parts:
                raise ReadError(f"{file.name}: {key}.{extension} is there twice")
            parts[extension] = member
        require_few(len(samples), str(file))
    names: list[str] = []
    images: list[_Member] = []
    labels: list[str | int | None] = []
    for key, parts in samples.items():
        found = [extension for extension in parts if extension.rsplit(".", 1)[-1] in _IMAGES]
        if not found:
            continue
        if len(found) > 1:
            raise ReadError(f"{files[0].name}: {key}: more than one image", got=", ".join(sorted(found)))
        names.append(f"{key}.{found[0]}")
        images.append(parts[found[0]])
        labels.append(_label(files, key, parts, reading.known))
    if not names:
        raise ReadError(f"{files[0]}: no images", got=f"{len(samples)} samples", expected="KEY.jpg, KEY.png, ...")
    store = _TarStore(files, names, images, exif=reading.exif)
    present = [label for label in labels if label is not None]
    if not present:
        if reading.labelled:
            raise NoLabelsError(
                f"{files[0]}: images without labels",
                got=f"{len(names)} images, such as {names[0]}",
                expected="KEY.cls, KEY.json or KEY.txt beside each KEY.jpg, as WebDataset has them",
                fix=f"tar xf {files[0]}, and pass the folder, if its folders are the classes",
            )
        return Found(store)
    if len(present) < len(labels):
        raise ReadError(
            f"{files[0].name}: {names[labels.index(None)]}: no label",
            got=f"{len(labels) - len(present)} of {len(labels)} images without KEY.cls, KEY.json or KEY.txt",
        )
    if all(isinstance(label, int) for label in present):
        return Found(store, [int(label) for label in present])
    return Found(store, [str(label) for label in present])


def _members(file: Path, number: int) -> Iterator[tuple[str, str, _Member]]:
    """Yield key, extension and place of every file in a tar."""
    try:
        # "r:" refuses compression: a compressed tar has no place to jump to.
        with tarfile.open(file, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps every header otherwise
                folder, _, base = member.name.rpartition("/")
                key, dot, extension = base.partition(".")
                if not member.isreg() or member.sparse is not None or not dot or not key:
                    continue
                place = _Member(number, member.offset_data, member.size)
                yield f"{folder}/{key}" if folder else key, extension.lower(), place
    except tarfile.ReadError as error:
        raise ReadError(
            f"{file}: not a plain tar file", got=error, expected="an uncompressed tar", fix=f"gunzip {file.name}"
        ) from error
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"{file}: cannot be read", got=error) from error


def _label(files: Sequence[Path], key: str, parts: Mapping[str, _Member], known: Sequence[str]) -> str | int | None:
    extension = next((name for name in _LABELS if name in parts), None)
    label = None if extension is None else _label_in(files, key, parts[extension], extension)
    if label is None and _CAPTION in parts and parts[_CAPTION].size <= bound("text_characters"):
        label = _label_in(files, key, parts[_CAPTION], _CAPTION)
        return label if isinstance(label, int) or label in known else None
    return label


def _label_in(files: Sequence[Path], key: str, member: _Member, extension: str) -> str | int | None:
    where = f"{files[member.tar].name}: {key}.{extension}"
    if member.size > _LARGEST_LABEL:
        raise ReadError(f"{where}: too large for a label", got=f"{member.size} bytes")
    try:
        text = _bytes(files, member).decode("utf-8").strip()
        value: Any = json.loads(text) if extension == "json" else text
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{where}: cannot be read", got=error) from error
    if isinstance(value, Mapping):
        value = next((value[name] for name in ("cls", *LABEL_COLUMNS) if name in value), None)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        if extension == "json":
            return None
        raise ReadError(f"{where}: not a label", got=repr(value)[:80], expected="a class index or a name")
    return int(value) if isinstance(value, int) or (value.isdecimal() and len(value) < 10) else value


def _bytes(files: Sequence[Path], member: _Member) -> bytes:
    if member.size > _LARGEST_IMAGE:
        raise OSError(f"{member.size} bytes, at most {_LARGEST_IMAGE}")
    with files[member.tar].open("rb") as stream:
        stream.seek(member.position)
        data = stream.read(member.size)
    if len(data) < member.size:
        raise OSError("the tar file ends before it")
    return data
